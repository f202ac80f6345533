"""Finds out whether a program inside listens at an address, by a question to the kernel (sock_diag(7)).

The packet filter lets a SYN pass if there is a socket for it (``ruleset``). The broker must come to the same
result, or both the program and the broker would answer. A question is one look-up in the kernel's own table,
however many sockets there are.
"""

from __future__ import annotations

import struct
from _socket import AF_INET, AF_INET6

from pywrap.confine import netlink
from pywrap.confine.ruleset import PORT, TCP, UDP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Iterator

# linux/sock_diag.h, linux/inet_diag.h
_BY_FAMILY = 20
_DUMP = 0x300
_STATE_LISTEN = 10
_ALL_STATES = 0xFFFFFFFF
_NO_COOKIE = b"\xff" * 8
# idiag_inode, the last field of struct inet_diag_msg.
_INODE = struct.Struct("=I")
_INODE_AT = 68
# The state of a listening socket in /proc/net/tcp (TCP_LISTEN of net/tcp_states.h).
_LISTENING = "0A"


class Listeners:
    """``questions``: a netlink socket of the namespace. ``pid``: a process in it."""

    def __init__(self, questions: socket, pid: int) -> None:
        self._questions = questions
        self._pid = pid
        # Asked about a socket that is known to exist, the broker's own listener.
        self.can_ask = self._ask(bytes(4), PORT, bytes(4), 0)

    def has(self, destination: bytes, port: int, source: bytes, source_port: int) -> bool:
        """Whether a TCP socket takes a packet from ``source`` to ``destination``, each 4 or 16 bytes."""
        if self.can_ask:
            return self._ask(destination, port, source, source_port)
        return self._is_listed(destination, port)

    def all(self) -> set[tuple[bytes, int]]:
        """The addresses and ports at which programs inside listen; empty where the kernel cannot be asked."""
        if not self.can_ask:
            return set()
        found = set()
        for family, size in ((AF_INET, 4), (AF_INET6, 16)):
            head = struct.pack("=BBBxI", family, TCP, 0, 1 << _STATE_LISTEN)
            self._questions.send(netlink.message(_BY_FAMILY, _DUMP, head + bytes(40) + _NO_COOKIE))
            for body in self._answers():
                port, address = struct.unpack_from("!H", body, 4)[0], body[8 : 8 + size]
                if body[0] == family and port != PORT:
                    found.add((address, port))
        return found

    def _answers(self) -> Iterator[bytes]:
        while True:
            try:
                data = self._questions.recv(65536)
            except BlockingIOError:
                return
            for kind, body in netlink.replies(data):
                if kind != _BY_FAMILY:
                    return
                yield body

    def _is_listed(self, destination: bytes, port: int) -> bool:
        """As ``has``, from the tables below /proc, where the kernel has no inet_diag."""
        for name in ("tcp", "tcp6"):
            try:
                with open(f"/proc/{self._pid}/net/{name}", encoding="ascii") as lines:
                    for line in lines:
                        local, state = line.split()[1::2][:2]
                        if state == _LISTENING and local.endswith(f":{port:04X}"):
                            address = local.partition(":")[0]
                            if not address.strip("0") or _swapped(destination) in address:
                                return True
            except OSError:
                # The kernel has no IPv6, or the process has ended.
                continue
        return False

    def inode(self, local: bytes, port: int, remote: bytes, remote_port: int) -> int:
        """The inode of the TCP socket with these ends; 0 without one, or if the kernel cannot be asked."""
        return self._inode(_question(local, port, remote, remote_port)) if self.can_ask else 0

    def udp_inode(self, local: bytes, port: int, remote: bytes, remote_port: int) -> int:
        """The inode of the UDP socket that datagrams from ``remote`` to ``local`` go to; 0 as ``inode``."""
        # For UDP the kernel takes the two ends in the other order (udp_dump_one() in udp_diag.c).
        question = _question(remote, remote_port, local, port, UDP)
        return self._inode(question) if self.can_ask else 0

    def _inode(self, question: bytes) -> int:
        answer = self._answer(question)
        return 0 if answer is None else int(_INODE.unpack_from(answer, _INODE_AT)[0])

    def _ask(self, destination: bytes, port: int, source: bytes, source_port: int) -> bool:
        return self._answer(_question(destination, port, source, source_port)) is not None

    def _answer(self, question: bytes) -> bytes | None:
        self._questions.send(question)
        try:
            data = self._questions.recv(65536)
        except BlockingIOError:
            # No answer: the kernel answers before send() returns.
            return None
        return next((bytes(body) for kind, body in netlink.replies(data) if kind == _BY_FAMILY), None)


def _swapped(address: bytes) -> str:
    """``address`` as the tables below /proc write it: words of 32 bits in the machine's byte order."""
    words = struct.unpack(f"={len(address) // 4}I", address)
    return "".join(f"{word:08X}" for word in words)


def _question(destination: bytes, port: int, source: bytes, source_port: int, protocol: int = TCP) -> bytes:
    family = AF_INET if len(destination) == 4 else AF_INET6
    head = struct.pack("=BBBxI", family, protocol, 0, _ALL_STATES)
    ports = struct.pack("!HH", port, source_port)
    addresses = destination.ljust(16, b"\0") + source.ljust(16, b"\0")
    return netlink.message(_BY_FAMILY, 0, head + ports + addresses + bytes(4) + _NO_COOKIE)
