"""Opens the tunnels of sockets that must not block: one thread, one epoll, any number of them.

The thread ends as soon as nothing is pending. A program that has no other thread may then fork()
without Python 3.12's warning about it, and pays nothing for connections long made. While a UDP association
stands, its control connection is pending: nobody else could wake up a recv() when that ends.
"""

from __future__ import annotations

import errno
import os
import sys
from time import monotonic

from pywrap.errors import SocksError
from pywrap.tunnel.attempt import POLLIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from pywrap.tunnel.attempt import Waited

    AttemptFactory: TypeAlias = Callable[[], Waited]
    Report: TypeAlias = Callable[[Any, "SocksError | None"], None]

_NEVER = float("inf")


class Task:
    """A tunnel to open, and whom to tell.

    ``open`` makes the ``TunnelAttempt``, on the thread.
    ``report(opening, error)`` is called once, on the thread; without an error the tunnel stands.
    ``abandoned_fd`` reports a hang-up when nobody waits for the tunnel any more; -1 where ``cancel`` tells.
    ``begin`` is the moment of the monotonic clock before which nothing is done.
    """

    __slots__ = ("abandoned_fd", "begin", "cancelled", "open", "attempt", "report")

    def __init__(
        self, open: AttemptFactory, report: Report, abandoned_fd: int = -1, begin: float = 0.0
    ) -> None:
        self.open = open
        self.report = report
        self.abandoned_fd = abandoned_fd
        self.begin = begin
        self.attempt: Waited | None = None
        self.cancelled = False


class Background:
    """The thread, started when there is work.

    ``start_thread``, ``allocate_lock`` and ``epoll`` are the interpreter's own: a program may have replaced
    those of its modules (gevent and eventlet do).
    """

    def __init__(
        self,
        start_thread: Callable[..., Any],
        allocate_lock: Callable[[], Any],
        epoll: Callable[[], Any],
    ) -> None:
        self._start_thread = start_thread
        self._lock = allocate_lock()
        self._epoll = epoll
        self._new: list[Task] = []
        self._cancelled: list[Task] = []
        self._running = False
        self._wake = -1
        self._loop: _Loop | None = None

    def submit(self, task: Task) -> None:
        """Open a tunnel; returns at once."""
        with self._lock:
            self._new.append(task)
            if self._running:
                os.eventfd_write(self._wake, 1)
                return
            try:
                self._start()
            except BaseException:
                self._new.remove(task)
                raise

    def cancel(self, task: Task) -> None:
        """Give up ``task``, which then reports an error; nothing happens when it has reported.

        The garbage collector may call this in the middle of anything, also of what is done under the lock: it
        is not waited for. Whoever has it either looks at ``_cancelled`` afterwards or wakes up who does.
        """
        self._cancelled.append(task)
        if self._lock.acquire(False):
            try:
                if self._running:
                    os.eventfd_write(self._wake, 1)
                else:
                    self._cancelled.clear()
            finally:
                self._lock.release()

    def forked(self) -> None:
        """In a child after fork(), where this is of no more use: close what the parent's thread waits by."""
        if self._running:
            assert self._loop is not None, "it is what runs"
            os.close(self._wake)
            self._loop.close()

    def _start(self) -> None:
        # Everything that can fail (EMFILE) here, where connect() can report it.
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            self._loop = _Loop(self._epoll(), self._wake)
            self._start_thread(self._run, (self._loop,))
        except BaseException:
            self._loop = None
            os.close(self._wake)
            raise
        self._running = True

    def _run(self, loop: _Loop) -> None:
        while True:
            with self._lock:
                new, self._new = self._new, []
                cancelled, self._cancelled = self._cancelled, []
                if not new and not cancelled and not loop.busy:
                    self._running = False
                    os.close(self._wake)
                    loop.close()
                    return
            loop.turn(new, cancelled, lambda: not self._cancelled)


