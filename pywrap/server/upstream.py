"""Connections through other proxies: which destinations go through them, and how they are reached.

Destinations are written as in the client's routes. As there, a rule for a name is about that name only: a
name that goes through a proxy is not looked up here, since the address that the proxy finds for it counts.
"""

from __future__ import annotations

import errno
from time import monotonic

from pywrap.config.matching import Destinations
from pywrap.config.settings import TO_BLOCK, TO_DIRECT
from pywrap.errors import ProtocolError, ProxyClosed, ProxyTimeout, Rejected, SocksError, Unencodable
from pywrap.frozen import frozen
from pywrap.relay.loop import IN
from pywrap.server.tcp.dial import CODES, Dial
from pywrap.socks import http, kerberized, v4, v5
from pywrap.socks.wire import Aside, Endpoint, Establish, Secure, Send, packed, unmapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Sequence

    from pywrap.config.settings import Proxy, Rule
    from pywrap.relay.loop import Loop
    from pywrap.relay.securing import Securing
    from pywrap.relay.timers import Timer
    from pywrap.server.tcp.dial import Resolver
    from pywrap.server.threads import Job
    from pywrap.socks.wire import Dialogue, Recv

    Chain = tuple[Proxy, ...]

DIRECT: Chain = ()

# The reply codes of SOCKS5 (RFC 1928 section 6), which are passed on to the client.
_OF_SOCKS5 = frozenset(range(1, 9))


@frozen
class Way:
    """The way to a destination. ``chain``: the hops, () if it is direct. ``refusal``: why it is refused."""

    chain: Chain = ()
    refusal: str = ""


_DIRECTLY = Way()


class Upstream:
    """``proxies``: the chain, nearest first. ``rules``: routes, of which the first that matches decides.

    ``securing``: for proxies with TLS or Kerberos; set by the server, whose loop it needs.
    """

    def __init__(self, proxies: Sequence[Proxy] = (), rules: Sequence[Rule] = ()) -> None:
        self.securing: Securing | None = None
        self._chain = tuple(proxies)
        self._goes_directly = not proxies and not rules
        self._rules = [(Destinations(rule), rule) for rule in rules]

    def way(self, destination: Endpoint, datagram: bool = False) -> Way:
        """The way of connections (or datagrams) to ``destination``: the chain, directly, or none."""
        if self._goes_directly:
            return _DIRECTLY
        address = packed(unmapped(destination.host))
        name = destination.host.lower().removesuffix(".")
        for destinations, rule in self._rules:
            if destinations.takes_port(destination.port, datagram) and (
                destinations.takes_name(name) if address is None else destinations.takes_address(address)
            ):
                if rule.to == TO_BLOCK:
                    return Way(refusal=f"not allowed: route {rule} block")
                return Way(DIRECT if rule.to == TO_DIRECT else self._chain)
        return Way(self._chain)

    def hop_to_itself(self, is_own: Callable[[bytes, int], bool]) -> Proxy | None:
        """The nearest hop, if it is this server itself, which would pass each request to itself for ever.

        ``is_own(address, port)``: whether this server listens there; ``address`` is packed.
        """
        if not self._chain:
            return None
        nearest = self._chain[0]
        address = packed("127.0.0.1" if nearest.host == "localhost" else nearest.host)
        if address is None or not is_own(address, nearest.port):
            return None
        # If a route sends the second hop directly, a request that comes back is not passed to itself again.
        further = self._chain[1:2]
        comes_back = not further or self.way(Endpoint(further[0].host, further[0].port)).chain
        return nearest if comes_back else None

    @property
    def secured_hops(self) -> Chain:
        """The proxies of the chain that have TLS or Kerberos."""
        return tuple(hop for hop in self._chain if hop.is_secured)

    @property
    def for_datagrams(self) -> Chain:
        """The chain that datagrams may need; () when all of them go directly."""
        return self._chain


