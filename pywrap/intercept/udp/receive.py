"""Which datagrams that arrive at a socket with a flow are for the program, and where they come from.

The header of a datagram from a relay is removed. A datagram from a direct destination of the program is
passed on. All others are dropped. Datagrams that arrived before an error are received before the error is
raised.
"""

from __future__ import annotations

import _socket
from time import monotonic

from pywrap.intercept import originals
from pywrap.socks.datagram import LONGEST_PAYLOAD
from pywrap.tunnel.attempt import POLLIN
from pywrap.tunnel.routes import DIRECT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from pywrap.intercept.udp.channel import Usual
    from pywrap.intercept.udp.closing import Closing
    from pywrap.intercept.udp.flow_state import FlowState, SockAddr
    from pywrap.intercept.udp.second_association import SecondAssociations

    # Data, ancillary data, flags, source: as of recvmsg(). The source is None when the socket is shut down.
    Message: TypeAlias = tuple[bytes, Any, int, Any]
    # A function that receives a message: of the socket, size, flags, size of the ancillary data.
    Take: TypeAlias = Callable[[Any, int, int, int], Message]

# How many sources are remembered at the most.
_SOURCES = 16384

# Seconds that a thread sleeps on one file at the most: another file may take its place, and a thread that is
# between two calls then is not woken up.
_SLICE = 0.5


