"""Carries bytes between two sockets in both directions, with half-close and resets."""

from __future__ import annotations

import struct
from _socket import SHUT_WR, SO_LINGER, SOL_SOCKET
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.intercept.own_socket import Own

# Bytes that are read at once, and held at the most, in each direction.
PIECE = 1 << 16

_RESET = struct.pack("ii", 1, 0)


def reset(sock: Own) -> None:
    """Close ``sock`` with a RST, so that its peer sees an error and not a proper end."""
    try:
        sock.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
    except OSError:
        # The connection is gone already.
        pass
    sock.close()


class Pair:
    """Carries bytes until both directions have ended. Both sockets, which are non-blocking, belong to it.

    ``watch(fd, events, handler)`` registers ``fd`` in the place of an earlier registration; with events 0 it
    only removes that. ``done()`` is called once, at the end.
    """

    def __init__(
        self,
        near: Own,
        far: Own,
        watch: Callable[[int, int, Callable[[int], None]], None],
        done: Callable[[], None],
    ) -> None:
        self._watch = watch
        self._done = done
        self._there, self._back = _Direction(near, far), _Direction(far, near)
        self._update()

    def _on_near(self, events: int) -> None:
        self._move(events, self._there, self._back)

    def _on_far(self, events: int) -> None:
        self._move(events, self._back, self._there)

    def _move(self, events: int, comes: _Direction, goes: _Direction) -> None:
        """Handle events of one socket: the source of ``comes``, and the sink of ``goes``."""
        try:
            if events & EPOLLERR:
                # Bytes that arrived before the RST can still be read.
                comes.read()
                raise ConnectionResetError
            if events & EPOLLOUT:
                goes.write()
            if events & (EPOLLIN | EPOLLHUP) and not comes.held and not comes.ended:
                comes.read()
        except OSError:
            self.abort()
            return
        if comes.shut and goes.shut:
            self._close()
        else:
            self._update()

    def abort(self) -> None:
        """End both connections with a RST."""
        for direction in (self._there, self._back):
            self._watch(direction.source.fileno(), 0, self._on_near)
        reset(self._there.source)
        reset(self._back.source)
        self._done()

    def _close(self) -> None:
        for direction in (self._there, self._back):
            self._watch(direction.source.fileno(), 0, self._on_near)
            direction.source.close()
        self._done()

    def _update(self) -> None:
        for comes, goes, handler in (
            (self._there, self._back, self._on_near),
            (self._back, self._there, self._on_far),
        ):
            events = 0 if comes.ended or comes.held else EPOLLIN
            if goes.held:
                events |= EPOLLOUT
            # Not with events 0 while registered: epoll would report EPOLLHUP again and again.
            self._watch(comes.source.fileno(), events, handler)


class _Direction:
    """One direction. ``held``: bytes that the sink has not taken yet. ``ended``: the source has ended.

    ``shut``: the end was passed on to the sink.
    """

    def __init__(self, source: Own, sink: Own) -> None:
        self.source = source
        self._sink = sink
        self.held = b""
        self.ended = self.shut = False

    def read(self) -> None:
        try:
            data = self.source.recv(PIECE)
        except BlockingIOError:
            return
        self.held = data
        self.ended = not data
        self.write()

    def write(self) -> None:
        if self.held:
            try:
                self.held = self.held[self._sink.send(self.held) :]
            except BlockingIOError:
                return
        if self.ended and not self.held and not self.shut:
            self.shut = True
            self._sink.shutdown(SHUT_WR)
