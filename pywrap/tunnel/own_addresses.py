"""Whether an address is this machine's own, by the kernel's routing table.

Asked anew each time, since addresses come and go with interfaces. The request (RTM_GETROUTE of rtnetlink(7))
sends no packet; the route to an own address has the type "local". bind() cannot tell: it takes any address
with ``ip_nonlocal_bind``. Nor can connect() and getsockname(): these give the first address of an interface
for all of its addresses.
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
    """Whether a packet to ``address``, 4 or 16 bytes, stays on this machine; False where that is unknown.

    ``new_socket(family, type, protocol)``: the interpreter's own, unpatched.
    """
    try:
        kernel = new_socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, 0)
    except OSError:
        # No descriptor is left, or a sandbox forbids netlink: the address then goes through the proxies, as
        # all others do.
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
