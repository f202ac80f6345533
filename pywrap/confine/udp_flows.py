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
from time import monotonic

from pywrap.confine import packets
from pywrap.confine.inside_sockets import ORIGINAL_DESTINATION
from pywrap.confine.udp_channel import Channel
from pywrap.relay.loop import IN
from pywrap.socks.datagram import pack_header
from pywrap.socks.wire import packed, unpacked
from pywrap.tunnel.routes import DIRECT, REFUSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from pywrap.confine.name_server import NameServer
    from pywrap.confine.outside import Outside
    from pywrap.tunnel.routes import Verdict

    # An address of 4 or 16 bytes, and a port.
    Place: TypeAlias = tuple[bytes, int]

# How many flows there may be, each with a descriptor or two; then the one that was idle longest is ended.
MOST = 512
# Seconds without a datagram, after which a flow ends: more than the minimum that RFC 4787 sets for NATs.
IDLE = 180.0
_SWEEP = 15.0
# Datagrams that wait for the address of a destination, for each.
_QUEUE = 32
# Seconds for which an association stays after the last datagram of a program that has ended. If the control
# connection ended first, a proxy might drop datagrams in its own socket's buffer (Dante 1.4.2).
_LINGER = 0.2
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
            outside.loop.watch(sock.fileno(), IN, lambda events, sock=sock: self._on_readable(sock, events))  # type: ignore[misc]

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
        """Tell the program that its datagrams to ``destination`` do not arrive."""
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
    def outside(self) -> Outside:
        """The rules and the chains."""
        return self.datagrams.outside

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

    def answer(self, source: Place, data: bytes) -> None:
        """``data`` has come from ``source`` through a chain."""
        self.used, self.sent = monotonic(), 0.0
        self.datagrams.answer(self.program, source, data)

    def refuse(self, destination: Place) -> None:
        """Tell the program that its datagrams to ``destination`` do not arrive."""
        self.datagrams.refuse(self.program, destination)

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
        try:
            # The program's own port, for a patched one that has named it in its request to a proxy.
            self._sock.bind(("", flow.program[1]))
        except OSError:
            # Another socket has it, or only root may: the kernel chooses one.
            pass
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


def _destination(extra: list[tuple[int, int, bytes]], family: int) -> Place | None:
    """The original destination of a datagram, from its ancillary data (IP_RECVORIGDSTADDR)."""
    for level, kind, data in extra:
        if (level, kind) in ORIGINAL_DESTINATION:
            address = data[4:8] if family == AF_INET else data[8:24]
            return bytes(address), int.from_bytes(data[2:4], "big")
    return None