class _Loop:
    """The tasks that wait, by the descriptors that they wait for."""

    def __init__(self, epoll: Any, wake: int) -> None:
        self._epoll = epoll
        self._epoll.register(wake, POLLIN)
        self._wake = wake
        self._by_fd: dict[int, Task] = {}
        # The descriptor that each of them waits on; -1 during a step, and before the first.
        self._waiting: dict[Task, int] = {}
        # No deadline is earlier than this. Looking at all of them on every turn would cost a
        # thousand pending tunnels a million looks.
        self._soonest = _NEVER

    @property
    def busy(self) -> bool:
        return bool(self._waiting)

    def close(self) -> None:
        self._epoll.close()

    def turn(self, new: list[Task], cancelled: list[Task], may_wait: Callable[[], bool]) -> None:
        """Give up what is cancelled, start what is new, wait, go on with what is ready, end what is late."""
        for task in cancelled:
            task.cancelled = True
            if task in self._waiting:
                self._step(task, self._advance)
        for task in new:
            if task.begin > monotonic():
                self._watch(task)
                self._soonest = min(self._soonest, task.begin)
            else:
                self._step(task, self._begin)
        if not self._waiting:
            return
        for fd, _ in self._epoll.poll(self._wait_seconds() if may_wait() else 0):
            if fd == self._wake:
                os.eventfd_read(fd)
                continue
            ready = self._by_fd.get(fd)
            if ready is not None:
                ready.cancelled = ready.cancelled or fd == ready.abandoned_fd
                self._step(ready, self._advance)
        if monotonic() >= self._soonest:
            self._expire_late()

    def _wait_seconds(self) -> float | None:
        return None if self._soonest == _NEVER else max(0.0, self._soonest - monotonic())

    def _expire_late(self) -> None:
        now = monotonic()
        for task in [task for task in self._waiting if _moment(task) <= now]:
            self._step(task, self._begin if task.attempt is None else self._expire)
        self._soonest = min(map(_moment, self._waiting), default=_NEVER)

    def _begin(self, task: Task) -> bool:
        task.attempt = task.open()
        return task.attempt.start()

    def _advance(self, task: Task) -> bool:
        return _opening(task).advance()

    def _expire(self, task: Task) -> bool:
        return _opening(task).expire()

    def _step(self, task: Task, step: Callable[[Task], bool]) -> None:
        # A step may close the registered socket, and put another in its place.
        self._let_go(task)
        error: SocksError | None = None
        try:
            if task.cancelled:
                raise SocksError("abandoned by the program", errno.ECONNABORTED)
            if not step(task):
                self._wait(task)
                return
        except SocksError as err:
            error = err
        except OSError as err:
            error = SocksError(f"cannot open a tunnel: {err.strerror}", err.errno)
        except Exception as err:
            # A bug of ours. Whoever waits must hear of it, and the other tunnels go on.
            error = SocksError(f"internal error, please report it: {err!r}", errno.EIO)
        self._forget(task)
        if error is not None and task.attempt is not None:
            task.attempt.abandon()
        try:
            task.report(task.attempt, error)
        except Exception:
            # A bug of ours as well. Without this thread, every later connect() would hang.
            sys.excepthook(*sys.exc_info())

    def _wait(self, task: Task) -> None:
        attempt = _opening(task)
        fd, wants = attempt.sock.fileno(), attempt.wants
        self._epoll.register(fd, wants)
        self._by_fd[fd] = task
        self._watch(task)
        self._waiting[task] = fd
        self._soonest = min(self._soonest, attempt.deadline.moment)

    def _watch(self, task: Task) -> None:
        """Hear of it when nobody waits for ``task`` any more."""
        if task not in self._waiting:
            if task.abandoned_fd >= 0:
                # No interest of its own: a hang-up is always told.
                self._epoll.register(task.abandoned_fd, 0)
                self._by_fd[task.abandoned_fd] = task
            self._waiting[task] = -1

    def _let_go(self, task: Task) -> None:
        fd = self._waiting.get(task, -1)
        if fd >= 0:
            self._waiting[task] = -1
            self._leave(fd)

    def _forget(self, task: Task) -> None:
        if task in self._waiting:
            self._let_go(task)
            del self._waiting[task]
            if task.abandoned_fd >= 0:
                self._leave(task.abandoned_fd)

    def _leave(self, fd: int) -> None:
        del self._by_fd[fd]
        self._epoll.unregister(fd)


def _moment(task: Task) -> float:
    """When something is to be done for ``task`` by itself."""
    return task.begin if task.attempt is None else task.attempt.deadline.moment


def _opening(task: Task) -> Waited:
    assert task.attempt is not None, "only tasks that have begun wait"
    return task.attempt