def ask(
    chain: Chain, command: int, destination: Endpoint, listening: Callable[[Endpoint], None] | None = None
) -> Dialogue[Endpoint]:
    """Ask the last hop for ``command``, through those before it; return the address of its reply.

    ``listening``: for BIND, called with the address of the first reply; the result is then the address of the
    second one, which comes with the peer.

    Raises:
        SocksError: the message begins with the hop.
    """
    bound = destination
    for number, hop in enumerate(chain):
        onward = chain[number + 1] if number + 1 < len(chain) else None
        try:
            if hop.tls is not None:
                yield Secure(hop)
            if onward is None:
                bound = yield from _request(hop, command, destination)
                if listening is not None:
                    listening(bound)
                    is_5 = hop.scheme in ("socks5", "socks5h")
                    bound = yield from v5.read_reply() if is_5 else v4.read_reply()
            else:
                yield from _request(hop, v5.CONNECT, Endpoint(onward.host, onward.port))
        except SocksError as err:
            words = f"{_label(chain, number)}: {err}"
            if onward is not None and isinstance(err, Rejected):
                # The refusal is about the next hop, not about the destination: so its code is not passed on.
                raise err.copy(words, code=-1) from err.__cause__
            raise err.copy(words) from err.__cause__
    return bound


def _request(hop: Proxy, command: int, destination: Endpoint) -> Dialogue[Endpoint]:
    if hop.is_secured and command == v5.UDP_ASSOCIATE:
        raise Unencodable("datagrams would not be secured, as the connection is", errno.EOPNOTSUPP)
    if hop.kerberos is not None:
        return kerberized.request(hop, command, destination)
    if hop.scheme in ("socks5", "socks5h"):
        return v5.request(command, destination, hop.username, hop.password)
    if hop.scheme == "http" and command == v5.CONNECT:
        return http.connect(destination, hop.username, hop.password)
    if hop.scheme in ("socks4", "socks4a") and command not in (v5.UDP_ASSOCIATE, v5.RESOLVE_PTR):
        return v4.request(command, destination, hop.username, names=hop.scheme == "socks4a")
    raise Unencodable(f"a proxy of {hop.scheme} has no such command", errno.EOPNOTSUPP)


def _label(chain: Chain, number: int) -> str:
    return f"hop {number + 1} of {len(chain)}, {chain[number]}" if len(chain) > 1 else f"proxy {chain[0]}"


