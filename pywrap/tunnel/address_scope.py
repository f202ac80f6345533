"""Who can reach an address: what a proxy says of itself is of use to those alone.

A proxy names where it listens (BIND) or takes datagrams (UDP ASSOCIATE) as it sees itself. When fewer can
reach that than the address that it was reached by, it is meant for somebody else.
"""

from __future__ import annotations

from pywrap.socks.wire import packed


def connect_limit(address: bytes) -> int:
    """Who can reach ``address``: 0 nobody, 1 its machine or link, 2 its site, 3 everybody."""
    if not any(address):
        return 0
    number = int.from_bytes(address, "big")
    for who, literal, bits in _NEAR:
        network = packed(literal) or b""
        unused = len(network) * 8 - bits
        if len(network) == len(address) and number >> unused == int.from_bytes(network, "big") >> unused:
            return who
    return 3


# RFC 1122, 3927, 4291; RFC 1918, 6598, 4193.
_NEAR = (
    *((1, "127.0.0.0", 8), (1, "169.254.0.0", 16), (1, "::1", 128), (1, "fe80::", 10)),
    *((2, "10.0.0.0", 8), (2, "172.16.0.0", 12), (2, "192.168.0.0", 16), (2, "100.64.0.0", 10)),
    (2, "fc00::", 7),
)
