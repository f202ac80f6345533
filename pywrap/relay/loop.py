"""One epoll loop: descriptors, timers, and calls from other threads.

Level-triggered, so a handler may do a bounded piece of work and return: what is left is
reported again, after all other descriptors had a turn. All handlers run in the thread of ``run()``;
only ``call`` and ``stop`` may come from another one, or from a signal handler.

A handler that raises ends its owner and nothing else. What a handler registers belongs to the
owner of that handler, so a session owns all that it has begun without saying so each time.
"""

from __future__ import annotations

import os
from _thread import RLock
from select import EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, epoll

from pywrap.relay.timers import Timer, Timers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections import deque
    from collections.abc import Callable
    from typing import Protocol, TypeAlias

    Handler: TypeAlias = Callable[[int], None]

    class Owner(Protocol):
        """What descriptors and timers belong to: a session of a server."""

        def failed(self, err: Exception) -> None:
            """A handler of this owner has raised ``err``: report it, and end the owner's work."""

else:
    # Without what else ``collections`` defines, in a millisecond for which a confined program waits.
    from _collections import deque

IN = EPOLLIN
OUT = EPOLLOUT
# epoll_ctl(2) reports both whether they were asked for or not: EPOLLERR means that the connection is lost
# (a RST, a time-out), EPOLLHUP that both directions have ended.
ERR = EPOLLERR
HUP = EPOLLHUP
# The other end has ended its direction; what it sent before may be unread yet.
RDHUP = EPOLLRDHUP

_BATCH = 256


class Loop:
    """``failed`` is called with what a handler without an owner raises; without it, ``run()`` raises that.

    ``owner`` is the owner of the handler that runs now; ``turns`` is how often the loop has been round.
    """

    def __init__(self, failed: Callable[[Exception], None] | None = None) -> None:
        self.owner: Owner | None = None
        self.turns = 0
        self._failed = failed
        self._epoll = epoll()
        self._handlers: dict[int, tuple[Handler, Owner | None]] = {}
        self._events: dict[int, int] = {}
        self._timers = Timers()
        self._closing: list[socket] = []
        self._calls: deque[tuple[Callable[[], None], Owner | None]] = deque()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        # Reentrant, since a signal handler may interrupt the thread that holds it.
        self._lock = RLock()
        self._closed = False
        self._stopping = False
        self.watch(self._bell, IN, self._on_bell)

    # ------------------------------------------------------------ descriptors

    def watch(self, fd: int, events: int, handler: Handler, shared: bool = False) -> None:
        """Call ``handler(events)`` for ``fd`` from now on, in the place of an earlier handler of ``fd``.

        ``events``: ``IN``, ``OUT``… of epoll_ctl(2). ``shared``: the registration belongs to no owner;
        without it, it belongs to the owner of the handler that runs now.
        """
        known = self._events.get(fd)
        if known is None:
            self._epoll.register(fd, events)
        elif known != events:
            self._epoll.modify(fd, events)
        self._events[fd] = events
        self._handlers[fd] = handler, None if shared else self.owner

    def unwatch(self, fd: int) -> None:
        """Call no handler for ``fd`` any more. Does nothing when ``fd`` has none."""
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

    def abandon(self, owner: Owner) -> None:
        """Forget all descriptors and timers of ``owner``: the last resort, when it cannot do that itself."""
        for fd in [fd for fd, (_, each) in self._handlers.items() if each is owner]:
            self.unwatch(fd)
        self._timers.cancel_all(owner)

    def after(self, delay: float, call: Callable[[], None], shared: bool = False) -> Timer:
        """Call once, after ``delay`` seconds; ``shared`` as for ``watch``."""
        return self._timers.add(delay, call, None if shared else self.owner)

    def cancel(self, timer: Timer) -> None:
        """Never call ``timer``. Does nothing when it has run."""
        self._timers.cancel(timer)

    def call(self, function: Callable[[], None], owner: Owner | None = None) -> None:
        """Let the loop call ``function``, which then belongs to ``owner``. May be called from any thread.

        Does nothing once the loop is closed.
        """
        self._calls.append((function, owner))
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
            function, self.owner = self._calls.popleft()
            try:
                function()
            except Exception as err:
                self._blame(err)

    def _blame(self, err: Exception) -> None:
        """End the owner of the handler that has raised ``err``."""
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.failed(err)
        elif self._failed is not None:
            self._failed(err)
        else:
            raise err

    # ------------------------------------------------------------ running

    def run(self) -> None:
        """Serve until ``stop()``."""
        while not self._stopping:
            self.turn(self._timers.wait())

    def turn(self, wait: float | None) -> int:
        """Wait up to ``wait`` seconds (None: without limit), then handle what is ready.

        Return how many descriptors were ready.
        """
        handlers = self._handlers
        self.turns += 1
        batch = self._epoll.poll(wait, _BATCH)
        for fd, events in batch:
            watched = handlers.get(fd)
            # None: an earlier event of this batch ended it.
            if watched is not None:
                handler, self.owner = watched
                try:
                    handler(events)
                except Exception as err:
                    self._blame(err)
        for timer in self._timers.due():
            call, self.owner = timer.take()
            try:
                call()
            except Exception as err:
                self._blame(err)
        self.owner = None
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
                # close() reports ECONNRESET when unsent bytes were lost. The descriptor is closed all the
                # same.
                pass
