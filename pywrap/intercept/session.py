"""What the patches share: the settings, and what ``pywrap.tunnel`` makes of them."""

from __future__ import annotations

import _socket
from time import monotonic

from pywrap.frozen import replace
from pywrap.intercept import originals
from pywrap.messages import Messages
from pywrap.tunnel.background import Background
from pywrap.tunnel.deadline import Deadline
from pywrap.tunnel.hops import Hops
from pywrap.tunnel.names import Hosts, Names
from pywrap.tunnel.opening import Opening
from pywrap.tunnel.plan import Plan
from pywrap.tunnel.routes import DIRECT, REFUSE, Routes, address_of
from pywrap.tunnel.selection import Fixed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pywrap.config.settings import Proxy, Settings
    from pywrap.errors import SocksError
    from pywrap.intercept.addresses import Target
    from pywrap.intercept.tunnels import Tunnels
    from pywrap.socks.wire import Endpoint
    from pywrap.tunnel.routes import Verdict


class Session:
    """One installation of the patches."""

    def __init__(self, settings: Settings, tunnels: Tunnels) -> None:
        self.settings = settings
        self.messages = Messages(settings.verbosity)
        self.tunnels = tunnels
        self.names = Names(originals.allocate_lock)
        self.hosts = Hosts()
        self.hops = Hops(originals.getaddrinfo)
        self.routes = Routes(settings, self.hops.first(settings.chain[0]), self.names, self.hosts)
        self.background = _background()

    def deadline(self, program: float | None) -> Deadline:
        """The limits of a tunnel that starts now; ``program`` is the socket's own timeout."""
        return Deadline(self.settings, program)

    def opening(self, sock: _socket.socket, destination: Endpoint, deadline: Deadline) -> Opening:
        """A tunnel to ``destination`` on ``sock``, not started."""
        return Opening(sock, Plan(self.hops, Fixed(self.settings.chain), destination), deadline)

    def verdict(self, to: Target, datagram: bool) -> Verdict:
        """Where a destination goes; a refusal is said at -v.

        Raises:
            socket.gaierror: names are resolved here, and this one has no address.
        """
        literal = self._resolved(to)
        verdict = self.routes.verdict(literal or to.host, to.port, to.ipv6, datagram)
        if literal and not verdict.literal:
            verdict = replace(verdict, literal=literal)
        if verdict.kind == REFUSE:
            self.messages.say(1, verdict.reason)
        elif verdict.kind == DIRECT:
            self.messages.say(2, f"{verdict.destination}: direct")
        return verdict

    def _resolved(self, to: Target) -> str:
        """With ``dns local``, the address of a name that C would resolve now; else ""."""
        if self.settings.dns != "local" or self.is_literal(to.host):
            return ""
        family = _socket.AF_INET6 if to.ipv6 else _socket.AF_INET
        rows = originals.getaddrinfo(to.host, None, family, _socket.SOCK_STREAM)
        return str(rows[0][4][0])

    def resolves_here(self, name: str) -> bool:
        """May the local resolver be asked for ``name``?"""
        return self.settings.dns == "local" or self.routes.resolves_here(name)

    @staticmethod
    def is_literal(host: str) -> bool:
        """Is ``host`` an address in any form that the C library takes?"""
        return address_of(host) is not None

    def names_of(self, literal: str) -> list[str]:
        """What an address is called, without asking anybody: canonical name first."""
        address = address_of(literal)
        if address is None:
            return []
        name = self.names.name_of(address)
        return [name] if name else self.hosts.names(address)

    def peer(self, destination: Endpoint, address: tuple[Any, ...], ipv6: bool) -> tuple[Any, ...]:
        """What getpeername() tells of a tunnel: numbers, as always, so a name's placeholder."""
        host = str(address[0])
        if address_of(host) is None:
            host = destination.host
            if address_of(host) is None:
                host = self.names.placeholder(host, ipv6)
        if not ipv6:
            return host, destination.port
        return (host if ":" in host else f"::ffff:{host}", destination.port, 0, 0)

    def opened(self, destination: Endpoint, path: tuple[Proxy, ...], started: float) -> None:
        """Say at -v that a tunnel stands; ``started`` is of the monotonic clock."""
        if self.messages.verbosity >= 1:
            hops = ", ".join(str(hop) for hop in path)
            self.messages.say(
                1, f"{destination} via {hops}: connected in {(monotonic() - started) * 1000:.0f} ms"
            )

    def failed(self, destination: Endpoint, error: SocksError) -> None:
        """Say at -v that a tunnel failed: the program sees no more than an errno of it."""
        self.messages.say(1, f"{destination} failed: {error}")

    def forked(self) -> None:
        """In a child after fork(): the background thread and whoever held a lock are not here."""
        self.tunnels.forked()
        self.names.forked(originals.allocate_lock)
        self.background = _background()


def _background() -> Background:
    return Background(originals.start_new_thread, originals.allocate_lock, originals.epoll)
