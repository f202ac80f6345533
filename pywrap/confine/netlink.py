"""Makes netlink messages, and sends them to the kernel, as the commands ``ip`` and ``nft`` would.

Running the two commands takes 60 to 80 ms, and importing the library pyroute2 500 ms; only six messages to
rtnetlink and one batch to nf_tables are needed here (rtnetlink(7), netlink(7), linux/netfilter/nfnetlink.h).
All numbers are in the machine's byte order, except within nf_tables.
"""

from __future__ import annotations

import os
import struct
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

ROUTE = 0
SOCK_DIAG = 4
NETFILTER = 12

REQUEST = 0x1
ACK = 0x4
EXCLUSIVE = 0x200
REPLACE = 0x100
CREATE = 0x400
APPEND = 0x800

_ERROR = 2
_HEADER = struct.Struct("=IHHII")
_NESTED = 0x8000
_ENOUGH = 65536


def message(kind: int, flags: int, body: bytes, sequence: int = 0) -> bytes:
    """One message to the kernel: struct nlmsghdr (netlink(7)) and its ``body``."""
    # +--------+------+-------+----------+-----+------+
    # | length | type | flags | sequence | pid | body |
    # +--------+------+-------+----------+-----+------+
    # |   4    |  2   |   2   |    4     |  4  | Var. |
    # +--------+------+-------+----------+-----+------+
    head = _HEADER.pack(_HEADER.size + len(body), kind, REQUEST | flags, sequence, 0)
    return head + body + b"\0" * (-len(body) % 4)


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute: ``value`` with its length and the type ``kind`` in front, padded (struct nlattr)."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute whose value is ``attributes``."""
    return attribute(kind | _NESTED, b"".join(attributes))


def acknowledged(messages: list[bytes]) -> list[bytes]:
    """``messages`` with the last of them asking for the kernel's word.

    Of the others the kernel speaks only where it refuses them, and before that: it answers in their order.
    """
    *others, last = messages
    length, kind, flags, *rest = _HEADER.unpack_from(last)
    return [*others, _HEADER.pack(length, kind, flags | ACK, *rest) + last[_HEADER.size :]]


def send(family: int, messages: Iterable[bytes], what: str) -> None:
    """Send all of ``messages`` at once, and read the kernel's acknowledgements.

    Raises:
        OSError: the kernel refuses one of them; ``what`` is in its text.
    """
    data = list(messages)
    waiting = sum(_HEADER.unpack_from(each)[2] & ACK != 0 for each in data)
    with _Closing(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, family)) as sock:
        sock.bind((0, 0))
        sock.send(b"".join(data))
        while waiting:
            for kind, body in replies(sock.recv(_ENOUGH)):
                if kind != _ERROR:
                    continue
                number = -int(struct.unpack_from("=i", body)[0])
                if number:
                    raise OSError(number, f"{os.strerror(number)} ({what})")
                waiting -= 1


def replies(data: bytes) -> Iterable[tuple[int, bytes]]:
    """Type and body of each message in ``data``, which was received; an incomplete one ends the list."""
    while len(data) >= _HEADER.size:
        length, kind = _HEADER.unpack_from(data)[:2]
        if not _HEADER.size <= length <= len(data):
            return
        yield kind, data[_HEADER.size : length]
        data = data[length + -length % 4 :]


class _Closing:
    """A context manager that closes a socket of ``_socket``, which is none itself."""

    def __init__(self, sock: socket) -> None:
        self._sock = sock

    def __enter__(self) -> socket:
        return self._sock

    def __exit__(self, *error: object) -> None:
        self._sock.close()
