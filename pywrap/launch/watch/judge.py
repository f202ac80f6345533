"""Where the connections of a run go: to a hop, directly by a rule, or neither."""

from __future__ import annotations

import socket
import threading

import psutil

from pywrap.config.settings import TO_DIRECT
from pywrap.frozen import frozen
from pywrap.launch.watch.proc_sockets import Socket
from pywrap.socks.wire import packed
from pywrap.tunnel.first_hop import FirstHop
from pywrap.tunnel.placeholders import Hosts, Placeholders
from pywrap.tunnel.routes import DIRECT, Routes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Set

    from pywrap.config.settings import Proxy, Settings

HOP = "hop"
BY_RULE = "direct"
BROKER = "broker"
LISTENS = "listens"
ACCEPTED = "accepted"
# The socket is not connected in the kernel, like those by which a patched program sends datagrams to a relay.
UNKNOWN = "unknown"
NEITHER = "neither"


@frozen
class Way:
    """Where a socket leads: ``goes`` is one of the words above, ``why`` says which hop or rule."""

    goes: str
    why: str = ""


class Judge:
    """Judges by ``settings``, those of the run. Names of first hops are looked up here, as programs do."""

    def __init__(self, settings: Settings) -> None:
        firsts = [proxy for chain in settings.chains for proxy in chain.entries]
        self._hops = {place: str(proxy) for proxy in firsts for place in _places(proxy)}
        names = Placeholders(threading.Lock, settings.placeholders)
        hops = [FirstHop(proxy, socket.getaddrinfo) for proxy in firsts]
        self._routes = Routes(settings, hops, names, Hosts(), _is_own())
        # Only the programs know the addresses of direct names.
        self._has_direct_names = any(rule.name and rule.to == TO_DIRECT for rule in settings.rules)

    def way(self, sock: Socket, is_confined: bool, listening: Set[int]) -> Way:
        """Where ``sock`` leads, of a process that is confined or not.

        ``listening``: the ports that TCP sockets of its network listen at.
        """
        if sock.state == "listening":
            return Way(LISTENS)
        if not sock.remote:
            return Way(UNKNOWN, "not connected: each datagram may go elsewhere")
        address = packed(sock.remote) or b""
        if is_confined:
            return Way(BROKER, "the kernel hands it to the broker")
        hop = self._hops.get((address, sock.remote_port))
        if hop is not None:
            return Way(HOP, hop)
        verdict = self._routes.verdict(
            sock.remote, sock.remote_port, ":" in sock.remote, sock.protocol == "udp"
        )
        if verdict.kind == DIRECT:
            return Way(BY_RULE, verdict.reason)
        if sock.protocol == "tcp" and sock.local_port in listening:
            return Way(ACCEPTED, "it came in at a listener here")
        if self._has_direct_names:
            return Way(UNKNOWN, "neither, unless it is an address of a name that is direct")
        return Way(NEITHER, "no hop, and no rule makes it direct")


def _places(proxy: Proxy) -> list[tuple[bytes, int]]:
    try:
        rows = socket.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
    except OSError:
        # Programs cannot resolve the name either, so none is connected to the proxy.
        return []
    return [(packed(str(row[4][0]).partition("%")[0]) or b"", proxy.port) for row in rows]


def _is_own() -> Callable[[bytes], bool]:
    """A function that tells whether an address is one of this machine's at present."""
    own = {
        packed(address.address.partition("%")[0])
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family in (socket.AF_INET, socket.AF_INET6)
    }
    return lambda address: address in own
