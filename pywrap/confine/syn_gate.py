"""The gate: no SYN is answered before the proxy has answered.

A program inside calls connect(). Its kernel sends a SYN, which the packet filter drops, and the packet
socket shows it to the broker. The program waits, as it would for a far host; event loops go on. When the
broker knows the result, it sends into the namespace what a network would have sent:

* the tunnel stands: the same SYN once more, with our mark. The filter lets it through to the transparent
  listener, and the kernel completes the handshake with itself;
* the tunnel failed: a RST or an ICMP message, by which the kernel gives connect() its errno (``ANSWERS``);
* it took too long: nothing.

The kernel repeats a SYN that is not answered. The broker knows the request already, and sees that the program
still waits: if no repetition comes for a while, the program has given up, and so does the broker. A program
can send any number of SYNs: the number of known requests is bounded, and SYNs beyond it are ignored until
they are repeated.
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
# How many frames are read in a row, before others have a turn.
_BATCH = 128
# Seconds between two sweeps, in which old requests are forgotten.
_SWEEP = 1.0
# Seconds without a repeated SYN, after which no program waits. They come every second (``namespaces``).
_GIVEN_UP = 3.6
# Seconds in which a repeated SYN gets the same answer, and an admitted one must become a connection.
_REMEMBERED = 5.0

# SO_MARK (socket(7)) as ancillary data: gives one packet another mark than the socket's own.
_SO_MARK = 36
_TO_INSIDE = [(SOL_SOCKET, _SO_MARK, struct.pack("=I", ruleset.INSIDE))]

# For each errno: (ICMP type, code) for IPv4, and for ICMPv6, from the kernel's tables icmp_err_convert and
# icmpv6_err_convert: those that a connect() reports. In IPv4 no message means EACCES.
ANSWERS = {
    errno.ENETUNREACH: ((3, 0), (1, 0)),
    errno.EHOSTUNREACH: ((3, 1), (1, 3)),
    errno.EACCES: ((3, 13), (1, 1)),
    errno.EPERM: ((3, 13), (1, 1)),
    errno.EOPNOTSUPP: ((3, 5), (1, 0)),
    errno.EPROTO: ((12, 0), (4, 0)),
    # The proxy does not support addresses of this family.
    errno.EAFNOSUPPORT: ((3, 0), (1, 0)),
    errno.EADDRNOTAVAIL: ((3, 0), (1, 0)),
}
# Errnos for which nothing is sent: the kernel itself gives up in the end.
SILENT = (errno.ETIMEDOUT,)
# Errors of the broker itself: it tries again at the next SYN.
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRINUSE, errno.EAGAIN)


class Request:
    """A connection that a program asks for, from its first SYN until it stands or has failed."""

    __slots__ = ("_gate", "_syn", "answer", "cancel", "is_over", "seen", "upstream")

    def __init__(self, gate: Gate, syn: Syn) -> None:
        self._gate = gate
        self._syn = syn
        self.seen = monotonic()
        # A function that ends the attempt; the broker sets it.
        self.cancel: Callable[[], None] = _nothing
        self.answer = b""
        self.is_over = False
        # The connection outside, which waits for the one inside.
        self.upstream: socket | None = None

    @property
    def syn(self) -> Syn:
        """The SYN of the request."""
        return self._syn

    def admit(self, upstream: socket | None) -> None:
        """Let the connection be established; ``upstream``: the connection outside that belongs to it."""
        self.upstream = upstream
        self._end(packets.again(self._syn))

    def refuse(self, number: int) -> None:
        """Have connect() fail with the errno ``number``, or with the nearest that a packet can cause."""
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
    """``packet_socket``: that of the namespace. ``ask(request)`` is called for each new request.

    ``repeats``: whether the kernel inside repeats a SYN every second.
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
        """The request of an accepted connection, by its ``key``; None when the broker has not admitted it."""
        request = self._requests.get(key)
        if request is None or not request.is_over:
            return None
        del self._requests[key]
        return request

    def send(self, frame: bytes) -> None:
        """Send ``frame`` into the namespace, with our mark."""
        try:
            self._socket.send(frame)
        except OSError as err:
            # The packet is lost, as in a network: the SYN that it answers will be repeated.
            if err.errno not in (errno.ENOBUFS, errno.EAGAIN, errno.EMSGSIZE):
                raise

    def pass_inside(self, request: Request) -> None:
        """Pass the SYN to a server inside, at an address that the packet filter does not let pass."""
        self.forget(request)
        self._socket.sendmsg([packets.again(request.syn)], _TO_INSIDE)

    def forget(self, request: Request) -> None:
        """Forget ``request``, so that a repeated SYN is a new request."""
        if self._requests.get(request.syn.key) is request:
            del self._requests[request.syn.key]

    def settle(self, first: Request, twin: Request) -> None:
        """Admit ``twin`` by the connection of ``first``, if that was not accepted yet; else forget it."""
        is_left = self._requests.get(first.syn.key) is first and first.upstream is not None
        if is_left and self._requests.get(twin.syn.key) is twin:
            upstream, first.upstream = first.upstream, None
            self.forget(first)
            twin.admit(upstream)
        elif not twin.is_over:
            self.forget(twin)

    # ------------------------------------------------------------ packets that come in

    def _on_frames(self, events: int) -> None:
        receive = self._socket.recv
        for _ in range(_BATCH):
            try:
                frame = receive(LONGEST)
            except BlockingIOError:
                return
            except OSError as err:
                # lo was taken down, which only a privileged process inside can do.
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
                    # The answer was lost, or came while the kernel was busy with the socket.
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

    # ------------------------------------------------------------ forgetting requests

    def _make_room(self) -> bool:
        """Forget the oldest request that has failed already; return whether there was one."""
        for request in self._requests.values():
            if request.is_over and request.upstream is None:
                self._drop(request)
                return True
        return False

    def _sweep(self) -> None:
        now = monotonic()
        for request in list(self._requests.values()):
            if request.is_over:
                # A request that is answered by silence is kept as long as its SYNs are repeated.
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
