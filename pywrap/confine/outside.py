"""What lies outside, for the broker: the rules and the chains of the settings, as ``pywrap.tunnel`` has them.

One of these serves all programs of a confinement, as ``intercept.runtime`` serves one process.
"""

from __future__ import annotations

import _socket
import errno
import os
from time import monotonic

from pywrap.confine.attempts import Attempt, Direct, fresh
from pywrap.errors import SocksError
from pywrap.frozen import replace
from pywrap.messages import Messages
from pywrap.server.tcp.dial import Resolver
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint, packed, unpacked
from pywrap.tunnel.association import UNKNOWN, Associating
from pywrap.tunnel.attempt import TunnelAttempt
from pywrap.tunnel.deadline import Deadline
from pywrap.tunnel.hops import Hops
from pywrap.tunnel.liveness import PATIENCE, LivenessProbe
from pywrap.tunnel.pipelining_probe import HURRY, PipeliningProbe, unknown
from pywrap.tunnel.placeholders import Hosts, Placeholders
from pywrap.tunnel.retry_policy import RetryPolicy
from pywrap.tunnel.round_robin import RoundRobinCounter
from pywrap.tunnel.routes import DIRECT, Routes
from pywrap.tunnel.selection import Fixed, selection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from pywrap.config.settings import Chain, Proxy, Settings
    from pywrap.relay.loop import Loop
    from pywrap.socks.wire import Dialogue
    from pywrap.tunnel.association import Association
    from pywrap.tunnel.retry_policy import SingleAttempt
    from pywrap.tunnel.routes import Verdict
    from pywrap.tunnel.selection import Selection

    Path: TypeAlias = tuple[Proxy, ...]
    Failed: TypeAlias = Callable[[SocksError], None]


