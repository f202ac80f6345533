"""Is an address this machine's own? Asked of the kernel each time: addresses come and go with interfaces.

By a look-up in its routing table (rtnetlink(7)), which sends nothing: the way to an own address is of the
type "local". Not by bind(), which takes any address with ``ip_nonlocal_bind``; nor by connect() and
getsockname(), which tells the first address of an interface for all of them.
"""

from __future__ import annotations

import _socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_RTM_NEWROUTE = 24
_RTM_GETROUTE = 26
_NLM_F_REQUEST = 1
_RTA_DST = 1
_RTN_LOCAL = 2

# struct nlmsghdr, and then struct rtmsg.
_HEADER = 16
_ROUTE = 12


def is_own(address: bytes, new_socket: Callable[[int, int, int], _socket.socket]) -> bool:
    """Does a packet to these 4 or 16 bytes stay on this machine? False where the kernel does not tell.

    ``new_socket(family, type, protocol)``: the interpreter's own, unpatched.
    """
    try:
        kernel = new_socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, 0)
    except OSError:
        # No descriptor is left, or a sandbox without this family: through the proxies then, as all others.
        return False
    try:
        # The kernel answers before send() returns.
        kernel.settimeout(0)
        kernel.send(_question(address))
        answer = kernel.recv(_HEADER + _ROUTE)
    except OSError:
        return False
    finally:
        kernel.close()
    kind = int.from_bytes(answer[4:6], sys.byteorder)
    return kind == _RTM_NEWROUTE and answer[_HEADER + 7 : _HEADER + 8] == bytes([_RTN_LOCAL])


def _question(address: bytes) -> bytes:
    family = _socket.AF_INET if len(address) == 4 else _socket.AF_INET6
    size = 4 + len(address)
    attribute = _number(size, 2) + _number(_RTA_DST, 2) + address
    route = bytes([family, len(address) * 8]) + bytes(_ROUTE - 2)
    length = _number(_HEADER + _ROUTE + size, 4)
    header = length + _number(_RTM_GETROUTE, 2) + _number(_NLM_F_REQUEST, 2) + bytes(8)
    return header + route + attribute


def _number(value: int, size: int) -> bytes:
    return value.to_bytes(size, sys.byteorder)
