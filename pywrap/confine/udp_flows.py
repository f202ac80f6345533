"""UDP of the programs inside: through associations, directly, or refused, as the rules say.

Each local address and port of a program is a ``Flow``, with one association for each chain, as a patched
program has for each socket. The program gets answers from the address to which it sent. Where it sent to the
placeholder of a name, the proxy names an address as the source: the answer then belongs to the name at that
port. Two names at one port have two associations. The kernel inside delivers an answer only to the right
socket, so a connected one gets nothing else; where nothing can be sent, the program gets an ICMP port
unreachable.
"""

from __future__ import annotations

import errno
from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    socket,
)
from functools import partial
from time import monotonic

from pywrap.confine import packets
from pywrap.confine.inside_sockets import ORIGINAL_DESTINATION
from pywrap.errors import ProtocolError, SocksError
from pywrap.relay.loop import IN
from pywrap.socks.datagram import Reassembly, pack_header, unpack_header
from pywrap.socks.wire import Endpoint, packed, unpacked
from pywrap.tunnel.association import Watch
from pywrap.tunnel.chain import hop_label
from pywrap.tunnel.routes import DIRECT, REFUSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from pywrap.confine.name_server import NameServer
    from pywrap.confine.outside import OnDatagramsEnd, Outside
    from pywrap.tunnel.association import Association
    from pywrap.tunnel.routes import Verdict

    # An address of 4 or 16 bytes, and a port.
    Place: TypeAlias = tuple[bytes, int]

# How many flows there may be, each with a descriptor or two; then the one that was idle longest is ended.
MOST = 512
# Seconds without a datagram, after which a flow ends: more than the minimum that RFC 4787 sets for NATs.
IDLE = 180.0
_SWEEP = 15.0
# How many datagrams may wait for each association.
_QUEUE = 32
# Seconds for which an association stays after the last datagram of a program that has ended. If the control
# connection ended first, a proxy might drop datagrams in its own socket's buffer (Dante 1.4.2).
_LINGER = 0.2
# Seconds for which an association is not set up again after a failure.
_FAILED_FOR = 1.0
# How many destinations a flow remembers.
_DESTINATIONS = 4096
_BATCH = 64
_LONGEST = 65535
_NAMES = 53


class Datagrams:
    """All flows. ``sockets``: of the namespace, one for each family. ``send(frame)``: sends into it."""

    def __init__(
        self, outside: Outside, names: NameServer, sockets: list[socket], send: Callable[[bytes], None]
    ) -> None:
        self.outside = outside
        self.send = send
        self._names = names
        self._sockets = sockets
        self._flows: dict[Place, Flow] = {}
        self._is_sweeping = False
        for sock in sockets:
            outside.loop.watch(sock.fileno(), IN, partial(self._on_readable, sock))

    def close(self) -> None:
        """End all flows."""
        for flow in list(self._flows.values()):
            self._end(flow)

    def has_unsent(self) -> bool:
        """Read from the sockets; return whether any datagram waits for an association or a name."""
        for sock in self._sockets:
            while self._receive(sock):
                pass
        return any(flow.has_unsent for flow in self._flows.values())

    def _on_readable(self, sock: socket, events: int) -> None:
        self._receive(sock)

    def _receive(self, sock: socket) -> bool:
        """Read a number of datagrams; return whether there may be more."""
        family = sock.family
        for _ in range(_BATCH):
            try:
                data, extra, _flags, source = sock.recvmsg(_LONGEST, 64)
            except BlockingIOError:
                return False
            except OSError:
                # The error is an ICMP error about a datagram of another flow.
                continue
            destination = _destination(extra, family)
            if destination is None:
                continue
            place = packed(source[0]), source[1]
            self._on_datagram(place, destination, data)  # type: ignore[arg-type]
        return True

    def _on_datagram(self, source: Place, destination: Place, data: bytes) -> None:
        if destination[1] == _NAMES:
            self._names.ask(
                data,
                source,
                lambda answer: self.answer(source, destination, answer),
                (*source, *destination),
                datagram=True,
            )
            return
        flow = self._flows.get(source)
        if flow is None:
            flow = self._begin(source)
        flow.used = monotonic()
        flow.take(destination, data)

    def answer(self, to: Place, source: Place, data: bytes) -> None:
        """Send a datagram from ``source`` to the program at ``to``."""
        if len(to[0]) == len(source[0]):
            self.send(packets.datagram(*source, *to, data))

    def refuse(self, program: Place, destination: Place) -> None:
        """Send the program an ICMP port unreachable: its datagrams to ``destination`` do not arrive."""
        self.send(packets.port_unreachable(*program, *destination))

    def _begin(self, source: Place) -> Flow:
        if len(self._flows) >= MOST:
            self._end(min(self._flows.values(), key=lambda flow: flow.used))
        flow = self._flows[source] = Flow(self, source)
        if not self._is_sweeping:
            self._is_sweeping = True
            self.outside.loop.after(_SWEEP, self._sweep)
        return flow

    def _end(self, flow: Flow) -> None:
        self._flows.pop(flow.program, None)
        flow.close()

    def _sweep(self) -> None:
        limit = monotonic() - IDLE
        for flow in [flow for flow in self._flows.values() if flow.used < limit]:
            self._end(flow)
        self._is_sweeping = bool(self._flows)
        if self._is_sweeping:
            self.outside.loop.after(_SWEEP, self._sweep)


