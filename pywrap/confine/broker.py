"""The broker: from outside, it serves the programs inside by sockets of their namespace.

It is the launcher's process, with one thread and one loop. ``Broker`` decides about each connection and
datagram by the rules (``pywrap.tunnel.routes``), and carries the bytes (``pywrap.relay``).
"""

from __future__ import annotations

import errno
import resource
from _socket import inet_pton, socket

from pywrap.confine.happy_eyeballs import Twins
from pywrap.confine.inside_sockets import BACKLOG
from pywrap.confine.listeners import Listeners
from pywrap.confine.name_server import NameServer
from pywrap.confine.name_stream import NameStream
from pywrap.confine.outside import Outside
from pywrap.confine.syn_gate import Gate
from pywrap.confine.udp_flows import Datagrams
from pywrap.relay.loop import IN, Loop
from pywrap.relay.pumps import BUFFER, Pipes
from pywrap.relay.relay import Relay, prepare, reset
from pywrap.relay.wrapped import Near
from pywrap.socks.wire import is_loopback, packed
from pywrap.tunnel.routes import REFUSE, TUNNEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Settings
    from pywrap.confine.askers import Asker
    from pywrap.confine.inside_sockets import Sockets
    from pywrap.confine.outside import OnEnd
    from pywrap.confine.publish import Maker, Published
    from pywrap.confine.syn_gate import Request
    from pywrap.errors import SocksError
    from pywrap.tunnel.routes import Verdict

_DNS_PORT = 53
# How many connections are accepted in a row, before others have a turn.
_ACCEPTS = 64
# Seconds within which a connection that was admitted comes to the listener, if the program still wants it.
_ACCEPTED_IN = 0.02
# Seconds without an accept() when no descriptor is left.
_PAUSE = 0.1


