"""The requests that hops of each scheme take, and the features that a scheme lacks. Raw hops take none.

The errors do not name the hop, unlike those of ``tunnel.chain``: the report names it once.
"""

from __future__ import annotations

from pywrap.errors import ProtocolError
from pywrap.launch.check.report import METHODS
from pywrap.socks import http, v4, v5
from pywrap.socks.wire import Endpoint, Recv, Send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.config.settings import Proxy
    from pywrap.launch.check.destination import Destination
    from pywrap.socks.wire import Dialogue


def speaks(hop: Proxy) -> bool:
    """Whether ``hop`` takes requests. A raw hop does not: it forwards all bytes."""
    return hop.scheme in _REQUESTS


def request(hop: Proxy, command: int, destination: Endpoint) -> Dialogue[Endpoint]:
    """Ask ``hop`` for ``command``; the dialogue returns the address of the reply."""
    return _REQUESTS[hop.scheme](hop, command, destination)


def is_socks5(hop: Proxy) -> bool:
    """Whether ``hop`` has the methods and the commands of RFC 1928."""
    return _REQUESTS.get(hop.scheme) is _socks5


def offer(methods: bytes) -> Dialogue[int]:
    """Offer ``methods``, a byte each; return the one that the proxy picks (RFC 1928 section 3).

    Raises:
        ProtocolError: the answer is no SOCKS5.
    """
    yield Send(bytes([v5.VERSION, len(methods)]) + methods)
    version, picked = yield Recv(2)
    if version != v5.VERSION:
        raise ProtocolError(v5.not_socks(v5.VERSION, bytes([version, picked])))
    return picked


def exchange(destination: Destination) -> Dialogue[bytes]:
    """Send ``destination.says`` through the tunnel; return the answer, of ``destination.size`` bytes."""
    if not destination.size:
        return b""
    yield Send(destination.says)
    return (yield Recv(destination.size))


def _socks4(proxy: Proxy, command: int, destination: Endpoint) -> Dialogue[Endpoint]:
    return v4.request(command, destination, proxy.username, names=proxy.scheme == "socks4a")


def _socks5(proxy: Proxy, command: int, destination: Endpoint) -> Dialogue[Endpoint]:
    return v5.request(command, destination, proxy.username, proxy.password)


def _http(proxy: Proxy, command: int, destination: Endpoint) -> Dialogue[Endpoint]:
    assert command == v5.CONNECT, "the others are absent"
    return http.connect(destination, proxy.username, proxy.password)


_REQUESTS: dict[str, Callable[[Proxy, int, Endpoint], Dialogue[Endpoint]]] = {
    "socks4": _socks4,
    "socks4a": _socks4,
    "socks5": _socks5,
    "socks5h": _socks5,
    "http": _http,
}

# The features that a scheme lacks, with the reason, by the keys of ``Report.findings``.
ABSENCES = {
    "socks4": {
        **{f"method_{method}": "SOCKS4 has no methods" for method in METHODS},
        "names": "SOCKS4 has no names; socks4a does",
        "ipv6": "SOCKS4 has no IPv6",
        "udp": "SOCKS4 has no UDP",
        "udp_names": "SOCKS4 has no UDP",
    },
    "socks4a": {
        **{f"method_{method}": "SOCKS4 has no methods" for method in METHODS},
        "ipv6": "SOCKS4 has no IPv6",
        "udp": "SOCKS4 has no UDP",
        "udp_names": "SOCKS4 has no UDP",
    },
    "http": {
        **{f"method_{method}": "HTTP has no methods of SOCKS" for method in METHODS},
        "udp": "HTTP CONNECT has no UDP",
        "udp_names": "HTTP CONNECT has no UDP",
        "bind": "HTTP CONNECT has no BIND",
        "resolve": "HTTP CONNECT has no RESOLVE",
    },
}