class Flow:
    """The datagrams of a program from one address and port, ``program``.

    ``used``: the moment of the last datagram in either direction. ``sent``: the moment of the last one that
    the program sent, 0 once an answer came. Both on the monotonic clock.
    """

    __slots__ = ("_channels", "_direct", "_routes", "_unresolved", "datagrams", "program", "sent", "used")

    def __init__(self, datagrams: Datagrams, program: Place) -> None:
        self.datagrams = datagrams
        self.program = program
        self.used = 0.0
        self.sent = 0.0
        self._channels: list[Channel] = []
        self._direct: dict[int, DirectSocket] = {}
        # By destination: the function that takes a datagram to it.
        self._routes: dict[Place, Callable[[bytes], None]] = {}
        # By destination: datagrams that wait until its name is resolved.
        self._unresolved: dict[Place, list[bytes]] = {}

    @property
    def has_unsent(self) -> bool:
        """Whether a datagram waits for an association or an address, or was sent a moment ago."""
        if self._unresolved or any(channel.has_unsent for channel in self._channels):
            return True
        return bool(self._channels) and monotonic() - self.sent < _LINGER

    def close(self) -> None:
        """End the flow, with its associations."""
        for channel in self._channels:
            channel.close()
        for direct in self._direct.values():
            direct.close()
        self._channels.clear()
        self._direct.clear()
        self._routes.clear()
        self._unresolved.clear()

    def take(self, destination: Place, data: bytes) -> None:
        """Handle a datagram that the program sends to ``destination``."""
        self.sent = monotonic()
        if len(self._routes) >= _DESTINATIONS:
            self._routes.clear()
            self._unresolved.clear()
        attempt = self._routes.get(destination)
        if attempt is None:
            attempt = self._routes[destination] = self._attempt(destination)
        attempt(data)

    def _attempt(self, destination: Place) -> Callable[[bytes], None]:
        outside = self.datagrams.outside
        asker = outside.asker((*self.program, *destination), datagram=True)
        verdict = outside.verdict(*destination, datagram=True, asker=asker)
        if verdict.kind == REFUSE:
            outside.messages.say(1, verdict.reason)
            return lambda _: self.datagrams.refuse(self.program, destination)
        if verdict.kind == DIRECT:
            return self._way_directly(destination, verdict)
        header = pack_header(verdict.destination)
        channel = self._channel(verdict, header, destination)
        return lambda data: channel.take(header, destination, data)

    def _channel(self, verdict: Verdict, header: bytes, destination: Place) -> Channel:
        for channel in self._channels:
            if channel.chain == verdict.chain and channel.expect(verdict.destination, header, destination):
                return channel
        channel = Channel(self, verdict.chain)
        channel.expect(verdict.destination, header, destination)
        self._channels.append(channel)
        return channel

    def _way_directly(self, destination: Place, verdict: Verdict) -> Callable[[bytes], None]:
        host = verdict.literal or verdict.destination.host
        address, port = packed(host), verdict.destination.port
        if address is not None:
            socket_for = self._direct_socket(address)
            socket_for.expect(address, port, destination)
            return lambda data: socket_for.send((unpacked(address), port), data, destination)
        waiting = self._unresolved[destination] = []

        def found(answer: Any) -> None:
            if self._routes.get(destination) is not wait:
                return
            self._unresolved.pop(destination, None)
            if isinstance(answer, OSError):
                self.datagrams.refuse(self.program, destination)
                del self._routes[destination]
                return
            first = packed(str(answer[0][1][0]))
            assert first is not None, "getaddrinfo() answers with addresses"
            direct = self._direct_socket(first)
            direct.expect(first, port, destination)
            place = unpacked(first), port
            self._routes[destination] = lambda data: direct.send(place, data, destination)
            for data in waiting:
                direct.send(place, data, destination)

        def wait(data: bytes) -> None:
            if len(waiting) < _QUEUE:
                waiting.append(data)

        self.datagrams.outside.resolver.resolve(host, port, found)
        return wait

    def _direct_socket(self, address: bytes) -> DirectSocket:
        family = AF_INET if len(address) == 4 else AF_INET6
        if family not in self._direct:
            self._direct[family] = DirectSocket(self, family)
        return self._direct[family]


