"""What comes to a datagram socket that talks through a chain, and which of it is for the program.

What comes from a relay loses its header; what comes from destinations that were sent to directly is passed
on; everything else is dropped. What had come before an error is received before it.
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

    from pywrap.intercept.udp.flow import Flow

    SockAddr: TypeAlias = tuple[Any, ...]
    # Data, ancillary data, flags, source: as of recvmsg(). Without a source, of a socket that is shut down.
    Message: TypeAlias = tuple[bytes, Any, int, Any]
    # Takes a message from the kernel: socket, size, flags, size of the ancillary data.
    Take: TypeAlias = Callable[[Any, int, int, int], Message]

# Sources that are remembered at the most.
_SOURCES = 16384

# Seconds that a thread sleeps on one file at the most: another may take its place, which wakes up nobody who
# is just looking.
_SLICE = 0.5


class Receiver:
    """The receiving side of ``flow``. ``accepts_unsolicited``: its socket takes datagrams from all direct
    sources.
    """

    def __init__(self, flow: Flow, accepts_unsolicited: bool) -> None:
        self._flow = flow
        self._accepts_unsolicited = accepts_unsolicited
        # Sources that were asked about before, and whether their datagrams are for the program.
        self._known: dict[SockAddr, bool] = {}
        # How many bytes the headers of a datagram may have.
        self._margin = 0

    def allow_source(self, source: SockAddr) -> None:
        """The program sends to ``source`` directly: what comes from there is for it."""
        # Anew, so that those stand in front that were not sent to for long.
        self._known.pop(source, None)
        self._remember(source, True)

    def reserve_header(self, headers: int) -> None:
        """Datagrams with so many bytes before the payload may come from now on."""
        self._margin = max(self._margin, headers)

    def receive(self, sock: _socket.socket, size: int, flags: int) -> tuple[bytes, SockAddr]:
        """One datagram for the program, of which ``size`` bytes are wanted; it may be longer."""
        data, _, _, source = self._next(_recvfrom, sock, size, flags)
        return data, source

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
        flow = self._flow
        mouths = flow.kernel.mouths
        timeout = originals.gettimeout(sock)
        until = monotonic() + timeout if timeout else None
        if flags & _socket.MSG_TRUNC:
            size, flags = LONGEST_PAYLOAD, flags & ~_socket.MSG_TRUNC
        if until is not None:
            flags |= _socket.MSG_DONTWAIT
        while True:
            if until is not None:
                _wait(sock, until)
            if flow.error is not None:
                found = self._rest(take, size, flags, ancillary)
                if found is not None:
                    return found
                if (error := flow.take_error()) is not None:
                    raise error
            mouth = mouths.get(originals.fileno(sock)) or flow.kernel.mouth(sock)
            try:
                message = take(mouth, size + self._margin, flags, ancillary)
            except BlockingIOError:
                if until is None:
                    raise
                # Another thread has taken it, or it was an end, and not an answer, that poll() announced.
                self._let_replace()
                if monotonic() >= until:
                    # Of a file that the program has shut down, poll() announces that for ever.
                    raise TimeoutError("timed out") from None
                continue
            if message[3] is None:
                if flow.is_shut:
                    return *message[:3], ()
                self._let_replace()
                continue
            found = self._for_program(message, flags)
            if found is not None:
                return found
            _drop(mouth, flags)

    def _let_replace(self) -> None:
        """The file was shut down, and not by the program: have whoever replaces it come to an end.

        If nobody does, that was another process, which shares the file since a fork() and has failed to
        associate: the two have a file each from now on.
        """
        flow = self._flow
        with flow.runtime.registry.lock:
            if flow.error is None and not flow.is_shut and flow.kernel.is_shut():
                flow.kernel.refresh()

    def _rest(self, take: Take, size: int, flags: int, ancillary: int) -> Message | None:
        """What is in the buffer of a socket that was shut down, for the program; None when it is empty."""
        sock = self._flow.kernel.copy()
        if sock is None:
            return None
        try:
            # Not by the program's object: one with a timeout would wait for more, in circles.
            while True:
                message = take(sock, size + self._margin, flags | _socket.MSG_DONTWAIT, ancillary)
                if message[3] is None:
                    return None
                found = self._for_program(message, flags)
                if found is not None:
                    return found
                _drop(sock, flags)
        except BlockingIOError:
            return None
        finally:
            sock.close()

    def _for_program(self, message: Message, flags: int) -> Message | None:
        """``message`` as the program gets it; None when it does not."""
        data, extra, got, source = message
        channel = self._flow.relays.get(source)
        if channel is None:
            found = self._past_relays(data, source)
        else:
            found = channel.unwrap(data, self._flow.peer, bool(flags & _socket.MSG_PEEK))
        return None if found is None else (found[0], extra, got, found[1])

    def _past_relays(self, data: bytes, source: Any) -> tuple[bytes, SockAddr] | None:
        """What did not come from a relay, when it is for the program."""
        if self._flow.peer is not None:
            # Not from the only one that a connected socket listens to.
            return None
        source = self._flow.kernel.of_program(source)
        known = self._known.get(source[:2])
        if known is None:
            known = self._accepts_unsolicited and self._is_direct(source)
            self._remember(source[:2], known)
        return (data, source) if known else None

    def _remember(self, source: SockAddr, known: bool) -> None:
        if len(self._known) >= _SOURCES:
            # Strangers first, then half of the others.
            admitted = [each for each, admitted in list(self._known.items()) if admitted]
            self._known = dict.fromkeys(admitted[-(_SOURCES // 2) :], True)
        self._known[source] = known

    def _is_direct(self, source: SockAddr) -> bool:
        verdict = self._flow.runtime.routes.verdict(source[0], source[1], ":" in source[0], datagram=True)
        return verdict.kind == DIRECT


def _recvfrom(sock: _socket.socket, size: int, flags: int, _: int) -> Message:
    data, source = originals.recvfrom(sock, size, flags)
    return data, (), 0, source


def _recvmsg(sock: _socket.socket, size: int, flags: int, ancillary: int) -> Message:
    return originals.recvmsg(sock, size, ancillary, flags)


def _wait(sock: _socket.socket, until: float) -> None:
    """Wait for something to receive, or to tell.

    C would do it, but not see the end of an association: poll() announces a socket that was shut down,
    recv() finds nothing, and so it would go on in circles until the timeout.

    Raises:
        TimeoutError: there is nothing.
    """
    while (fd := originals.fileno(sock)) >= 0:
        poller = originals.poll()
        poller.register(fd, POLLIN)
        left = until - monotonic()
        if poller.poll(max(0.0, min(left, _SLICE)) * 1000):
            return
        if left <= _SLICE:
            raise TimeoutError("timed out")


def _drop(sock: _socket.socket, flags: int) -> None:
    """Something came that is not for the program, and was only looked at: take it away."""
    if flags & _socket.MSG_PEEK:
        try:
            originals.recvfrom(sock, 0, _socket.MSG_DONTWAIT)
        except OSError:
            # Another thread has taken it.
            pass
