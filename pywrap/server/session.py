"""One client, from its first byte to its last: handshake, command, and the end of its connection."""

from __future__ import annotations

from _socket import MSG_PEEK
from functools import partial
from time import monotonic

from pywrap.errors import ProtocolError, ProxyClosed, SocksError
from pywrap.frozen import frozen, replace
from pywrap.relay.lingering_close import LingeringClose
from pywrap.relay.loop import IN
from pywrap.relay.relay import Relay
from pywrap.relay.wrapped import Wrapped
from pywrap.server.access_rules import WORDS, Judge, Party
from pywrap.server.handshake import Handshake
from pywrap.server.ident import OFF, REQUIRE, Ident
from pywrap.server.record import Record
from pywrap.server.tcp.dial import party_of
from pywrap.server.upstream import Upstream
from pywrap.socks import v4, v5
from pywrap.socks.serve import COMMANDS, receive_request
from pywrap.socks.wire import Endpoint, packed, unmapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Hashable, Mapping
    from ssl import SSLContext
    from typing import Protocol

    from pywrap.relay.bucket import Bucket
    from pywrap.relay.loop import Loop
    from pywrap.relay.pumps import Pipes
    from pywrap.relay.timers import Timer
    from pywrap.relay.wrapped import Codec
    from pywrap.server.access_rules import Rules
    from pywrap.server.limits import Census
    from pywrap.server.record import Traffic
    from pywrap.server.tcp.dial import Resolver
    from pywrap.server.udp.batch import Batch
    from pywrap.server.udp.outbound import UdpRules
    from pywrap.socks.serve import Gssapi, Request
    from pywrap.socks.wire import Later

    class Command(Protocol):
        """Serves one kind of request, and owns the client's socket until it ends.

        ``early``: the bytes that the client sent after its request.
        """

        def __init__(self, session: Session, request: Request, early: bytes) -> None: ...
        def start(self) -> None: ...
        def abort(self) -> None: ...


# Bytes to read at once: more than any request with its authentication (822 bytes), and first data behind it.
_READ = 4096


# How often the bytes that a refused client has sent after its request are read, at the most.
_REST = 16

# Seconds for the handshake of a client whose request will be refused in any case: others wait for its place.
_REFUSED = 2.0


class Policy:
    """Settings that may be replaced at any time, for the requests that come then.

    ``check(party, name, password)``: checks a log-in; None where every client is served. ``ident``: one of
    ``ident.MODES``.
    """

    def __init__(self, check: Callable[[str, bytes, bytes], bool | Later] | None, rules: Rules) -> None:
        self.check = check
        self.rules = rules
        self.ident = OFF
        self.gssapi: Gssapi | None = None
        self.upstream = Upstream()


@frozen
class Shared:
    """The objects that all sessions of a server share."""

    # The commands by their numbers in requests; any other number gets reply 7 (91 in SOCKS4).
    served: Mapping[int, type[Command]]
    loop: Loop
    resolver: Resolver
    pipes: Pipes
    buffer: memoryview
    batch: Callable[[], Batch]
    policy: Policy
    census: Census
    wrapped: set[Wrapped]
    bind_addresses: Mapping[int, str]  # by family
    record: Callable[[Record], None]
    arrived: Callable[[Record], None]
    closed: Callable[[Record, int, int, float], None]
    trouble: Callable[[str], None]
    crashed: Callable[[str, Exception], None]
    udp: UdpRules
    udp_peer: Callable[[Record, Endpoint], None]
    udp_closed: Callable[[Record, Traffic, float], None]
    over: Callable[[Session], None]


class Asking:
    """A SOCKS4 request that waits for identd."""

    __slots__ = ("_early", "_ident", "_request", "_session")

    def __init__(self, session: Session, request: Request, early: bytes) -> None:
        self._session = session
        self._request = request
        self._early = early
        shared = session.shared
        # Further bytes of the client stay in the kernel.
        shared.loop.watch(session.client.fileno(), 0, self._on_client)
        self._ident = Ident(shared.loop, session.outer, request.user, self._answered)

    def start(self) -> None:
        """Ask for the client's user."""
        self._ident.start()

    def abort(self) -> None:
        """End the request: the server stops."""
        self._ident.cancel()
        self._session.record(self._request, "the server stopped")
        self._session.hang_up()

    def _on_client(self, events: int) -> None:
        self._ident.cancel()
        self._session.record(self._request, "the client went away")
        self._session.hang_up()

    def _answered(self, code: int, words: str) -> None:
        if code:
            self._session.record(self._request, words)
            self._session.dismiss(v4.pack_reply(code))
        else:
            self._session.identified(self._request, self._early)


