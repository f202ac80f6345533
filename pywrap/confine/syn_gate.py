"""The gate: no SYN is answered before the proxy has answered.

A program inside calls connect(). Its kernel sends a SYN, which the packet filter drops, and the packet
socket shows it to the broker. The program waits, as it would for a far host; event loops go on. When the
broker knows how it ends, the kernel hears what it would have heard from a network:

* the tunnel stands: the same SYN once more, with our mark. The filter lets it through to the transparent
  listener, and kernel and kernel shake hands;
* it failed: a RST or an ICMP message, by which the kernel gives connect() its errno (``ANSWERS``);
* it took too long: nothing.

The kernel repeats a SYN that is not answered. That finds the request known, and shows that the program still
waits: where nothing comes for a while, it has given up, and so does the broker. A program can send any number
of SYNs: what is known of them is bounded, and those beyond are left to come again.
"""

from __future__ import annotations

import errno
import struct
from _socket import SOL_SOCKET
from time import monotonic

from pywrap.confine import packets, ruleset
from pywrap.confine.inside_sockets import LONGEST
from pywrap.relay.loop import IN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import TypeAlias

    from pywrap.confine.packets import Syn
    from pywrap.relay.loop import Loop

    Key: TypeAlias = tuple[bytes, int, bytes, int]

# Requests that are known at a time. A connection through a slow proxy is one for as long as that takes.
MOST = 8192
# Frames that are read before others have their turn.
_BATCH = 128
# Seconds between two looks at what can be forgotten.
_SWEEP = 1.0
# Seconds without a repeated SYN, after which no program waits. They come every second (``namespaces``).
_GIVEN_UP = 3.6
# Seconds in which a repeated SYN gets the same answer, and an admitted one must become a connection.
_REMEMBERED = 5.0

# Another mark than the socket's own, for one packet (socket(7): SO_MARK).
_SO_MARK = 36
_TO_INSIDE = [(SOL_SOCKET, _SO_MARK, struct.pack("=I", ruleset.INSIDE))]

# errno: (ICMP type, code) for IPv4, and for ICMPv6. Those of the kernel's icmp_err_convert and
# icmpv6_err_convert that a connect() reports. Of IPv4 there is none that means EACCES.
ANSWERS = {
    errno.ENETUNREACH: ((3, 0), (1, 0)),
    errno.EHOSTUNREACH: ((3, 1), (1, 3)),
    errno.EACCES: ((3, 13), (1, 1)),
    errno.EPERM: ((3, 13), (1, 1)),
    errno.EOPNOTSUPP: ((3, 5), (1, 0)),
    errno.EPROTO: ((12, 0), (4, 0)),
    # Of a proxy that has no such addresses.
    errno.EAFNOSUPPORT: ((3, 0), (1, 0)),
    errno.EADDRNOTAVAIL: ((3, 0), (1, 0)),
}
# Answered by silence: the kernel itself gives up then.
SILENT = (errno.ETIMEDOUT,)
# Of the broker itself: to be tried again with the next SYN.
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRINUSE, errno.EAGAIN)


class Request:
    """A connection that a program asks for, from its first SYN until it stands or has failed."""

    __slots__ = ("_gate", "_syn", "answer", "cancel", "is_over", "seen", "upstream")

    def __init__(self, gate: Gate, syn: Syn) -> None:
        self._gate = gate
        self._syn = syn
        self.seen = monotonic()
        # What ends the attempt; the broker's.
        self.cancel: Callable[[], None] = _nothing
        self.answer = b""
        self.is_over = False
        # The connection outside, which waits for the one inside.
        self.upstream: socket | None = None

    @property
    def syn(self) -> Syn:
        """What was asked for."""
        return self._syn

    def admit(self, upstream: socket | None) -> None:
        """Let the connection come about; it will be accepted with ``upstream``."""
        self.upstream = upstream
        self._end(packets.again(self._syn))

    def refuse(self, number: int) -> None:
        """Have connect() fail with that errno, or with the nearest that a network can tell."""
        if number in EXHAUSTED:
            self._gate.forget(self)
        elif number in SILENT:
            self._end(b"")
        elif number in ANSWERS:
            kind, code = ANSWERS[number][len(self._syn.source) == 16]
            self._end(packets.unreachable(self._syn, kind, code))
        else:
            self._end(packets.reset(self._syn))

    def _end(self, answer: bytes) -> None:
        self.cancel = _nothing
        self.is_over = True
        self.seen = monotonic()
        self.answer = answer
        if answer:
            self._gate.send(answer)


