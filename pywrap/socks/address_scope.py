"""From how far away an address can be reached: this machine, its link, its site, or the Internet.

In its reply to BIND or UDP ASSOCIATE a proxy reports the address where it listens, as the proxy's own machine
sees that address. When this address can be reached only from nearer than the address by which we reach the
proxy, it is of no use to us: the proxy is behind a NAT, or reports its loopback.
"""

from __future__ import annotations

from pywrap.socks.wire import packed


def connect_limit(address: bytes) -> int:
    """From where ``address`` (4 or 16 bytes in network order) can be reached.

    0: nowhere (0.0.0.0 and ::); 1: its machine or link (RFC 1122, 3927, 4291); 2: its site, that is private
    networks (RFC 1918, 6598, 4193); 3: anywhere.
    """
    if not any(address):
        return 0
    number = int.from_bytes(address, "big")
    for limit, literal, bits in _NEAR:
        network = packed(literal) or b""
        unused = len(network) * 8 - bits
        if len(network) == len(address) and number >> unused == int.from_bytes(network, "big") >> unused:
            return limit
    return 3


# RFC 1122, 3927, 4291; RFC 1918, 6598, 4193.
_NEAR = (
    *((1, "127.0.0.0", 8), (1, "169.254.0.0", 16), (1, "::1", 128), (1, "fe80::", 10)),
    *((2, "10.0.0.0", 8), (2, "172.16.0.0", 12), (2, "192.168.0.0", 16), (2, "100.64.0.0", 10)),
    (2, "fc00::", 7),
)
