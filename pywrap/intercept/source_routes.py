"""setsockopt() that sets a source route, by which the packets of a socket pass other hosts first: refused.

A source route (RFC 791 section 3.1; RFC 8200 section 4.4) is a list of addresses that a packet passes before
its destination. The kernel sends it to the first of them: so packets to the proxy would be sent to that host.
As with ``multicast``, calls of C methods that the program stored before the patches are not seen.
"""

from __future__ import annotations

import _socket
import errno
from _operator import index

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pywrap.intercept.runtime import Runtime

# linux/in.h, linux/in6.h: most of them are not in ``_socket``.
_IP_OPTIONS = (_socket.IPPROTO_IP, 4)
# IPV6_RTHDR, and IPV6_2292PKTOPTIONS, which may contain a routing header among other options.
_IPV6 = ((_socket.IPPROTO_IPV6, 57), (_socket.IPPROTO_IPV6, 6))

# Options of IPv4: the two source routes (loose, strict), and those of a single byte (end, no operation).
_LOOSE, _STRICT = 131, 137
_END, _NOTHING = 0, 1


def check(runtime: Runtime, args: tuple[Any, ...]) -> None:
    """Refuse a call of setsockopt() with the arguments ``args`` if it sets a source route.

    Raises:
        PermissionError: the call sets a source route, and the program is not confined.
    """
    level, option, *rest = args
    try:
        key = index(level), index(option)
        # The value is a number or None, neither of which contains a route.
        value = bytes(memoryview(rest[0]).cast("B"))
    except TypeError:
        return
    if not runtime.is_confined and (key in _IPV6 and value or key == _IP_OPTIONS and _has_route(value)):
        why = "a source route refused: packets would leave for the hosts in it, not for the proxy"
        runtime.messages.say(1, why)
        if runtime.log is not None:
            runtime.log.refused(errno.EPERM, why)
        raise OSError(errno.EPERM, why)


def _has_route(options: bytes) -> bool:
    """Whether there is a source route among the IPv4 ``options`` (RFC 791 section 3.1)."""
    at = 0
    while at < len(options):
        kind = options[at]
        if kind in (_LOOSE, _STRICT):
            return True
        if kind == _END:
            return False
        size = 1 if kind == _NOTHING else options[at + 1] if at + 1 < len(options) else 0
        if not size:
            # A malformed option: the kernel refuses the call.
            return False
        at += size
    return False