class Session:
    """``refusal``: why every request of this client will be refused; "" to serve it.

    ``party``: the client for limits (``dial.party_of``). ``judge``: has the rules for its request, None when
    everything is allowed. ``outer``: the client's own socket. ``client``: the socket with its plain bytes,
    which is the same one unless they are wrapped by ``codec``.
    """

    __slots__ = (
        "_handshake", "_mark", "_over", "_record", "_refusal", "_since", "_stage", "_taken",
        "_timer",
        "client", "codec", "judge", "outer", "party", "peer", "shared",
    )  # fmt: skip

    def __init__(
        self,
        shared: Shared,
        client: socket,
        peer: Endpoint,
        refusal: str = "",
        tls: SSLContext | None = None,
    ) -> None:
        self.shared = shared
        self.client = self.outer = client
        self.codec: Codec | None = None
        self.peer = peer
        self._over = False
        self.party = party_of(peer.host)
        self.judge: Judge | None = None
        self._taken: tuple[tuple[str, Hashable], ...] = ()
        self._mark = (-1, 0.0)
        self._record: Record | None = None
        self._since = monotonic()
        self._refusal = shared.census.enter(self) or refusal
        # From here on, descriptors and timers that are registered with the loop belong to this session.
        shared.loop.owner = self
        self._stage: Command | Relay | LingeringClose | Asking | None = None
        check = shared.policy.check
        self._handshake: Handshake | None = Handshake(
            receive_request(check and partial(check, self.party), shared.policy.gssapi),
            self._send,
            self._resumed,
            self._wrap,
        )
        patience = shared.census.limits.handshake
        if self._refusal:
            patience = min(patience, _REFUSED)
        self._timer: Timer | None = shared.loop.after(patience, self._too_slow)
        if tls is None:
            shared.loop.watch(client.fileno(), IN, self._on_readable)
        else:
            # Imported for the first such client, since it loads OpenSSL.
            from pywrap.relay.tls import Tls

            self._wrap(Tls(tls), b"")

    # ------------------------------------------------------------ the handshake

    def begin(self) -> None:
        """Read the bytes that may have come while the client was accepted."""
        if self.client is self.outer:
            self._on_readable(IN)

    def _on_readable(self, events: int) -> None:
        try:
            data = self.client.recv(_READ)
        except BlockingIOError:
            return
        except OSError as err:
            self._complain(f"lost in the handshake: {err.strerror}")
            return self._end_handshake(self.hang_up)
        assert self._handshake is not None
        if not data and not self._handshake.begun:
            # The client closed without a byte: a check whether the port is open.
            return self._end_handshake(self.hang_up)
        self._go_on(data, not data)

    def _resumed(self) -> None:
        """Go on with the handshake: the result that it waited for is there."""
        self.shared.loop.watch(self.client.fileno(), IN, self._on_readable)
        self._go_on(b"")

    def _go_on(self, data: bytes, hung_up: bool = False) -> None:
        handshake = self._handshake
        assert handshake is not None
        try:
            request = handshake.hung_up() if hung_up else handshake.feed(data)
        except SocksError as err:
            self._complain(str(err))
            return self._end_handshake(self._part)
        except OSError as err:
            self._complain(f"lost in the handshake: {err.strerror}")
            return self._end_handshake(self.hang_up)
        if request is not None:
            self._end_handshake(lambda: self._serve(request, handshake.rest))
        elif handshake.is_waiting:
            # Further bytes of the client stay in the kernel.
            self.shared.loop.watch(self.client.fileno(), 0, self._on_readable)

    def _too_slow(self) -> None:
        self._complain("too slow: no complete request in time")
        self._end_handshake(self._part)

    def give_way(self) -> None:
        """End a handshake in favour of another client's."""
        self._complain("ended before its request was complete: too many of this client's are not")
        self._end_handshake(self.hang_up)

    def _end_handshake(self, then: Callable[[], None]) -> None:
        assert self._handshake is not None
        assert self._timer is not None
        self._handshake.drop()
        self.shared.loop.cancel(self._timer)
        self._handshake = self._timer = None
        self.shared.census.begun(self)
        then()

    def _wrap(self, codec: Codec, early: bytes) -> None:
        try:
            wrapped = Wrapped(self.shared.loop, self.outer, codec, early, self._lost, self.shared.wrapped)
        except OSError as err:
            raise ProtocolError(f"no descriptors to unwrap it: {err.strerror}") from err
        self.client, self.codec = wrapped.near, codec
        self.shared.loop.watch(self.client.fileno(), IN, self._on_readable)

    def _lost(self, words: str) -> None:
        """End the session: the connection of a client with wrapped bytes is broken, or these bytes are."""
        if not self._over:
            self._complain(words)
            self.abort()

    def _send(self, message: bytes) -> None:
        # The send buffer takes any message whole, since it is empty: only a few bytes were sent to the client
        # so far. But not if the client pipelines without ever reading.
        if self.client.send(message) != len(message):
            raise ProxyClosed("the client does not read what it is sent")

    # ------------------------------------------------------------ the request

    @property
    def resolver(self) -> Resolver:
        """The resolver whose look-ups count against this client's share of threads."""
        return self.shared.resolver.of(self.party)

    def _serve(self, request: Request, early: bytes) -> None:
        if request.version == v4.VERSION and not self._refusal and self.shared.policy.ident != OFF:
            if self.shared.policy.ident == REQUIRE:
                self._stage = asking = Asking(self, request, early)
                asking.start()
                return
            # The answer is only for the log: the request does not wait for it.
            Ident(self.shared.loop, self.outer, request.user, self._tell_ident).start()
        self._execute(request, early)

    def _tell_ident(self, code: int, words: str) -> None:
        if words:
            self._complain(words)

    def _execute(self, request: Request, early: bytes) -> None:
        refusal = self._refusal or self._take(request)
        if refusal:
            self.refuse(request, v5.GENERAL_FAILURE, refusal)
            return
        denied = self._judge(request) or self._blocked(request)
        if denied:
            self.refuse(request, v5.NOT_ALLOWED, denied)
            return
        command = self.shared.served.get(request.command)
        if command is None:
            self.refuse(request, v5.COMMAND_NOT_SUPPORTED, "command not supported")
            return
        self._stage = stage = command(self, request, early)
        stage.start()

    def go_on_with(self, stage: Command) -> None:
        """Let ``stage`` serve the request in the place of the command that began to."""
        self._stage = stage
        stage.start()

    @property
    def has_unread(self) -> bool:
        """Whether bytes have come from the client that were not read."""
        try:
            return bool(self.client.recv(1, MSG_PEEK))
        except OSError:
            return False

    def _take(self, request: Request) -> str:
        """Count the request against the limits; return why it is beyond them, or ""."""
        census, limits = self.shared.census, self.shared.census.limits
        wanted: list[tuple[str, Hashable, int, str]] = []
        if request.checked:
            wanted.append(("user", request.user, limits.per_user, "too many connections of this user"))
        if request.command == v5.UDP_ASSOCIATE:
            wanted.append(("udp", self.party, limits.associations, "too many associations of this client"))
        if request.command == v5.BIND:
            wanted.append(("bind", self.party, limits.binds, "too many BINDs of this client"))
        for kind, key, most, words in wanted:
            if not census.take(kind, key, most):
                return words
            self._taken = (*self._taken, (kind, key))
        return ""

    def _blocked(self, request: Request) -> str:
        """Why no route leads to the destination; "" when one does."""
        if request.command == v5.UDP_ASSOCIATE:
            return ""
        return self.shared.policy.upstream.way(request.destination).refusal

    def _judge(self, request: Request) -> str:
        """Why the rules refuse the request, as far as is known before a look-up; "" when they do not."""
        rules, word = self.shared.policy.rules, WORDS.get(request.command)
        if rules.are_none or word is None:
            return ""
        address = packed(unmapped(self.peer.host.partition("%")[0]))
        assert address is not None, "the kernel tells it"
        self.judge = judge = Judge(rules, Party(address, request.user if request.checked else b"", word))
        destination = request.destination
        if request.command == v5.UDP_ASSOCIATE:
            return judge.command()
        if packed(destination.host) is not None:
            return judge.address(destination, destination.host)
        return judge.name(destination.host, destination.port)

    @property
    def throttles(self) -> tuple[Bucket, Bucket] | None:
        """The buckets for this client's bytes up and down; None without a limit."""
        up, down = (self.shared.census.bucket(self.party, each) for each in ("up", "down"))
        return None if up is None or down is None else (up, down)

    def identified(self, request: Request, early: bytes) -> None:
        """Go on with a SOCKS4 request whose user id ident has confirmed."""
        self._stage = None
        self._execute(replace(request, checked=bool(request.user)), early)

    def record(self, request: Request, outcome: str = "", answer: Endpoint | None = None) -> Record:
        """Report the outcome of the request, before the client gets its reply."""
        record = Record(
            request.version,
            COMMANDS.get(request.command, str(request.command)),
            request.destination.host,
            request.destination.port,
            request.user.decode("utf-8", "backslashreplace"),
            self.peer,
            outcome,
            answer,
        )
        self._record, self._since = record, monotonic()
        self.shared.record(record)
        return record

    def say(self, reply: bytes) -> bool:
        """Send a reply; return False when the client is gone."""
        try:
            self._send(reply)
        except (OSError, SocksError):
            return False
        return True

    def refuse(self, request: Request, code: int, words: str) -> None:
        """Answer with a refusal and end the connection; ``code`` is of SOCKS5."""
        self.record(request, words)
        self.dismiss(request.reply(code))

    def dismiss(self, reply: bytes) -> None:
        """Send the last reply and end the connection."""
        if self.say(reply) and not self._refusal:
            self._part()
        else:
            # The next client needs the descriptor of a refused one, so there is no wait for it. Its bytes are
            # read only so that the close is no RST, which would make it lose the reply.
            self._discard()
            self.hang_up()

    def _discard(self) -> None:
        try:
            for _ in range(_REST):
                if not self.client.recv_into(self.shared.buffer):
                    break
        except OSError:
            # BlockingIOError: all bytes are read. Other errors: the connection is broken.
            pass

    def tunnel(self, target: socket, record: Record, reply: bytes, early: bytes) -> None:
        """Send the reply, and then carry bytes between the client and ``target`` until both have ended."""
        shared = self.shared
        since = monotonic()

        def done(up: int, down: int) -> None:
            shared.closed(record, up, down, monotonic() - since)
            self.over()

        self._stage = relay = Relay(
            shared.loop, shared.pipes, shared.buffer, self.client, target, done, self.throttles
        )
        if self.say(reply):
            relay.start(early)
        else:
            relay.abort()

    # ------------------------------------------------------------ the end

    def abort(self) -> None:
        """End the session now, in whatever state it is."""
        if self._stage is not None:
            self._stage.abort()
        elif self._handshake is not None:
            self._end_handshake(self.hang_up)

    def state(self, now: float) -> tuple[Record | None, float, int]:
        """The request, the seconds since it came, and the bytes or datagrams so far (-1: no tunnel yet)."""
        moved: int = getattr(self._stage, "moved", -1)
        return self._record, now - self._since, moved

    def end_handshake(self) -> None:
        """End the session if its request is not complete."""
        if self._handshake is not None:
            self._end_handshake(self.hang_up)

    def end_if_idle(self, now: float, patience: float) -> None:
        """End a tunnel or an association through which nothing has passed for ``patience`` seconds.

        Called every now and then; it compares counts, so that no time has to be noted for each byte.
        """
        moved: int = getattr(self._stage, "moved", -1)
        if moved < 0 or moved != self._mark[0]:
            self._mark = moved, now
        elif now - self._mark[1] >= patience:
            self._complain(f"nothing has passed for {patience:g} s")
            self.abort()

    def failed(self, err: Exception) -> None:
        """An error of this program while it served the client: end this session, and no other."""
        self.shared.crashed(f"{self.peer}: ended by an error of this server", err)
        try:
            self.abort()
        except Exception as further:
            # The command cannot be ended either. Its sockets close with the last reference to them.
            self.shared.crashed(f"{self.peer}: and by another one", further)
            self._stage = None
        if not self._over:
            self.shared.loop.abandon(self)
            self.hang_up()

    def hang_up(self) -> None:
        """Close the client's connection, and end."""
        self.shared.loop.close(self.client)
        self.over()

    def over(self) -> None:
        """End the session: the client's socket is closed, by it or by the relay that owned it."""
        self._stage = None
        if not self._over:
            self._over = True
            self.judge = None
            for kind, key in self._taken:
                self.shared.census.give_back(kind, key)
            self.shared.census.leave(self)
            self.shared.over(self)

    def _part(self) -> None:
        self._stage = stage = LingeringClose(self.shared.loop, self.shared.buffer, self.client, self.over)
        stage.start()

    def _complain(self, words: str) -> None:
        self.shared.trouble(f"{self.peer}: {words}")
