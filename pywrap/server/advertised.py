"""The address by which a UDP relay or a BIND listener of another proxy is reached, from its reply."""

from __future__ import annotations

from pywrap.socks.address_scope import connect_limit
from pywrap.socks.wire import Endpoint, packed, unmapped, unmapped_bytes, unpacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from pywrap.config.settings import Proxy


def host_of(number: int, chain: tuple[Proxy, ...], connection: socket) -> str:
    """The host by which hop ``number``, from 0, is reached; ``connection``: one through the hops up to it."""
    if number == 0 and not hasattr(connection, "failure"):
        return unmapped(str(connection.getpeername()[0]))
    # A later hop is reached by the hop before it, from another network; and the peer of a ``wrapped.Near`` is
    # not the proxy. So the host of the URL.
    return chain[number].host


def advertised(bound: Endpoint, host: str) -> Endpoint:
    """``bound``, from the reply of a proxy that is reached as ``host``; or ``host`` with its port.

    The latter where the reply has 0.0.0.0, a name, or an address that fewer hosts can reach than ``host``: a
    private one of a proxy behind a NAT, or its loopback.
    """
    address, own = packed(bound.host), packed(host)
    if address is None or not any(address):
        return Endpoint(host, bound.port)
    address = unmapped_bytes(address)
    if own is not None and connect_limit(address) < connect_limit(unmapped_bytes(own)):
        return Endpoint(host, bound.port)
    return Endpoint(unpacked(address), bound.port)
