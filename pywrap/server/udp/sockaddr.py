"""Socket addresses as the kernel's bytes: ``struct sockaddr_in`` (ip(7)) and ``sockaddr_in6`` (ipv6(7)).

The address of a datagram is a key of dictionaries far more often than it is read, and bytes are the fastest
keys.
"""

from __future__ import annotations

import struct
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Byte orders: the family has the machine's, the port the network's, the zone (an interface number) the
# machine's.
_FAMILY = struct.Struct("=H")
_IPV4 = struct.Struct("=2s2s4s8x")
_IPV6 = struct.Struct("=2s2s4s16sI")
_FAMILIES = {AF_INET: _FAMILY.pack(AF_INET), AF_INET6: _FAMILY.pack(AF_INET6)}


def length_of(family: int) -> int:
    """How many bytes an address of ``family`` has."""
    return _IPV4.size if family == AF_INET else _IPV6.size


def pack_sockaddr(family: int, sockaddr: Any) -> bytes:
    """The bytes of ``sockaddr``, an address as Python's sockets take it, with an IP literal."""
    host, port = sockaddr[0], sockaddr[1].to_bytes(2, "big")
    if family == AF_INET:
        return _IPV4.pack(_FAMILIES[AF_INET], port, inet_pton(AF_INET, host))
    flow, zone = sockaddr[2:] if len(sockaddr) == 4 else (0, 0)
    address = inet_pton(AF_INET6, host.partition("%")[0])
    return _IPV6.pack(_FAMILIES[AF_INET6], port, flow.to_bytes(4, "big"), address, zone)


def unpack_sockaddr(data: bytes) -> tuple[int, Any]:
    """The family, and the address as Python's sockets return it, of the bytes ``data``."""
    if len(data) == _IPV4.size:
        _, port, address = _IPV4.unpack(data)
        return AF_INET, (inet_ntop(AF_INET, address), int.from_bytes(port, "big"))
    _, port, flow, address, zone = _IPV6.unpack(data)
    host = inet_ntop(AF_INET6, address)
    return AF_INET6, (host, int.from_bytes(port, "big"), int.from_bytes(flow, "big"), zone)