class Broker:
    """Serves one confinement.

    ``sockets``: those of the namespace. ``repeats``: as in ``Gate``. ``pid``: a process inside; ``program``:
    its name, for the log.
    """

    def __init__(
        self, settings: Settings, sockets: Sockets, loop: Loop, repeats: bool, pid: int, program: str = ""
    ) -> None:
        self.loop = loop
        self._sockets = sockets
        for listener in sockets.listeners:
            # What is accepted has it from there; nothing is, before there is a gate.
            prepare(listener)
        self._pipes = Pipes(loop)
        self._buffer = memoryview(bytearray(BUFFER))
        self._outside = Outside(settings, loop, program)
        self._names = NameServer(self._outside, ipv6=len(sockets.listeners) > 1)
        self._listeners = Listeners(sockets.questions, pid)
        if self._outside.log is not None:
            from pywrap.confine.askers import Askers

            self._outside.askers = Askers(self._listeners, pid)
        self._gate = Gate(loop, sockets.packets, self._ask, repeats)
        self._twins = Twins(self._ask, self._settle)
        self._datagrams = Datagrams(self._outside, self._names, sockets.datagrams, self._gate.send)
        self._relays: set[Relay] = set()
        self._published: list[Published] = []
        self._maker: Maker | None = None
        self._watch_listeners()

    def has_unsent(self) -> bool:
        """Read from the sockets; return whether any bytes or datagrams are still to be sent.

        When no program is left inside, this becomes False sooner or later, since all their sockets have
        ended.
        """
        for listener in self._sockets.listeners:
            self._accept(listener)
        return self._datagrams.has_unsent() or not all(relay.is_sent for relay in self._relays)

    @property
    def carried(self) -> int:
        """How many bytes the present connections have carried."""
        return sum(relay.moved for relay in self._relays)

    @property
    def has_last_words(self) -> bool:
        """Whether what ``close`` says is waited for: lines of the log, the end of TLS."""
        return self._outside.log is not None or bool(self._outside.settings.secured_hops)

    def close(self) -> None:
        """End everything; connections whose bytes were not sent completely by a RST."""
        for published in self._published:
            published.close()
        if self._maker is not None:
            self._maker.close()
        for relay in list(self._relays):
            if relay.is_sent:
                relay.close(complete=False)
            else:
                relay.abort()
        self._datagrams.close()
        self._outside.close()
        self._pipes.close()

    def forked(self) -> None:
        """In a child after fork(), which goes on as the broker: make anew what the child does not inherit."""
        self._outside.forked()

    @property
    def helpers(self) -> tuple[int, ...]:
        """The pids of our own processes in the namespace, which do not count as programs."""
        return () if self._maker is None else (self._maker.pid,)

    def publish(self, places: list[tuple[socket, int]], maker: Maker) -> None:
        """Serve ``places``: pairs of a listening socket outside and the port inside that it is for."""
        from pywrap.confine.publish import Published

        self._maker = maker
        self._published = [
            Published(self.loop, maker, self._listeners, listener, port, self._carry)
            for listener, port in places
        ]

    def servers(self) -> set[tuple[bytes, int]]:
        """As ``Listeners.all``."""
        return self._listeners.all()

    def publish_server(self, listener: socket, port: int, maker: Maker) -> Published:
        """Serve one more listening socket, for clients that see the server as if it were not confined."""
        from pywrap.confine import publish

        source = "127.0.0.1"
        return publish.Published(self.loop, maker, self._listeners, listener, port, self._carry, source)

    # ------------------------------------------------------------ connections

    def _ask(self, request: Request) -> None:
        """Handle ``request``: a program inside asks for a connection."""
        syn = request.syn
        if syn.destination_port == _DNS_PORT:
            request.admit(None)
            return
        on_loopback = is_loopback(syn.destination)
        if (on_loopback or self._outside.routes.is_own(syn.destination)) and self._listeners.has(
            syn.destination, syn.destination_port, syn.source, syn.port
        ):
            if on_loopback:
                # A program inside listens there. The packet filter has let the SYN pass; or, if the program
                # listens only since then, it will get the repeated SYN.
                self._gate.forget(request)
            else:
                self._gate.pass_inside(request)
            return
        asker = self._outside.asker(syn.key)
        verdict = self._outside.verdict(syn.destination, syn.destination_port, asker=asker)
        if verdict.kind == REFUSE:
            self._outside.messages.say(1, verdict.reason)
            request.refuse(verdict.errno)
            return

        if verdict.kind == TUNNEL and packed(verdict.destination.host) is None:
            if not self._twins.wait(request, verdict.destination):
                self._open_for_twins(request, verdict, asker)
            return

        def failed(err: SocksError) -> None:
            request.refuse(err.errno)

        # The connection may succeed or fail before ``connect`` returns.
        cancel = self._outside.connect(verdict, request.admit, failed, syn, asker)
        if not request.is_over:
            request.cancel = cancel

    def _open_for_twins(self, request: Request, verdict: Verdict, asker: Asker | None) -> None:
        """Open a tunnel to a name, which the program may ask for by addresses of both families."""
        twins, destination = self._twins, verdict.destination

        def connected(upstream: socket) -> None:
            request.admit(upstream)
            twins.stands(request, destination)

        def failed(err: SocksError) -> None:
            twins.failed(request, destination, err.errno)
            request.refuse(err.errno)

        cancel = self._outside.connect(verdict, connected, failed, request.syn, asker)

        def give_up() -> None:
            cancel()
            twins.given_up(request, destination)

        if not request.is_over:
            request.cancel = give_up

    def _settle(self, first: Request, twin: Request) -> None:
        def settle() -> None:
            # Where the loop is busy, the connection of ``first`` may stand, and still be in the queue.
            for listener in self._sockets.listeners:
                self._accept(listener, BACKLOG)
            self._gate.settle(first, twin)

        self.loop.after(_ACCEPTED_IN, settle)

    def _accept(self, listener: socket, most: int = _ACCEPTS) -> None:
        for _ in range(most):
            try:
                fd, peer = listener._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except OSError as err:
                if err.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._pause()
                return
            client = socket(listener.family, listener.type, 0, fd)
            client.setblocking(False)
            self._accepted(client, peer)
            if not len(self._gate):
                # No admitted connection can be waiting in the queue.
                return

    def _accepted(self, client: socket, peer: tuple[str, int]) -> None:
        family = client.family
        try:
            own = client.getsockname()
        except OSError:
            client.close()
            return
        key = (inet_pton(family, _plain(peer[0])), peer[1], inet_pton(family, _plain(own[0])), own[1])
        request = self._gate.accepted(key)
        if request is None:
            # No connection outside waits for this client any more.
            reset(client)
            client.close()
            return
        if request.upstream is None:
            NameStream(self.loop, self._names, client, key)
            return
        self._carry(client, request.upstream, self._outside.on_end(request.upstream))

    def _carry(self, client: socket, target: socket, on_end: OnEnd | None = None) -> None:
        """Carry the bytes between ``client``, the connection to a program inside, and ``target``, outside."""
        if not isinstance(target, Near):
            prepare(target)

        def done(sent: int, received: int) -> None:
            self._relays.discard(relay)
            if on_end is not None:
                on_end(sent, received, relay.complete)

        relay = Relay(
            self.loop,
            self._pipes,
            self._buffer,
            client,
            target,
            done,
        )
        self._relays.add(relay)
        relay.start(b"")

    def _pause(self) -> None:
        for listener in self._sockets.listeners:
            self.loop.unwatch(listener.fileno())
        self.loop.after(_PAUSE, self._watch_listeners)

    def _watch_listeners(self) -> None:
        for listener in self._sockets.listeners:
            self.loop.watch(listener.fileno(), IN, lambda events, sock=listener: self._accept(sock))  # type: ignore[misc]


def allow_many_descriptors() -> None:
    """Raise the limit of descriptors to the hard limit: each connection needs two. The program's stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _plain(host: str) -> str:
    return host.partition("%")[0]
