"""The broker's connections to the outside: by the rules and the chains of the settings (``pywrap.tunnel``).

One of these serves all programs of a confinement, as ``intercept.runtime`` serves one process.
"""

from __future__ import annotations

import _socket
import errno
from time import monotonic

from pywrap.confine.attempts import Attempt, Direct, fresh
from pywrap.confine.kerberos_tickets import Tickets
from pywrap.errors import SocksError, Unencodable
from pywrap.messages import Messages
from pywrap.relay.securing import Securing
from pywrap.server.tcp.dial import Resolver
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint, packed, unpacked
from pywrap.tunnel.association import UNKNOWN, Associating
from pywrap.tunnel.attempt import TunnelAttempt
from pywrap.tunnel.deadline import Deadline
from pywrap.tunnel.hop_probes import HopProbes
from pywrap.tunnel.hops import Hops
from pywrap.tunnel.isolation import isolated
from pywrap.tunnel.own_addresses import is_own
from pywrap.tunnel.placeholders import Hosts, Placeholders
from pywrap.tunnel.policy_choice import policy
from pywrap.tunnel.request_port import RequestPorts
from pywrap.tunnel.round_robin import RoundRobinCounter
from pywrap.tunnel.routes import DIRECT, Routes
from pywrap.tunnel.selection import Fixed, selection
from pywrap.tunnel.straight_road import Road, StraightTunnel, road

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from pywrap.config.settings import Proxy, Settings
    from pywrap.confine.askers import Asker, Askers, Ends
    from pywrap.confine.broker_recorder import Recorder
    from pywrap.confine.packets import Syn
    from pywrap.log.events import Begun
    from pywrap.relay.loop import Loop
    from pywrap.socks.wire import Dialogue
    from pywrap.tunnel.association import Association
    from pywrap.tunnel.request_port import RequestPort
    from pywrap.tunnel.retry_policy import RetryPolicy
    from pywrap.tunnel.routes import Verdict
    from pywrap.tunnel.selection import Selection
    from pywrap.tunnel.strict_policy import SingleAttempt, StrictPolicy

    Failed: TypeAlias = Callable[[SocksError], None]
    # Called at the end of a connection, with the bytes sent and received, and whether both ends have closed
    # it.
    OnEnd: TypeAlias = Callable[[int, int, bool], None]
    # Called at the end of an association, with two pairs of bytes and datagrams: sent, and received.
    OnDatagramsEnd: TypeAlias = Callable[[tuple[int, int], tuple[int, int]], None]


# Seconds after the end of the program in which its last bytes are sent through TLS.
_LAST_WORDS = 10.0