class Receiver:
    """The receiving side of a flow. ``accepts_unsolicited``: its socket takes datagrams from all direct
    sources. ``margin``: bytes that the headers of a datagram may have.
    """

    def __init__(
        self, state: FlowState, closing: Closing, second: SecondAssociations, accepts_unsolicited: bool
    ) -> None:
        self._state = state
        self._second = second
        self._closing = closing
        self._accepts_unsolicited = accepts_unsolicited
        # By source: whether its datagrams are for the program.
        self._known: dict[SockAddr, bool] = {}
        self.margin = 0

    def allow_source(self, source: SockAddr) -> None:
        """Note that the program sends to ``source`` directly, so that it gets datagrams from there."""
        # Entered anew, so that sources to which nothing was sent for long stand in front.
        self._known.pop(source, None)
        self._remember(source, True)

    def reserve_header(self, headers: int) -> None:
        """Note that datagrams with up to ``headers`` bytes before the payload may arrive from now on."""
        self.margin = max(self.margin, headers)

    def receive(self, sock: _socket.socket, size: int, flags: int) -> tuple[bytes, SockAddr]:
        """One datagram for the program, of which ``size`` bytes are wanted; it may be longer."""
        data, _, _, source = self._next(_recvfrom, sock, size, flags)
        return data, source

    def sort(self, data: bytes, source: SockAddr) -> tuple[bytes, SockAddr] | None:
        """What ``data`` is for the program, and from where; None when it is not for the program."""
        found = self._for_program((data, (), 0, source), 0)
        return None if found is None else (found[0], found[3])

    def receive_message(
        self, sock: _socket.socket, size: int, ancillary: int, flags: int
    ) -> tuple[bytes, list[Any], int, SockAddr]:
        """As ``receive``, with ancillary data and flags; the payload is of ``size`` bytes at the most."""
        data, extra, got, source = self._next(_recvmsg, sock, size, flags, ancillary)
        if len(data) > size:
            got |= _socket.MSG_TRUNC
            data = data if flags & _socket.MSG_TRUNC else data[:size]
        return data, extra, got, source

    def _next(self, take: Take, sock: _socket.socket, size: int, flags: int, ancillary: int = 0) -> Message:
        state = self._state
        if not state.relays and state.runtime.is_interrupted:
            # Released for a signal handler: the background thread needs the lock to set an association up.
            lock = state.runtime.registry.lock
            return lock.released(lambda: self._next(take, sock, size, flags, ancillary))
        handles = state.kernel.handles
        timeout = originals.gettimeout(sock)
        until = monotonic() + timeout if timeout else None
        if flags & _socket.MSG_TRUNC:
            size, flags = LONGEST_PAYLOAD, flags & ~_socket.MSG_TRUNC
        if until is not None:
            flags |= _socket.MSG_DONTWAIT
        while True:
            if until is not None:
                _wait(sock, until)
            if state.error is not None:
                found = self._rest(take, size, flags, ancillary)
                if found is not None:
                    return found
                self._closing.raise_error()
            handle = handles.get(originals.fileno(sock)) or state.kernel.handle(sock)
            try:
                message = take(handle, size + self.margin, flags, ancillary)
            except BlockingIOError:
                if until is None:
                    raise
                # Another thread has received the datagram; or poll() has reported that the file is shut down.
                self._let_replace()
                if monotonic() >= until:
                    # poll() reports a file that the program has shut down each time.
                    raise TimeoutError("timed out") from None
                continue
            if message[3] is None:
                if state.is_shut:
                    return *message[:3], ()
                self._let_replace()
                continue
            found = self._for_program(message, flags)
            if found is not None:
                return found
            _discard(handle, flags)

    def _let_replace(self) -> None:
        """Wait until another thread has replaced the file, which was shut down, but not by the program.

        That thread holds the lock. If there is none, another process has shut the file down: it shares the
        file since a fork(), and its association has failed. Then this process gets a file of its own.
        """
        state = self._state
        with state.runtime.registry.lock:
            if state.error is None and not state.is_shut and state.kernel.is_shut():
                state.kernel.refresh()

    def _rest(self, take: Take, size: int, flags: int, ancillary: int) -> Message | None:
        """The next datagram for the program in the buffer of a file that was shut down, if any."""
        sock = self._state.kernel.copy()
        if sock is None:
            return None
        try:
            # Not by the program's object: if it has a timeout, C would poll and receive again until that is
            # over.
            while True:
                message = take(sock, size + self.margin, flags | _socket.MSG_DONTWAIT, ancillary)
                if message[3] is None:
                    return None
                found = self._for_program(message, flags)
                if found is not None:
                    return found
                _discard(sock, flags)
        except BlockingIOError:
            return None
        finally:
            sock.close()

    def _for_program(self, message: Message, flags: int) -> Message | None:
        """``message`` as the program gets it; None when it is not for the program."""
        data, extra, got, source = message
        channel = self._state.relays.get(source)
        if channel is None:
            found = self._past_relays(data, source)
        else:
            # Taken first. Not while each answer shows which association the hop wants.
            usual: Usual | None = channel.usual
            if channel.request_port is not None:
                usual = None
            found = channel.unwrap(data, self._state.peer, bool(flags & _socket.MSG_PEEK), usual)
            if found is not None and channel.request_port is not None:
                self._second.answered(channel, source)
        return None if found is None else (found[0], extra, got, found[1])

    def _past_relays(self, data: bytes, source: Any) -> tuple[bytes, SockAddr] | None:
        """Payload and source of a datagram that is not from a relay; None if it is not for the program."""
        if self._state.peer is not None:
            # A connected socket takes datagrams from its peer alone.
            return None
        source = self._state.kernel.of_program(source)
        known = self._known.get(source[:2])
        if known is None:
            known = self._accepts_unsolicited and self._is_direct(source)
            self._remember(source[:2], known)
        return (data, source) if known else None

    def _remember(self, source: SockAddr, known: bool) -> None:
        if len(self._known) >= _SOURCES:
            # Forget all unwanted sources, and half of the others.
            admitted = [each for each, admitted in self._known.copy().items() if admitted]
            self._known = dict.fromkeys(admitted[-(_SOURCES // 2) :], True)
        self._known[source] = known

    def _is_direct(self, source: SockAddr) -> bool:
        verdict = self._state.runtime.routes.verdict(source[0], source[1], ":" in source[0], datagram=True)
        return verdict.kind == DIRECT


def _recvfrom(sock: _socket.socket, size: int, flags: int, _: int) -> Message:
    data, source = originals.recvfrom(sock, size, flags)
    return data, (), 0, source


def _recvmsg(sock: _socket.socket, size: int, flags: int, ancillary: int) -> Message:
    return originals.recvmsg(sock, size, ancillary, flags)


def _wait(sock: _socket.socket, until: float) -> None:
    """Wait for a datagram, or for an error.

    C's recv() would not notice the end of an association: its poll() reports a socket that was shut down, its
    recv() finds nothing, and it would repeat the two until the timeout.

    Raises:
        TimeoutError: neither has come.
    """
    while (fd := originals.fileno(sock)) >= 0:
        poller = originals.poll()
        poller.register(fd, POLLIN)
        left = until - monotonic()
        if poller.poll(max(0.0, min(left, _SLICE)) * 1000):
            return
        if left <= _SLICE:
            raise TimeoutError("timed out")


def _discard(sock: _socket.socket, flags: int) -> None:
    """Remove a datagram that is not for the program from the buffer, if it was only peeked at."""
    if flags & _socket.MSG_PEEK:
        try:
            originals.recvfrom(sock, 0, _socket.MSG_DONTWAIT)
        except OSError:
            # Another thread has received the datagram.
            pass