class Gate:
    """``packet_socket`` is of the namespace. ``ask(request)`` is called for each connection asked for.

    ``repeats``: does the kernel inside repeat a SYN every second?
    """

    def __init__(
        self, loop: Loop, packet_socket: socket, ask: Callable[[Request], None], repeats: bool
    ) -> None:
        self._loop = loop
        self._socket = packet_socket
        self._ask = ask
        self._repeats = repeats
        self._requests: dict[Key, Request] = {}
        self._is_sweeping = False
        loop.watch(packet_socket.fileno(), IN, self._on_frames)

    def __len__(self) -> int:
        return len(self._requests)

    def accepted(self, key: Key) -> Request | None:
        """The request of a connection that stands now; None when the broker has admitted none."""
        request = self._requests.get(key)
        if request is None or not request.is_over:
            return None
        del self._requests[key]
        return request

    def send(self, frame: bytes) -> None:
        """Send a packet of ours into the namespace."""
        try:
            self._socket.send(frame)
        except OSError as err:
            # As a network loses a packet: what was answered by it will be repeated.
            if err.errno not in (errno.ENOBUFS, errno.EAGAIN, errno.EMSGSIZE):
                raise

    def pass_inside(self, request: Request) -> None:
        """Let a server inside answer, at an address that the packet filter does not know for one."""
        self.forget(request)
        self._socket.sendmsg([packets.again(request.syn)], _TO_INSIDE)

    def forget(self, request: Request) -> None:
        """As if it had never been asked for."""
        if self._requests.get(request.syn.key) is request:
            del self._requests[request.syn.key]

    def settle(self, first: Request, twin: Request) -> None:
        """Give ``twin`` what ``first`` was admitted with and has not taken; otherwise forget it."""
        is_left = self._requests.get(first.syn.key) is first and first.upstream is not None
        if is_left and self._requests.get(twin.syn.key) is twin:
            upstream, first.upstream = first.upstream, None
            self.forget(first)
            twin.admit(upstream)
        elif not twin.is_over:
            self.forget(twin)

    # ------------------------------------------------------------ what comes in

    def _on_frames(self, events: int) -> None:
        receive = self._socket.recv
        for _ in range(_BATCH):
            try:
                frame = receive(LONGEST)
            except BlockingIOError:
                return
            except OSError as err:
                # lo was taken down: only a privileged process inside can.
                if err.errno == errno.ENETDOWN:
                    return
                raise
            syn = packets.read_syn(frame)
            if syn is not None and syn.destination not in (ruleset.OWN_4, ruleset.OWN_6):
                self._on_syn(syn)

    def _on_syn(self, syn: Syn) -> None:
        known = self._requests.get(syn.key)
        if known is not None:
            if known.syn.sequence == syn.sequence:
                known.seen = monotonic()
                if known.answer:
                    # The kernel was busy with the socket when it came, or it was lost.
                    self.send(known.answer)
                return
            # The program has closed that socket, and uses its port again.
            self._drop(known)
        if len(self._requests) >= MOST and not self._make_room():
            return
        request = self._requests[syn.key] = Request(self, syn)
        if not self._is_sweeping:
            self._is_sweeping = True
            self._loop.after(_SWEEP, self._sweep)
        self._ask(request)

    # ------------------------------------------------------------ what is forgotten

    def _make_room(self) -> bool:
        """Forget the oldest request that has failed already; tell whether there is one."""
        for request in self._requests.values():
            if request.is_over and request.upstream is None:
                self._drop(request)
                return True
        return False

    def _sweep(self) -> None:
        now = monotonic()
        for request in list(self._requests.values()):
            if request.is_over:
                # A silent one as long as it is asked for.
                if now - request.seen > _REMEMBERED:
                    self._drop(request)
            elif self._repeats and now - request.seen > _GIVEN_UP:
                self._drop(request)
        self._is_sweeping = bool(self._requests)
        if self._is_sweeping:
            self._loop.after(_SWEEP, self._sweep)

    def _drop(self, request: Request) -> None:
        self._requests.pop(request.syn.key, None)
        request.cancel()
        request.cancel = _nothing
        if request.upstream is not None:
            self._loop.close(request.upstream)
            request.upstream = None


def _nothing() -> None:
    pass