class DirectSocket:
    """A UDP socket outside, for datagrams that the rules send directly."""

    __slots__ = ("_expected", "_flow", "_sock")

    def __init__(self, flow: Flow, family: int) -> None:
        self._flow = flow
        self._sock = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
        if family == AF_INET6:
            self._sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        # The program's address for a source, where the two differ.
        self._expected: dict[Place, Place] = {}
        flow.datagrams.outside.loop.watch(self._sock.fileno(), IN, self._on_readable)

    def expect(self, address: bytes, port: int, destination: Place) -> None:
        """Pass answers from ``address`` on as answers from ``destination``."""
        if (address, port) != destination:
            self._expected[address, port] = destination

    def send(self, place: tuple[str, int], data: bytes, destination: Place) -> None:
        """Send ``data`` to ``place``; ``destination``: the program's address for it."""
        try:
            self._sock.sendto(data, place)
        except BlockingIOError:
            # The buffer is full: the datagram is dropped, as a network would.
            pass
        except OSError as err:
            if err.errno != errno.EMSGSIZE:
                self._flow.datagrams.refuse(self._flow.program, destination)

    def close(self) -> None:
        """Close the socket."""
        self._flow.datagrams.outside.loop.close(self._sock)

    def _on_readable(self, events: int) -> None:
        flow = self._flow
        for _ in range(_BATCH):
            try:
                data, source = self._sock.recvfrom(_LONGEST)
            except BlockingIOError:
                return
            except OSError:
                # An ICMP error: nothing listens at a destination. With several destinations it is not known
                # at which.
                if len(self._expected) <= 1:
                    for destination in self._expected.values():
                        flow.datagrams.refuse(flow.program, destination)
                continue
            address = packed(source[0])
            if address is not None:
                place = address, source[1]
                flow.datagrams.answer(flow.program, self._expected.get(place, place), data)


