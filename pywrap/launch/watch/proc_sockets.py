"""The IP sockets of processes, from the tables of /proc/PID/net.

psutil reads only the tables of its own network namespace (giampaolo/psutil#1611); confined processes have
another.
"""

from __future__ import annotations

import os
import sys
from socket import AF_INET, AF_INET6, inet_ntop

from pywrap.frozen import frozen
from pywrap.socks.wire import unmapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Of include/net/tcp_states.h. TIME_WAIT and the like belong to no process any more.
ESTABLISHED, SYN_SENT, LISTEN = 1, 2, 10
_SHOWN = {ESTABLISHED: "connected", SYN_SENT: "connecting", 8: "closing", LISTEN: "listening"}

_TABLES = (("tcp", AF_INET), ("tcp6", AF_INET6), ("udp", AF_INET), ("udp6", AF_INET6))
# The kernel shows an address as words of the machine's byte order.
_WORD = 8


@frozen
class Socket:
    """One socket. ``protocol``: tcp or udp; ``state``: a word for people; ``remote``: "" without a peer."""

    protocol: str
    state: str
    local: str
    local_port: int
    remote: str = ""
    remote_port: int = 0


def sockets_of(pid: int, tables: dict[int, Socket]) -> list[Socket]:
    """The sockets of the process ``pid``, found in ``tables`` by their inodes.

    Raises:
        OSError: the process has ended, or is of another user.
    """
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            link = os.readlink(f"/proc/{pid}/fd/{name}")
        except OSError:
            # The descriptor was closed meanwhile.
            continue
        if link.startswith("socket:["):
            sock = tables.get(int(link[8:-1]))
            if sock is not None and sock not in found:
                found.append(sock)
    return found


def tables_of(pid: int) -> dict[int, Socket]:
    """All IP sockets of the network namespace of the process ``pid``, by their inodes.

    Raises:
        OSError: the process has ended, or is of another user.
    """
    found: dict[int, Socket] = {}
    for name, family in _TABLES:
        try:
            with open(f"/proc/{pid}/net/{name}", encoding="ascii") as file:
                found.update(_read(file, name.rstrip("6"), family))
        except FileNotFoundError:
            if not os.path.exists(f"/proc/{pid}"):
                raise
            # The kernel has no IPv6.
    return found


def _read(lines: Iterator[str], protocol: str, family: int) -> Iterator[tuple[int, Socket]]:
    next(lines, None)
    for line in lines:
        fields = line.split(None, 10)
        number = int(fields[3], 16)
        if protocol == "tcp" and number not in _SHOWN:
            # On a busy machine most lines are these: sockets in TIME_WAIT.
            continue
        local, local_port = _place(fields[1], family)
        remote, remote_port = _place(fields[2], family)
        has_peer = remote_port != 0
        if protocol == "udp":
            state = "connected" if has_peer else "open"
        else:
            state = _SHOWN[number]
        peer = (remote, remote_port) if has_peer else ("", 0)
        yield int(fields[9]), Socket(protocol, state, local, local_port, *peer)


def _place(text: str, family: int) -> tuple[str, int]:
    address, _, port = text.partition(":")
    words = (address[at : at + _WORD] for at in range(0, len(address), _WORD))
    data = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    return unmapped(inet_ntop(family, data)), int(port, 16)
