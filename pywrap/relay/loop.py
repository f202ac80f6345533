"""One epoll loop: descriptors, timers, and calls from other threads.

Level-triggered, so a handler may do a bounded piece of work and return: what is left is
reported again, after everyone else had a turn. All handlers run in the thread of ``run()``;
only ``call`` and ``stop`` may come from another one, or from a signal handler.
"""

from __future__ import annotations

import os
from collections import deque
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, epoll
from threading import RLock

from pywrap.relay.timers import Timer, Timers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import TypeAlias

    Handler: TypeAlias = Callable[[int], None]

IN = EPOLLIN
OUT = EPOLLOUT
# Reported whether asked for or not: EPOLLERR means that the connection is lost (a RST, a
# time-out), EPOLLHUP that both directions have ended.
ERR = EPOLLERR
HUP = EPOLLHUP
# The other end has ended its direction; what it sent before may be unread yet.
RDHUP = EPOLLRDHUP

_BATCH = 256


class Loop:
    def __init__(self) -> None:
        self._epoll = epoll()
        self._handlers: dict[int, Handler] = {}
        self._events: dict[int, int] = {}
        self._timers = Timers()
        self._closing: list[socket] = []
        self._calls: deque[Callable[[], None]] = deque()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # Reentrant, since a signal handler may interrupt the thread that holds it.
        self._lock = RLock()
        self._closed = False
        self._stopping = False
        self.watch(self._bell, IN, self._on_bell)

    # ------------------------------------------------------------ descriptors

    def watch(self, fd: int, events: int, handler: Handler) -> None:
        """Call ``handler(events)`` for ``fd`` from now on; replaces what was said before."""
        known = self._events.get(fd)
        if known is None:
            self._epoll.register(fd, events)
        elif known != events:
            self._epoll.modify(fd, events)
        self._events[fd] = events
        self._handlers[fd] = handler

    def unwatch(self, fd: int) -> None:
        if self._handlers.pop(fd, None):
            del self._events[fd]
            self._epoll.unregister(fd)

    def close(self, sock: socket) -> None:
        """Forget ``sock`` and close it when the present batch of events is done.

        Not at once: a new descriptor could get its number, and then the events that wait
        in the batch for the old one.
        """
        self.unwatch(sock.fileno())
        self._closing.append(sock)

    # ------------------------------------------------------------ time and threads

    def after(self, delay: float, call: Callable[[], None]) -> Timer:
        return self._timers.add(delay, call)

    def cancel(self, timer: Timer) -> None:
        self._timers.cancel(timer)

    def call(self, function: Callable[[], None]) -> None:
        """Let the loop call ``function``; from any thread. Nothing happens once it is closed."""
        self._calls.append(function)
        self._ring()

    def stop(self) -> None:
        """Let ``run()`` return; from any thread or signal handler, any number of times."""
        self._stopping = True
        self._ring()

    def _ring(self) -> None:
        # Under the lock, or the number might be another file's by now.
        with self._lock:
            if not self._closed:
                os.eventfd_write(self._bell, 1)

    def _on_bell(self, events: int) -> None:
        os.eventfd_read(self._bell)
        while self._calls:
            self._calls.popleft()()

    # ------------------------------------------------------------ running

    def run(self) -> None:
        """Serve until ``stop()``."""
        while not self._stopping:
            self.turn(self._timers.wait())

    def turn(self, wait: float | None) -> int:
        """Handle what is ready, after waiting for it this long (None: for ever); return how much was."""
        handlers = self._handlers
        batch = self._epoll.poll(wait, _BATCH)
        for fd, events in batch:
            handler = handlers.get(fd)
            # None: an earlier event of this batch ended it.
            if handler is not None:
                handler(events)
        self._timers.run()
        self._close_sockets()
        return len(batch)

    def dispose(self) -> None:
        """Release everything; only when ``run()`` has returned."""
        self._close_sockets()
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._bell)
                self._epoll.close()
        self._handlers.clear()
        self._events.clear()
        self._calls.clear()

    def _close_sockets(self) -> None:
        while self._closing:
            try:
                self._closing.pop().close()
            except OSError:
                # close() passes on ECONNRESET of what was not sent yet. It is closed.
                pass