class Channel:
    """A flow's use of one chain: its association, the datagrams that wait for it, the sources of answers.

    The counterpart of ``intercept.udp.channel``, which does this for the sockets of a patched program.
    """

    __slots__ = (
        "_answers", "_association", "_cancel", "_failed_until", "_flow", "_on_end", "_owners", "_queue",
        "_reassembly", "_received", "_sent", "_sock", "_watches", "chain",
    )  # fmt: skip

    def __init__(self, flow: Flow, chain: str) -> None:
        self.chain = chain
        self._flow = flow
        self._association: Association | None = None
        # For the log: the function to call at the end of the association, and its bytes and datagrams.
        self._on_end: OnDatagramsEnd | None = None
        self._sent = self._received = (0, 0)
        self._sock: socket | None = None
        self._watches: list[Watch] = []
        self._cancel: Callable[[], None] | None = None
        self._failed_until = 0.0
        self._queue: list[tuple[bytes, Place, bytes]] = []
        # The program's address of each source, by the header of its datagrams.
        self._answers: dict[bytes, Place] = {}
        # The owner of each port: the packed header of a name (b"" for all addresses), and the program's
        # address.
        self._owners: dict[int, tuple[bytes, Place]] = {}
        self._reassembly = Reassembly()

    def expect(self, destination: Endpoint, header: bytes, place: Place) -> bool:
        """Expect answers of ``destination``, the program's ``place``; False if they could be confused."""
        is_literal = packed(destination.host) == place[0]
        owner = (b"", (b"", 0)) if is_literal else (header, place)
        if self._owners.setdefault(destination.port, owner) != owner:
            return False
        if len(self._answers) >= _DESTINATIONS:
            self._answers.clear()
        self._answers[header] = place
        return True

    @property
    def has_unsent(self) -> bool:
        """Whether a datagram waits for the association."""
        return bool(self._queue)

    def take(self, header: bytes, destination: Place, data: bytes) -> None:
        """Send ``data`` behind ``header``, now or when the association stands."""
        if self._association is not None:
            self._send(header, destination, data)
        elif monotonic() < self._failed_until:
            self._refuse(destination)
        elif len(self._queue) < _QUEUE:
            self._queue.append((header, destination, data))
            if self._cancel is None:
                self._cancel = _nothing
                outside = self._flow.datagrams.outside
                asker = outside.asker((*self._flow.program, *destination), datagram=True)
                cancel = outside.associate(self.chain, self._stands, self._failed, asker)
                if self._cancel is not None:
                    self._cancel = cancel

    def close(self) -> None:
        """End the association, and drop the datagrams that wait for it."""
        if self._cancel is not None:
            self._cancel()
            self._cancel = None
        self._queue.clear()
        self._drop_association()

    def _stands(self, association: Association, on_end: OnDatagramsEnd | None) -> None:
        self._cancel = None
        self._on_end = on_end
        self._sent = self._received = (0, 0)
        loop = self._flow.datagrams.outside.loop
        relay = association.relay
        address = packed(relay.host)
        try:
            sock = socket(
                AF_INET6 if address is not None and len(address) == 16 else AF_INET,
                SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
            )
            try:
                # Connected, so that the kernel drops datagrams from other addresses.
                sock.connect((relay.host, relay.port))
            except OSError:
                sock.close()
                raise
        except OSError as err:
            association.close()
            self._tell_end()
            self._failed(SocksError(f"no way to the UDP relay {relay}: {err.strerror}", err.errno))
            return
        self._association, self._sock = association, sock
        loop.watch(sock.fileno(), IN, self._on_readable)
        for number, control in enumerate(association.controls):
            watch = Watch(control, hop_label(association.path, number))
            self._watches.append(watch)
            loop.watch(control.fileno(), IN, lambda events, watch=watch: self._on_control(watch))  # type: ignore[misc]
        queue, self._queue = self._queue, []
        for each in queue:
            if self._association is not None:
                self._send(*each)

    def _failed(self, err: SocksError) -> None:
        self._cancel = None
        self._failed_until = monotonic() + _FAILED_FOR
        queue, self._queue = self._queue, []
        for destination in dict.fromkeys(destination for _, destination, _ in queue):
            self._refuse(destination)

    def _refuse(self, destination: Place) -> None:
        self._flow.datagrams.refuse(self._flow.program, destination)

    def _send(self, header: bytes, destination: Place, data: bytes) -> None:
        assert self._association is not None and self._sock is not None
        try:
            self._sock.send(self._association.prefix + header + data)
            self._sent = self._sent[0] + len(data), self._sent[1] + 1
        except BlockingIOError:
            # The buffer is full: the datagram is dropped, as a network would.
            pass
        except OSError as err:
            if err.errno != errno.EMSGSIZE:
                self._refuse(destination)

    def _on_control(self, watch: Watch) -> None:
        try:
            watch.advance()
        except SocksError as err:
            # The association has ended; the next datagram sets up another.
            self._flow.datagrams.outside.messages.say(1, str(err))
            self._drop_association()

    def _drop_association(self) -> None:
        loop = self._flow.datagrams.outside.loop
        if self._sock is not None:
            loop.close(self._sock)
            self._sock = None
        for watch in self._watches:
            loop.close(watch.sock)
        self._watches.clear()
        self._association = None
        self._tell_end()

    def _tell_end(self) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self._sent, self._received)

    def _on_readable(self, events: int) -> None:
        for _ in range(_BATCH):
            sock = self._sock
            if sock is None:
                return
            try:
                data = sock.recv(_LONGEST)
            except BlockingIOError:
                return
            except OSError as err:
                self._flow.datagrams.outside.messages.say(1, f"the UDP relay is gone: {err.strerror}")
                self._drop_association()
                return
            self._on_answer(data)

    def _on_answer(self, data: bytes) -> None:
        association = self._association
        assert association is not None, "its socket is closed with it"
        try:
            start = association.unwrap(data)
            header = unpack_header(memoryview(data)[start:])
        except ProtocolError:
            # A malformed datagram is dropped: RFC 1928 has no message to report it to the relay.
            return
        payload = data[start + header.size :]
        if header.fragment:
            whole = self._reassembly.add(header, payload, monotonic())
            if whole is None:
                return
            payload = whole
        source = self._source(header.endpoint)
        if source is not None:
            self._flow.used = monotonic()
            self._received = self._received[0] + len(payload), self._received[1] + 1
            self._flow.sent = 0.0
            self._flow.datagrams.answer(self._flow.program, source, payload)

    def _source(self, endpoint: Endpoint) -> Place | None:
        """The program's address of ``endpoint``; None when it has none."""
        try:
            known = self._answers.get(pack_header(endpoint))
        except SocksError:
            return None
        if known is not None:
            return known
        owner, place = self._owners.get(endpoint.port, (b"", (b"", 0)))
        if owner:
            return place
        address = packed(endpoint.host)
        return None if address is None else (address, endpoint.port)


def _destination(extra: list[tuple[int, int, bytes]], family: int) -> Place | None:
    """The original destination of a datagram, from its ancillary data (IP_RECVORIGDSTADDR)."""
    for level, kind, data in extra:
        if (level, kind) in ORIGINAL_DESTINATION:
            address = data[4:8] if family == AF_INET else data[8:24]
            return bytes(address), int.from_bytes(data[2:4], "big")
    return None


def _nothing() -> None:
    pass