class Outside:
    """``settings`` are those of the run."""

    def __init__(self, settings: Settings, loop: Loop) -> None:
        self.settings = settings
        self.loop = loop
        self.messages = Messages(settings.verbosity)
        self.resolver = Resolver(loop)
        self.hosts = Hosts()
        # One table for the run: a program that is not confined gives its children addresses too.
        self.names = Placeholders(_Lock, settings.placeholders, settings.shared_file)
        self._hops = Hops(_socket.getaddrinfo, lambda text: self.messages.say(1, text))
        self._hops.hop_probes = self
        firsts = [
            self._hops.first(proxy)
            for chain in settings.chains
            for proxy in (chain.proxies[:1] if chain.type == "strict" else chain.proxies)
        ]
        self.routes = Routes(settings, firsts, self.names, self.hosts)
        self._chains = {
            chain.name: _isolated(chain) if settings.isolate_streams else chain for chain in settings.chains
        }
        self._selections: dict[str, Selection] = {
            name: selection(chain, self._hops, RoundRobinCounter(settings.shared_file, place))
            for place, (name, chain) in enumerate(self._chains.items())
        }
        for first in firsts:
            if not first.is_fresh:
                # Its addresses are needed to tell a program's own connection to the proxy: found while
                # the program starts.
                first.look_up().close()

    def verdict(self, address: bytes, port: int, datagram: bool = False) -> Verdict:
        """What becomes of a connection to ``address``, or of a datagram."""
        return self.routes.verdict(unpacked(address), port, len(address) == 16, datagram)

    # ------------------------------------------------------------ connections

    def connect(
        self, verdict: Verdict, connected: Callable[[socket], None], failed: Failed
    ) -> Callable[[], None]:
        """Open a tunnel as ``verdict`` says, or a direct connection; return what gives it up."""
        started = monotonic()
        destination = verdict.destination

        def done(attempt: TunnelAttempt) -> None:
            self._tunnel_stands(attempt, destination, started)
            connected(attempt.sock)

        def has_failed(err: SocksError) -> None:
            self.messages.say(1, f"{destination} failed: {err}")
            failed(err)

        if verdict.kind == DIRECT:
            return self._connect_directly(verdict, connected, has_failed)
        return self._start(self._opening(self._selections[verdict.chain], destination), done, has_failed)

    def converse(
        self,
        about: str,
        destination: Endpoint,
        command: int,
        then: Callable[[], Dialogue[None]] | None,
        done: Callable[[Endpoint], None],
        failed: Failed,
    ) -> Callable[[], None]:
        """Go through the chain of ``about`` and back; ``done`` gets the address of the last reply."""

        def ended(attempt: TunnelAttempt) -> None:
            attempt.sock.close()
            done(attempt.bound)

        chain = self.routes.verdict(about, 0).chain
        return self._start(self._opening(self._selections[chain], destination, command, then), ended, failed)

    def associate(
        self, chain: str, done: Callable[[Association], None], failed: Failed
    ) -> Callable[[], None]:
        """Open a UDP association through ``chain``; return what gives it up."""
        deadline = Deadline(self.settings)
        started = monotonic()

        def ask(chosen: Selection) -> TunnelAttempt:
            return self._opening(chosen, UNKNOWN, v5.UDP_ASSOCIATE, deadline=deadline)

        def stands(attempt: Associating) -> None:
            assert attempt.association is not None, "it stands"
            seconds = monotonic() - started
            hops = ", ".join(map(str, attempt.path))
            self.messages.say(1, f"UDP via {hops}: associated in {seconds * 1000:.0f} ms")
            self._learn(attempt.path)
            done(attempt.association)

        def has_failed(err: SocksError) -> None:
            self.messages.say(1, f"no UDP: {err}")
            failed(err)

        associating = Associating(
            ask(self._selections[chain]), lambda path, number: ask(Fixed(path[: number + 1])), deadline
        )
        return self._start(associating, stands, has_failed)

    def _opening(
        self,
        chosen: Selection,
        destination: Endpoint,
        command: int = v5.CONNECT,
        then: Callable[[], Dialogue[None]] | None = None,
        deadline: Deadline | None = None,
    ) -> TunnelAttempt:
        settings = self.settings
        plan = RetryPolicy(
            self._hops, chosen, destination, command, settings.pipeline, settings.fast_open, then
        )
        return TunnelAttempt(fresh(), plan, deadline or Deadline(settings))

    def _connect_directly(
        self, verdict: Verdict, connected: Callable[[socket], None], failed: Failed
    ) -> Callable[[], None]:
        destination = verdict.destination
        cancel: list[Callable[[], None]] = []

        def dial(addresses: list[str]) -> None:
            attempt = Direct(addresses, destination.port, Deadline(self.settings))
            cancel[:] = [self._start(attempt, lambda ended: connected(ended.sock), failed)]

        def found(answer: Any) -> None:
            if not cancel:
                return
            if isinstance(answer, OSError):
                failed(
                    SocksError(f"cannot resolve {destination.host}: {answer.strerror}", errno.EHOSTUNREACH)
                )
            else:
                addresses = [str(sockaddr[0]) for _, sockaddr in answer]
                self.routes.remember(destination.host, addresses)
                dial(addresses)

        self.routes.used_directly(destination)
        host = verdict.literal or destination.host
        if packed(host) is not None:
            dial([host])
        else:
            cancel.append(_nothing)
            self.resolver.resolve(host, destination.port, found)

        def give_up() -> None:
            for each in cancel:
                each()
            cancel.clear()

        return give_up

    def _start(self, attempt: Any, done: Callable[[Any], None], failed: Failed) -> Callable[[], None]:
        running: Attempt[Any] = Attempt(self.loop, attempt, done, failed)
        running.start()
        return running.cancel

    def _tunnel_stands(self, attempt: TunnelAttempt, destination: Endpoint, started: float) -> None:
        if self.messages.verbosity >= 1:
            hops = ", ".join(map(str, attempt.path))
            seconds = monotonic() - started
            self.messages.say(1, f"{destination} via {hops}: connected in {seconds * 1000:.0f} ms")
        self._learn(attempt.path)

    # ------------------------------------------------------------ what hops are asked beside it (``Hops``)

    def probe_liveness(self, path: Path) -> None:
        """Ask the last hop of ``path``, which keeps a connection waiting, whether it is alive."""
        self._ask(LivenessProbe(self._hops, path), self._within(PATIENCE))

    def set_pipelining(self, path: Path) -> None:
        """Ask the last hop of ``path``, which has answered no flight yet, whether it takes one."""
        self._ask(PipeliningProbe(self._hops, path), self._within(HURRY))

    def _learn(self, path: Path) -> None:
        if self.settings.pipeline == "auto":
            for to_ask in unknown(self._hops, path):
                self._ask(PipeliningProbe(self._hops, to_ask), Deadline(self.settings))

    def _within(self, seconds: float) -> Deadline:
        reply_limit = min(self.settings.read_timeout or seconds, seconds)
        return Deadline(replace(self.settings, read_timeout=reply_limit))

    def _ask(self, question: SingleAttempt, deadline: Deadline) -> None:
        # Its errors are the answer, and ``question`` learns of them. From the loop: not in the middle of the
        # step of another opening, which is where the question comes from.
        attempt = TunnelAttempt(fresh(), question, deadline)
        self.loop.after(0, lambda: _discard(self._start(attempt, lambda ended: ended.sock.close(), _ignore)))

    # ------------------------------------------------------------

    def forked(self) -> None:
        """In a child after fork(): the threads that look up names are not here."""
        self.resolver = Resolver(self.loop)
        self._hops.forked()


class _Lock:
    """For ``Placeholders``, which the broker's one thread alone asks."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


def _isolated(chain: Chain) -> Chain:
    """``chain`` with a login for Tor's circuits that no other run has (IsolateSOCKSAuth)."""
    username, password = f"pysocksify-{os.getpid()}".encode(), os.urandom(8).hex().encode()
    hops = tuple(
        replace(hop, username=username, password=password)
        if hop.scheme in ("socks5", "socks5h") and hop.username is None
        else hop
        for hop in chain.proxies
    )
    return replace(chain, proxies=hops)


def _nothing() -> None:
    pass


def _discard(_: object) -> None:
    pass


def _ignore(_: SocksError) -> None:
    pass
