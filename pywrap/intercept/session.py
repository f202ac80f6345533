"""What the patches share: the settings, and the parts below that they are compiled into.

Made at the first call of a door; everything of ``pywrap.tunnel`` is imported at the first destination or
name, so that a program which never goes out pays for none of it.
"""

from __future__ import annotations

from time import monotonic

from pywrap.intercept import connect, datagram, originals, resolver
from pywrap.messages import Messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

    from pywrap.config.settings import Settings
    from pywrap.errors import SocksError
    from pywrap.intercept.tunnels import Tunnels
    from pywrap.socks.wire import Endpoint
    from pywrap.tunnel.background import Background
    from pywrap.tunnel.deadline import Deadline
    from pywrap.tunnel.dial import FirstHop
    from pywrap.tunnel.names import Hosts, Names
    from pywrap.tunnel.opening import Opening
    from pywrap.tunnel.routes import Routes, Verdict


class Session:
    """One installation of the patches."""

    def __init__(self, settings: Settings, tunnels: Tunnels) -> None:
        self.settings = settings
        self.messages = Messages(settings.verbosity)
        self.tunnels = tunnels
        self.functions: dict[str, Callable[..., Any]] = {
            **connect.functions(self),
            **datagram.functions(self),
            **resolver.functions(self),
        }
        self._lock = originals.allocate_lock()
        self._parts: Parts | None = None

    @property
    def parts(self) -> Parts:
        """The parts below, made when they are first needed."""
        if self._parts is None:
            with self._lock:
                if self._parts is None:
                    self._parts = Parts(self.settings)
        return self._parts

    def verdict(self, host: str, port: int, ipv6: bool, datagram: bool) -> Verdict:
        """Where a destination goes; a refusal is said at -v."""
        verdict = self.parts.routes.verdict(host, port, ipv6, datagram)
        if verdict.kind == "refuse":
            self.messages.say(1, verdict.reason)
        elif verdict.kind == "direct":
            self.messages.say(2, f"{verdict.destination}: direct")
        return verdict

    def resolves_here(self, name: str) -> bool:
        """May the local resolver be asked for ``name``?"""
        return self.settings.dns == "local" or self.parts.routes.resolves_here(name)

    @staticmethod
    def is_literal(host: str) -> bool:
        """Is ``host`` an address in any form that the C library takes?"""
        from pywrap.tunnel.routes import address_of

        return address_of(host) is not None

    def names_of(self, literal: str) -> list[str]:
        """What an address is called, without asking anybody: canonical name first."""
        from pywrap.tunnel.routes import address_of

        address = address_of(literal)
        if address is None:
            return []
        name = self.parts.names.name_of(address)
        return [name] if name else self.parts.hosts.names(address)

    def peer(self, destination: Endpoint, address: tuple[Any, ...], ipv6: bool) -> tuple[Any, ...]:
        """What getpeername() tells of a tunnel: numbers, as always, so a name's placeholder."""
        from pywrap.tunnel.routes import address_of

        host = str(address[0])
        if address_of(host) is None:
            host = destination.host
            if address_of(host) is None:
                host = self.parts.names.placeholder(host, ipv6)
        if not ipv6:
            return host, destination.port
        return (host if ":" in host else f"::ffff:{host}", destination.port, 0, 0)

    def opened(self, destination: Endpoint, started: float) -> None:
        """Say at -v that a tunnel stands; ``started`` is of the monotonic clock."""
        if self.messages.verbosity >= 1:
            self.messages.say(
                1, f"{destination} via {self._hops()}: connected in {(monotonic() - started) * 1000:.0f} ms"
            )

    def failed(self, destination: Endpoint, error: SocksError) -> None:
        """Say at -v that a tunnel failed: the program sees no more than an errno of it."""
        self.messages.say(1, f"{destination} failed: {error}")

    def _hops(self) -> str:
        return ", ".join(str(hop) for hop in self.settings.chain)

    def forked(self) -> None:
        """In a child after fork(): the background thread and whoever held a lock are not here."""
        self._lock = originals.allocate_lock()
        self.tunnels.forked()
        if self._parts is not None:
            self._parts.forked()


class Parts:
    """What ``pywrap.tunnel`` makes of the settings."""

    def __init__(self, settings: Settings) -> None:
        from pywrap.tunnel.dial import FirstHop
        from pywrap.tunnel.names import Hosts, Names
        from pywrap.tunnel.routes import Routes

        self._settings = settings
        self.first: FirstHop = FirstHop(settings.chain[0], originals.getaddrinfo)
        self.names: Names = Names(originals.allocate_lock)
        self.hosts: Hosts = Hosts()
        self.routes: Routes = Routes(settings, self.first, self.names, self.hosts)
        self._background: Background | None = None

    @property
    def background(self) -> Background:
        """The thread for sockets that must not block."""
        if self._background is None:
            from pywrap.tunnel.background import Background

            self._background = Background(
                originals.start_new_thread, originals.allocate_lock, originals.epoll
            )
        return self._background

    def deadline(self, program: float | None) -> Deadline:
        """The limits of a tunnel that starts now."""
        from pywrap.tunnel.deadline import Deadline

        return Deadline(self._settings, program)

    def opening(self, sock: _socket.socket, destination: Endpoint, deadline: Deadline) -> Opening:
        """A tunnel to ``destination`` on ``sock``, not started."""
        from pywrap.tunnel.opening import Opening

        return Opening(sock, self.first, self._settings.chain, destination, deadline)

    def forked(self) -> None:
        self._background = None
        self.names.forked(originals.allocate_lock)