class Outside:
    """``settings``: those of the run. ``program``: the name of the program inside, for the log."""

    def __init__(self, settings: Settings, loop: Loop, program: str = "") -> None:
        self.settings = settings
        self.loop = loop
        self.messages = Messages(settings.verbosity)
        self.log = self._recorder(program) if settings.log else None
        # Finds the asking processes, for the log; the broker, which has the sockets for it, sets it.
        self.askers: Askers | None = None
        # By the descriptor of a connection outside: the function to call at its end, for the log.
        self._on_end: dict[int, OnEnd] = {}
        self.resolver = Resolver(loop)
        self.hosts = Hosts()
        # One table for the whole run: a program that is not confined may pass addresses to its confined
        # children.
        self.names = Placeholders(_Lock, settings.placeholders, settings.shared_file)
        self._securing = Securing(loop, settings.secured_hops)
        self._tickets = Tickets(self._securing, self.resolver)
        self._hops = Hops(_socket.getaddrinfo, lambda text: self.messages.say(1, text))
        self._hop_probes = self._hops.hop_probes = HopProbes(settings, self._hops, self._start_probe)
        firsts = self._hops.firsts(settings.chains)
        self.routes = Routes(settings, firsts, self.names, self.hosts, _is_own)
        chains = list(isolated(settings.chains) if settings.isolate_streams else settings.chains)
        self._chains = {chain.name: chain for chain in chains}
        self._selections: dict[str, Selection] = {
            chain.name: selection(chain, self._hops, RoundRobinCounter(settings.shared_file, place))
            for place, chain in enumerate(chains)
        }
        self._request_ports = RequestPorts()
        # By the chain's name: its straight road, None for a chain that has none (``straight_road``).
        self._roads: dict[str, Road | None] = {
            name: road(settings, self._hops, chosen) for name, chosen in self._selections.items()
        }
        for first in firsts:
            if not first.is_fresh:
                # The addresses of the first hop are needed to recognize a program's own connection to it.
                # They are looked up while the program starts.
                first.look_up().close()

    def asker(self, ends: Ends, datagram: bool = False) -> Asker | None:
        """The process inside whose socket has these ``ends``; None if unknown, or without a log."""
        return None if self.askers is None else self.askers.of(ends, datagram)

    def verdict(
        self, address: bytes, port: int, datagram: bool = False, asker: Asker | None = None
    ) -> Verdict:
        """The verdict on a connection of ``asker`` to ``address`` (4 or 16 bytes), or on a datagram."""
        verdict = self.routes.verdict(unpacked(address), port, len(address) == 16, datagram)
        if self.log is not None:
            self.log.judged(verdict, datagram, asker)
        return verdict

    def how(self, name: str) -> str:
        """Where the answers to a look-up of ``name`` come from, for the log."""
        if self.routes.local_addresses(name):
            return "hosts"
        if self.settings.dns == "local" or self.routes.resolves_here(name):
            return "local"
        return "placeholder" if self.settings.dns == "remote" else self.settings.dns.partition(":")[0]

    def _recorder(self, program: str) -> Recorder:
        from pywrap.confine.broker_recorder import Recorder

        return Recorder(self.settings, program, lambda text: self.messages.say(0, text))

    def on_end(self, sock: socket) -> OnEnd | None:
        """The function to call, once, at the end of the connection on ``sock``, which ``connect`` opened."""
        return self._on_end.pop(sock.fileno(), None)

    # ------------------------------------------------------------ connections

    def connect(
        self,
        verdict: Verdict,
        connected: Callable[[socket], None],
        failed: Failed,
        syn: Syn,
        asker: Asker | None,
    ) -> Callable[[], None]:
        """Open a tunnel as ``verdict`` says, or a direct connection; return a function that gives it up.

        ``syn``: the SYN that the program inside, ``asker``, has sent.
        """
        started = monotonic()
        destination = verdict.destination
        begun = None if self.log is None else self.log.begin(asker)

        def done(attempt: TunnelAttempt | StraightTunnel) -> None:
            self._tunnel_stands(attempt, destination, started)
            stands(attempt.sock)

        def stands(sock: socket) -> None:
            if self.log is not None and begun is not None:
                self._note_end(begun, self.log.connection(begun, verdict, syn, sock), sock)
            connected(sock)

        def has_failed(err: SocksError) -> None:
            self.messages.say(1, f"{destination} failed: {err}")
            if self.log is not None and begun is not None:
                self.log.connection(begun, verdict, syn, error=err)
            failed(err)

        if verdict.kind == DIRECT:
            return self._connect_directly(verdict, stands, has_failed)
        chosen, way = self._selections[verdict.chain], self._roads[verdict.chain]
        if way is not None:
            try:
                return self._start(self._straight(chosen, way, destination), done, has_failed)
            except Unencodable:
                # The name of the destination cannot be sent. The ``TunnelAttempt`` below fails by that too,
                # with an error that names the hop.
                pass
        attempt = self._attempt(chosen, destination)
        if begun is not None:
            attempt.times = begun.times
        return self._start(attempt, done, has_failed)

    def _note_end(self, begun: Begun, number: str, sock: socket) -> None:
        log = self.log
        assert log is not None, "it has given the number"
        self._on_end[sock.fileno()] = lambda sent, received, complete: log.end(
            number, begun, sent, received, complete
        )

    def _noting_datagrams(self, begun: Begun, number: str) -> OnDatagramsEnd:
        log = self.log
        assert log is not None, "it has given the number"
        return lambda sent, received: log.datagrams_end(number, begun, sent, received)

    def converse(
        self,
        about: str,
        destination: Endpoint,
        command: int,
        then: Callable[[], Dialogue[None]] | None,
        done: Callable[[Endpoint], None],
        failed: Failed,
    ) -> Callable[[], None]:
        """Send ``command`` through the chain for the name or address ``about``; return a function to give up.

        ``then``: a dialogue with the destination after that, or None. ``done`` gets the address of the last
        reply.
        """

        def ended(attempt: TunnelAttempt) -> None:
            attempt.sock.close()
            done(attempt.bound)

        chain = self.routes.verdict(about, 0).chain
        return self._start(self._attempt(self._selections[chain], destination, command, then), ended, failed)

    def request_port(self, chain: str) -> RequestPort | None:
        """Whether the one hop of ``chain`` wants our port in requests; None where there are several."""
        return self._request_ports.of(self._chains[chain])

    def local_host(self, chain: str) -> str:
        """This machine's address on the way to the first proxy of ``chain``; zeros when it is not known."""
        for address in self._hops.first(self._chains[chain].proxies[0]).known():
            # The kernel has the address after a connect(), which sends nothing.
            sock = _socket.socket(address.family, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
            try:
                sock.connect(address.sockaddr)
                return str(sock.getsockname()[0])
            except OSError:
                # No route to the proxy: there is no such address.
                continue
            finally:
                sock.close()
        return UNKNOWN.host

    def associate(
        self,
        chain: str,
        done: Callable[[Association, OnDatagramsEnd | None], None],
        failed: Failed,
        asker: Asker | None,
        own: Endpoint | None = None,
    ) -> Callable[[], None]:
        """Set up a UDP association of ``asker`` through ``chain``; return a function that gives it up.

        ``done`` gets the association, and the function to call at its end, for the log. ``own``: the address
        that the request names as ours; None for zeros.
        """
        deadline = Deadline(self.settings)
        started = monotonic()
        begun = None if self.log is None else self.log.begin(asker)

        def ask(chosen: Selection) -> TunnelAttempt:
            return self._attempt(chosen, own or UNKNOWN, v5.UDP_ASSOCIATE, deadline=deadline)

        def stands(attempt: Associating) -> None:
            assert attempt.association is not None, "it stands"
            seconds = monotonic() - started
            hops = ", ".join(map(str, attempt.path))
            self.messages.say(1, f"UDP via {hops}: associated in {seconds * 1000:.0f} ms")
            on_end = None
            if self.log is not None and begun is not None:
                number = self.log.association(begun, attempt.path, relay=attempt.association.relay)
                on_end = self._noting_datagrams(begun, number)
            self._hop_probes.learn(attempt.path)
            done(attempt.association, on_end)

        def has_failed(err: SocksError) -> None:
            self.messages.say(1, f"no UDP: {err}")
            if self.log is not None and begun is not None:
                self.log.association(begun, begun.times.path, err)
            failed(err)

        last = ask(self._selections[chain])
        if begun is not None:
            last.times = begun.times

        def other(path: tuple[Proxy, ...], number: int) -> TunnelAttempt:
            attempt = ask(Fixed(path[: number + 1]))
            if begun is not None:
                attempt.times = begun.next_times()
            return attempt

        associating = Associating(last, other, deadline)
        return self._start(associating, stands, has_failed)

    def _straight(self, chosen: Selection, way: Road, destination: Endpoint) -> StraightTunnel:
        deadline = Deadline(self.settings)

        def otherwise(sock: socket) -> TunnelAttempt:
            attempts = self._policy(chosen, destination)
            return TunnelAttempt(sock, attempts, deadline, self._tickets.take)

        return StraightTunnel(fresh(way.family), way, destination, deadline, otherwise)

    def _attempt(
        self,
        chosen: Selection,
        destination: Endpoint,
        command: int = v5.CONNECT,
        then: Callable[[], Dialogue[None]] | None = None,
        deadline: Deadline | None = None,
    ) -> TunnelAttempt:
        attempts = self._policy(chosen, destination, command, then)
        return TunnelAttempt(fresh(), attempts, deadline or Deadline(self.settings), self._tickets.take)

    def _policy(
        self,
        chosen: Selection,
        destination: Endpoint,
        command: int = v5.CONNECT,
        then: Callable[[], Dialogue[None]] | None = None,
    ) -> RetryPolicy | StrictPolicy:
        settings = self.settings
        return policy(self._hops, chosen, destination, command, settings.pipeline, settings.fast_open, then)

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

    def _tunnel_stands(
        self, attempt: TunnelAttempt | StraightTunnel, destination: Endpoint, started: float
    ) -> None:
        if self.messages.verbosity >= 1:
            hops = ", ".join(map(str, attempt.path))
            seconds = monotonic() - started
            self.messages.say(1, f"{destination} via {hops}: connected in {seconds * 1000:.0f} ms")
        self._hop_probes.learn(attempt.path)

    def _start_probe(self, probe: SingleAttempt, deadline: Deadline) -> bool:
        try:
            attempt = TunnelAttempt(fresh(), probe, deadline, self._tickets.take)
        except OSError:
            # No descriptor is left (EMFILE).
            return False
        # Started by the loop, not now: the step of the attempt that wants the probe has not ended. The errors
        # are handled by ``probe`` itself.
        self.loop.after(0, lambda: _discard(self._start(attempt, lambda ended: ended.sock.close(), _ignore)))
        return True

    # ------------------------------------------------------------

    def close(self) -> None:
        """End wrapped connections, after their last bytes."""
        if self.settings.secured_hops:
            self._securing.close(_LAST_WORDS)
        self.resolver.close()

    def forked(self) -> None:
        """In a child after fork(), which lacks the threads that look up names: make the resolver anew."""
        self.resolver = Resolver(self.loop)
        self._tickets = Tickets(self._securing, self.resolver)
        self._hops.forked()


class _Lock:
    """A lock that does nothing, for ``Placeholders``: the broker has one thread."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


def _is_own(address: bytes) -> bool:
    """Whether ``address`` is this machine's own; this process is outside, so the kernel knows."""
    return is_own(address, _socket.socket)


def _nothing() -> None:
    pass


def _discard(_: object) -> None:
    pass


def _ignore(_: SocksError) -> None:
    pass
