"""One client, from its first byte to its last: handshake, command, and a decent end."""

from __future__ import annotations

from time import monotonic

from pywrap.errors import ProxyClosed, SocksError
from pywrap.frozen import frozen
from pywrap.server.associate import Associate
from pywrap.server.bind import Bind
from pywrap.server.connect import Connect
from pywrap.server.farewell import Farewell
from pywrap.server.handshake import Handshake
from pywrap.server.loop import IN
from pywrap.server.record import Record
from pywrap.server.relay import Relay
from pywrap.server.resolve import Resolve
from pywrap.socks import v5
from pywrap.socks.serve import COMMANDS, receive_request
from pywrap.socks.wire import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Mapping
    from typing import Protocol

    from pywrap.server.dial import Resolver
    from pywrap.server.loop import Loop
    from pywrap.server.outbound import UdpRules
    from pywrap.server.pumps import Pipes
    from pywrap.server.record import Traffic
    from pywrap.server.timers import Timer
    from pywrap.socks.serve import Request

    class Command(Protocol):
        """What serves one kind of request: it owns the client's socket until it ends.

        ``early`` is what the client sent after its request.
        """

        def __init__(self, session: Session, request: Request, early: bytes) -> None: ...
        def start(self) -> None: ...
        def abort(self) -> None: ...


# The commands that are served; the others are answered with reply 7 (91 in SOCKS4).
SERVED: dict[int, type[Command]] = {
    v5.CONNECT: Connect,
    v5.BIND: Bind,
    v5.UDP_ASSOCIATE: Associate,
    v5.RESOLVE: Resolve,
    v5.RESOLVE_PTR: Resolve,
}

# More than any request with its authentication (822 bytes), and whatever else a client
# sends before it is answered.
_READ = 4096


# Reads of what a refused client has sent beside its request.
_REST = 16

# Seconds for a client whose request will be refused in any case: others wait to be told the same.
_REFUSED = 2.0


class Accounts:
    """``check(name, password)``; None where every client is served. It may be replaced at any time."""

    def __init__(self, check: Callable[[bytes, bytes], bool] | None) -> None:
        self.check = check


@frozen
class Shared:
    """What all sessions of a server use."""

    loop: Loop
    resolver: Resolver
    pipes: Pipes
    buffer: memoryview
    accounts: Accounts
    handshake_timeout: float
    connect_timeout: float
    bind_timeout: float
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


class Session:
    """``refusal``: why every request of this client is refused; it has less time to make one."""

    __slots__ = ("_handshake", "_over", "_refusal", "_stage", "_timer", "client", "peer", "shared")

    def __init__(self, shared: Shared, client: socket, peer: Endpoint, refusal: str = "") -> None:
        self.shared = shared
        self.client = client
        self.peer = peer
        self._over = False
        self._refusal = refusal
        # From here on, what the loop is asked for is for this session.
        shared.loop.owner = self
        self._stage: Command | Relay | Farewell | None = None
        self._handshake: Handshake | None = Handshake(receive_request(shared.accounts.check), self._send)
        patience = min(shared.handshake_timeout, _REFUSED) if refusal else shared.handshake_timeout
        self._timer: Timer | None = shared.loop.after(patience, self._too_slow)
        shared.loop.watch(client.fileno(), IN, self._on_readable)

    # ------------------------------------------------------------ the handshake

    def _on_readable(self, events: int) -> None:
        handshake = self._handshake
        assert handshake is not None
        try:
            data = self.client.recv(_READ)
            if not data and not handshake.begun:
                # Someone looked whether the port is open.
                return self._end_handshake(self.hang_up)
            request = handshake.feed(data) if data else handshake.hung_up()
        except BlockingIOError:
            return
        except SocksError as err:
            self._complain(str(err))
            return self._end_handshake(self._part)
        except OSError as err:
            self._complain(f"lost in the handshake: {err.strerror}")
            return self._end_handshake(self.hang_up)
        if request is not None:
            self._end_handshake(lambda: self._serve(request, handshake.rest))

    def _too_slow(self) -> None:
        self._complain("too slow: no complete request in time")
        self._end_handshake(self._part)

    def _end_handshake(self, then: Callable[[], None]) -> None:
        assert self._timer is not None
        self.shared.loop.cancel(self._timer)
        self._handshake = self._timer = None
        then()

    def _send(self, message: bytes) -> None:
        # An empty send buffer takes any message whole, and it is empty: the client has
        # been sent a few bytes in all. Unless it pipelines without ever reading.
        if self.client.send(message) != len(message):
            raise ProxyClosed("the client does not read what it is sent")

    # ------------------------------------------------------------ the request

    @property
    def resolver(self) -> Resolver:
        """Names are looked up at this client's expense."""
        return self.shared.resolver.of(self.peer)

    def _serve(self, request: Request, early: bytes) -> None:
        if self._refusal:
            self.refuse(request, v5.GENERAL_FAILURE, self._refusal)
            return
        command = SERVED.get(request.command)
        if command is None:
            self.refuse(request, v5.COMMAND_NOT_SUPPORTED, "command not supported")
            return
        self._stage = stage = command(self, request, early)
        stage.start()

    def record(self, request: Request, outcome: str = "", answer: Endpoint | None = None) -> Record:
        """Tell what came of the request; before the client can know."""
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
        self.shared.record(record)
        return record

    def say(self, reply: bytes) -> bool:
        """Send a reply; False when the client is gone."""
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
            # A refused client's descriptor is the next one's: it is not waited for, and what it has sent
            # is read only so that the close is no RST, which would take the reply away.
            self._discard()
            self.hang_up()

    def _discard(self) -> None:
        try:
            for _ in range(_REST):
                if not self.client.recv_into(self.shared.buffer):
                    break
        except OSError:
            # BlockingIOError: that was all.
            pass

    def tunnel(self, target: socket, record: Record, reply: bytes, early: bytes) -> None:
        """Send the reply, and then carry bytes between the client and ``target`` to their end."""
        shared = self.shared
        since = monotonic()

        def done(up: int, down: int) -> None:
            shared.closed(record, up, down, monotonic() - since)
            self.over()

        self._stage = relay = Relay(shared.loop, shared.pipes, shared.buffer, self.client, target, done)
        if self.say(reply):
            relay.start(early)
        else:
            relay.abort()

    # ------------------------------------------------------------ the end

    def abort(self) -> None:
        """End it now, whatever it is doing."""
        if self._stage is not None:
            self._stage.abort()
        elif self._handshake is not None:
            self._end_handshake(self.hang_up)

    def failed(self, err: Exception) -> None:
        """An error of this program while it served the client: end this session, and no other."""
        self.shared.crashed(f"{self.peer}: ended by an error of this server", err)
        try:
            self.abort()
        except Exception as further:
            # What it was doing is in no state to be ended. Its sockets close with the last reference.
            self.shared.crashed(f"{self.peer}: and by another one", further)
            self._stage = None
        if not self._over:
            self.shared.loop.abandon(self)
            self.hang_up()

    def hang_up(self) -> None:
        self.shared.loop.close(self.client)
        self.over()

    def over(self) -> None:
        """The client's socket is closed, by us or by what it was left to."""
        self._stage = None
        if not self._over:
            self._over = True
            self.shared.over(self)

    def _part(self) -> None:
        self._stage = stage = Farewell(self.shared.loop, self.shared.buffer, self.client, self.over)
        stage.start()

    def _complain(self, words: str) -> None:
        self.shared.trouble(f"{self.peer}: {words}")
