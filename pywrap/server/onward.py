"""An association of this server through other proxies: datagrams pass on unchanged, behind further headers.

RFC 1928 section 7. Each proxy of the chain is asked for an association, through those before it, and names
its relay. The first proxy removes its header and sends the rest to the second one's relay, and so on; the
last header is the client's own. Answers come the same way.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6

from pywrap.errors import ProtocolError
from pywrap.relay.loop import IN
from pywrap.server.advertised import advertised, host_of
from pywrap.server.udp.outbound import udp_socket
from pywrap.server.upstream import ChainDial
from pywrap.socks import v5
from pywrap.socks.datagram import pack_header, unpack_header
from pywrap.socks.wire import Endpoint, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from pywrap.config.settings import Proxy
    from pywrap.relay.loop import Loop
    from pywrap.server.tcp.dial import Resolver
    from pywrap.server.upstream import Upstream

# How many datagrams are handled in a row, before other connections have a turn.
_BATCH = 64

_ANY = Endpoint("0.0.0.0", 0)


class Associating:
    """Asks all proxies of the chain at once; ends in exactly one of two calls, unless it is cancelled.

    ``stands(onward)`` hands over the association; ``failed(code, words)``: the code of a SOCKS5 reply.
    """

    __slots__ = ("_chain", "_dials", "_failed", "_found", "_lost", "_loop", "_stands")

    def __init__(
        self,
        loop: Loop,
        resolver: Resolver,
        upstream: Upstream,
        timeout: float,
        stands: Callable[[Onward], None],
        failed: Callable[[int, str], None],
        lost: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._chain = chain = upstream.for_datagrams
        self._stands = stands
        self._failed = failed
        self._lost = lost
        self._found: dict[int, tuple[socket, Endpoint]] = {}
        self._dials = [
            ChainDial(
                *(loop, resolver, chain[: number + 1], v5.UDP_ASSOCIATE, _ANY, timeout),
                lambda sock, bound, number=number: self._answered(number, sock, bound),  # type: ignore[misc]
                self._fail,
                upstream.securing,
            )
            for number in range(len(chain))
        ]

    def start(self) -> None:
        """Begin to open the associations."""
        for dial in list(self._dials):
            # An association that failed at once has cancelled the others.
            if self._dials:
                dial.start()

    def cancel(self) -> None:
        """Give up silently."""
        dials, self._dials = self._dials, []
        for dial in dials:
            dial.cancel()
        for control, _ in self._found.values():
            self._loop.close(control)
        self._found.clear()

    def _answered(self, number: int, control: socket, bound: Endpoint) -> None:
        self._found[number] = control, bound
        if len(self._found) < len(self._chain):
            # A hop that closes its connection meanwhile is noticed when all have answered.
            self._loop.unwatch(control.fileno())
            return
        controls, bounds = zip(*(self._found[each] for each in range(len(self._chain))), strict=True)
        try:
            onward = Onward(self._loop, self._chain, list(controls), list(bounds), self._lost)
        except (OSError, ProtocolError) as err:
            words = err.strerror if isinstance(err, OSError) else str(err)
            self._fail(v5.GENERAL_FAILURE, f"no way to the proxy's relay: {words}")
            return
        self._found.clear()
        self._dials.clear()
        self._stands(onward)

    def _fail(self, code: int, words: str) -> None:
        self.cancel()
        self._failed(code, words)


class Onward:
    """An association through ``chain``, which ends when one of ``controls`` does; ``lost`` is called then.

    ``controls``: the control connections, one for each hop. ``bounds``: the addresses in the replies.

    Raises:
        OSError: the first relay cannot be reached.
        ProtocolError: a reply has port 0.
    """

    __slots__ = ("_answer", "_buffer", "_controls", "_loop", "_lost", "_prefix", "_relays", "_sock")

    def __init__(
        self,
        loop: Loop,
        chain: tuple[Proxy, ...],
        controls: list[socket],
        bounds: list[Endpoint],
        lost: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._controls = controls
        self._lost: Callable[[], None] | None = lost
        self._answer: Callable[[memoryview], None] | None = None
        for bound in bounds:
            if not bound.port:
                raise ProtocolError("the proxy has no UDP: it granted that with a relay at port 0")
        first, *self._relays = (
            advertised(bound, host_of(number, chain, controls[number])) for number, bound in enumerate(bounds)
        )
        self._prefix = b"".join(map(pack_header, self._relays))
        self._sock = udp_socket(AF_INET6 if ":" in first.host else AF_INET)
        try:
            self._sock.connect((first.host, first.port))
        except BaseException:
            self._sock.close()
            raise
        for control in controls:
            loop.watch(control.fileno(), IN, lambda events, control=control: self._on_control(control))  # type: ignore[misc]

    def start(self, answer: Callable[[memoryview], None], buffer: memoryview) -> None:
        """Call ``answer`` with each datagram of the last relay, its header included; it is in ``buffer``."""
        self._answer, self._buffer = answer, buffer
        self._loop.watch(self._sock.fileno(), IN, self._on_datagram)

    def send(self, datagram: bytes) -> None:
        """Send ``datagram``, which begins with the client's header.

        Raises:
            OSError: the datagram is dropped; the error is the reason.
        """
        try:
            self._sock.send(self._prefix + datagram)
        except ConnectionRefusedError:
            # The error was one of an earlier datagram, which the kernel reports once.
            self._sock.send(self._prefix + datagram)

    def close(self) -> None:
        """Close the associations; nothing is reported any more."""
        if self._lost is not None:
            self._lost = self._answer = None
            for control in self._controls:
                self._loop.close(control)
            self._loop.close(self._sock)

    def _on_datagram(self, events: int) -> None:
        for _ in range(_BATCH):
            if self._answer is None:
                return
            try:
                count = self._sock.recv_into(self._buffer)
            except BlockingIOError:
                return
            except OSError:
                # An ICMP error: the relay is gone, which the end of its control connection shows as well.
                continue
            datagram = self._unwrap(self._buffer[:count])
            if datagram is not None:
                self._answer(datagram)

    def _unwrap(self, datagram: memoryview) -> memoryview | None:
        """The part of ``datagram`` that the last relay has sent; None if it bypassed a relay."""
        for relay in self._relays:
            try:
                header = unpack_header(datagram)
            except ProtocolError:
                return None
            # The name of a hop is resolved by the hop before it, so its address is not known here.
            if header.fragment or (header.endpoint != relay and packed(relay.host) is not None):
                return None
            datagram = datagram[header.size :]
        return datagram

    def _on_control(self, control: socket) -> None:
        try:
            if control.recv(4096):
                return
        except BlockingIOError:
            return
        except OSError:
            # A reset ends the association like a close.
            pass
        lost = self._lost
        assert lost is not None
        lost()
