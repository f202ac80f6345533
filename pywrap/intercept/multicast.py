"""setsockopt() that joins a multicast group: refused, unless datagrams to the group would leave directly.

When a socket joins a group, the kernel sends membership reports (IGMP, RFC 3376; MLD, RFC 3810) to the local
network, whichever way the socket's datagrams go. It does so too when sources are filtered. Leaving a group is
not refused: where there is no membership, the kernel sends nothing. C raises no audit event for setsockopt(),
so a C method that was kept from before the patches is not seen.
"""

from __future__ import annotations

import _socket
import errno
import sys
from _operator import index

from pywrap.socks.wire import unpacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pywrap.intercept.runtime import Runtime

# The offset of the sockaddr_storage in struct group_req: behind the number of an interface, aligned like a
# pointer. In it, an IPv4 address stands behind family and port, an IPv6 one behind the flow label as well.
_STORAGE = 8 if sys.maxsize > 1 << 32 else 4

# The offset of the group's address by level and option; numbers of linux/in.h and in6.h, which ``_socket``
# lacks.
_AT_START = {
    **dict.fromkeys(((_socket.IPPROTO_IP, option) for option in (35, 37, 38, 39, 41)), 4),
    # IPV6_JOIN_GROUP, IPV6_JOIN_ANYCAST.
    **dict.fromkeys(((_socket.IPPROTO_IPV6, option) for option in (20, 27)), 16),
}
# MCAST_JOIN_GROUP, MCAST_BLOCK_SOURCE, MCAST_UNBLOCK_SOURCE, MCAST_JOIN_SOURCE_GROUP, MCAST_MSFILTER.
_IN_STORAGE = frozenset(
    (level, option) for level in (_socket.IPPROTO_IP, _socket.IPPROTO_IPV6) for option in (42, 43, 44, 46, 48)
)


def check(runtime: Runtime, args: tuple[Any, ...]) -> None:
    """Check ``args``, the arguments of setsockopt().

    Raises:
        PermissionError: they would join a group to which no datagram may leave directly.
    """
    # With a fourth argument the value has to be None, and no group is joined: C raises the error.
    group = _group(*args) if len(args) == 3 else b""
    if group and not runtime.routes.may_join(group):
        name = unpacked(group)
        why = f"{name} refused: a membership report would leave directly (--direct {name} to allow it)"
        runtime.messages.say(1, why)
        raise OSError(errno.EPERM, why)


def _group(level: Any, option: Any, value: Any) -> bytes:
    """The 4 or 16 bytes of the group; b"" for other options, and for values that the kernel refuses."""
    try:
        key = index(level), index(option)
        if key in _AT_START:
            size = _AT_START[key]
            group = bytes(memoryview(value).cast("B")[:size])
            return group if len(group) == size else b""
        if key not in _IN_STORAGE:
            return b""
        storage = bytes(memoryview(value).cast("B")[_STORAGE : _STORAGE + 24])
    except TypeError:
        return b""
    family = int.from_bytes(storage[:2], sys.byteorder)
    start, size = (4, 4) if family == _socket.AF_INET else (8, 16)
    group = storage[start : start + size]
    return group if len(group) == size else b""