class ChainDial:
    """One request to the last hop of ``chain``, which ends in exactly one of two calls, as a ``Dial`` does.

    ``connected(sock, bound)`` hands over the connection, of which nothing beyond the reply has been read.
    ``listening(sock, bound)`` is called with the first reply to a BIND, and may cancel it.
    """

    __slots__ = (
        "_chain", "_connected", "_deadline", "_dial", "_dialogue", "_failed", "_got", "_job", "_listening",
        "_loop", "_resolver", "_securing", "_sock", "_step", "_timer",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        resolver: Resolver,
        chain: Chain,
        command: int,
        destination: Endpoint,
        timeout: float,
        connected: Callable[[socket, Endpoint], None],
        failed: Callable[[int, str], None],
        securing: Securing | None = None,
        listening: Callable[[socket, Endpoint], None] | None = None,
    ) -> None:
        self._listening = listening
        self._loop = loop
        self._resolver = resolver
        self._securing = securing
        self._job: Job | None = None
        self._chain = chain
        self._deadline = monotonic() + timeout
        self._connected: Callable[[socket, Endpoint], None] | None = connected
        self._failed = failed
        self._dialogue = ask(chain, command, destination, self._listens if listening else None)
        self._got = b""
        self._step: Send | Recv = Send()
        self._sock: socket | None = None
        self._timer: Timer | None = None
        first = Endpoint(chain[0].host, chain[0].port)
        self._dial: Dial | None = Dial(loop, resolver, first, timeout, self._reached, self._unreachable)

    def start(self) -> None:
        """Begin to reach the first proxy."""
        assert self._dial is not None
        self._dial.start()

    def extend(self, seconds: float) -> None:
        """Set the time limit anew: ``seconds`` from now."""
        assert self._timer is not None
        self._loop.cancel(self._timer)
        self._timer = self._loop.after(seconds, self._too_slow)

    def cancel(self) -> None:
        """Give up silently."""
        self._connected = None
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self._timer is not None:
            self._loop.cancel(self._timer)
            self._timer = None
        if self._job is not None:
            self._resolver.cancel(self._job)
            self._job = None
        if self._sock is not None:
            self._loop.close(self._sock)
            self._sock = None

    def _unreachable(self, code: int, words: str) -> None:
        self._dial = None
        self._fail(v5.GENERAL_FAILURE, f"{_label(self._chain, 0)}: {words}")

    def _reached(self, sock: socket, bound: Endpoint) -> None:
        self._dial = None
        self._sock = sock
        self._timer = self._loop.after(max(0.0, self._deadline - monotonic()), self._too_slow)
        self._loop.watch(sock.fileno(), IN, self._on_readable)
        self._go_on(None)

    def _listens(self, bound: Endpoint) -> None:
        assert self._sock is not None and self._listening is not None
        self._listening(self._sock, bound)

    def _on_readable(self, events: int) -> None:
        assert self._sock is not None and not isinstance(self._step, Send)
        try:
            data = self._sock.recv(self._step - len(self._got))
        except BlockingIOError:
            return
        except OSError as err:
            self._throw(self._failure or ProxyClosed(f"lost: {err.strerror}"))
            return
        if not data:
            self._throw(self._failure or ProxyClosed("hung up"))
            return
        self._got += data
        if len(self._got) == self._step:
            data, self._got = self._got, b""
            self._go_on(data)

    @property
    def _failure(self) -> ProtocolError | None:
        """The error that broke the TLS of the connection; None without one."""
        failure = getattr(self._sock, "failure", "")
        return ProtocolError(failure) if failure else None

    def _go_on(self, answer: bytes | None) -> None:
        assert self._sock is not None
        try:
            while True:
                # A generator is begun by sending None.
                self._step = step = self._dialogue.send(answer)  # type: ignore[arg-type]
                if self._connected is None:
                    # The request was cancelled meanwhile.
                    return
                if isinstance(step, Establish):
                    self._establish(step)
                    return
                if isinstance(step, Aside):
                    self._sock = self._secured.take(step, self._sock)
                    self._loop.watch(self._sock.fileno(), IN, self._on_readable)
                    answer = b""
                    continue
                if not isinstance(step, Send):
                    return
                # The empty send buffer of a new connection takes a message whole.
                if self._sock.send(step) != len(step):
                    raise ProxyClosed("it does not read")
                answer = b""
        except StopIteration as stop:
            bound: Endpoint = stop.value
            connected, sock = self._connected, self._sock
            self._sock = None
            self.cancel()
            assert connected is not None
            connected(sock, bound)
        except (SocksError, OSError) as err:
            self._give_up(err)

    @property
    def _secured(self) -> Securing:
        assert self._securing is not None, "the server has one for chains that need it"
        return self._securing

    def _establish(self, step: Establish) -> None:
        """Ask the KDC in a thread."""
        assert self._sock is not None
        self._loop.watch(self._sock.fileno(), 0, self._on_readable)
        securing = self._secured

        def establish() -> SocksError | None:
            try:
                securing.establish(step)
            except SocksError as err:
                return err
            return None

        self._job = self._resolver.run(establish, self._established)

    def _established(self, answer: SocksError | OSError | None) -> None:
        self._job = None
        assert self._sock is not None
        if isinstance(answer, OSError):
            answer = SocksError(f"GSSAPI: {answer.strerror}")
        if answer is not None:
            self._throw(answer)
            return
        self._loop.watch(self._sock.fileno(), IN, self._on_readable)
        self._go_on(b"")

    def _too_slow(self) -> None:
        self._throw(ProxyTimeout("timed out"))

    def _throw(self, err: SocksError) -> None:
        try:
            self._dialogue.throw(err)
        except SocksError as explained:
            self._give_up(explained)
            return
        raise AssertionError("a dialogue cannot go on without its bytes")

    def _give_up(self, err: SocksError | OSError) -> None:
        if isinstance(err, Rejected) and err.code in _OF_SOCKS5:
            code = err.code
        elif isinstance(err, Rejected) and err.code == -1 or isinstance(err, OSError):
            code = v5.GENERAL_FAILURE
        elif isinstance(err, Unencodable) and err.errno == errno.EOPNOTSUPP:
            code = v5.COMMAND_NOT_SUPPORTED
        elif isinstance(err, ProxyTimeout):
            code = v5.TTL_EXPIRED
        else:
            code = (
                CODES.get(err.errno, v5.GENERAL_FAILURE) if isinstance(err, Rejected) else v5.GENERAL_FAILURE
            )
        self._fail(code, str(err))

    def _fail(self, code: int, words: str) -> None:
        self.cancel()
        self._failed(code, words)
