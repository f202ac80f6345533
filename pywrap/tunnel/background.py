"""Opens the tunnels of sockets that must not block: one thread, one epoll, any number of them.

The thread ends when nothing has been pending for a moment: a program pays nothing for connections that are
made, and one that opens them one after another pays for a thread once. While a UDP association stands, its
control connection is pending: nothing else could wake up a recv() when that ends.

At fork() the thread is stopped (``park``) and started again in the parent (``unpark``). Python 3.12 and later
warn a program that forks while it has threads, and this one is not the program's. What is pending waits on in
the epoll meanwhile.
"""

from __future__ import annotations

import errno
import os
import sys
from _thread import get_native_id
from os import F_OK, access, read, sched_yield, write
from time import monotonic

from pywrap.errors import SocksError
from pywrap.tunnel.attempt import POLLIN
from pywrap.tunnel.first_hop import is_lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from pywrap.tunnel.attempt import Waited

    AttemptFactory: TypeAlias = Callable[[], Waited]
    Report: TypeAlias = Callable[[Any, "SocksError | None"], None]

_NEVER = float("inf")

# Seconds that the thread sleeps at the most: when the program has closed what it sleeps on, nothing wakes it
# up.
_LONGEST_WAIT = 10.0

# Seconds that the thread stays when nothing is pending. To start and end one takes as long as a connection.
_LINGERING = 0.1

# Seconds that fork() waits for the thread to stop at the most. Its steps do not block, but other threads may
# keep it from the GIL, or from the lock.
_PARKING = 1.0
# So many threads that may have ended are remembered.
_MANY = 16


class Task:
    """A tunnel to open, and what to call at the end.

    ``open`` makes the ``TunnelAttempt``, on the thread; or ``started`` is one that was started, and waits.
    ``report(attempt, error)`` is called once, on the thread; without an error the tunnel is open.
    ``abandoned_fd`` reports a hang-up when the program has given up the tunnel; -1 where ``cancel`` is called
    then. ``begin`` is the moment of the monotonic clock before which nothing is done.
    """

    __slots__ = (
        "abandoned_fd",
        "attempt",
        "begin",
        "cancelled",
        "fd",
        "is_submitted",
        "is_waiting",
        "open",
        "report",
        "sock",
        "started",
        "wants",
    )

    def __init__(
        self,
        open: AttemptFactory,
        report: Report,
        abandoned_fd: int = -1,
        begin: float = 0.0,
        started: Waited | None = None,
    ) -> None:
        self.open = open
        self.report = report
        self.abandoned_fd = abandoned_fd
        self.begin = begin
        self.attempt: Waited | None = started
        self.started = started is not None
        self.cancelled = False
        self.is_submitted = False
        # Has the program's thread started it, so that the background thread has only to wait?
        self.is_waiting = self.started
        # What the epoll has: the socket, its descriptor (-1: nothing), and for which event.
        self.sock: Any = None
        self.fd = -1
        self.wants = 0


class Background:
    """The thread, started when there is work.

    ``start_thread``, ``allocate_lock`` and ``epoll`` are the interpreter's own: a program may have replaced
    those of its modules (gevent and eventlet do). The lock is one that its thread can take again: a signal
    handler comes in the middle (``intercept.lock``).

    What the thread waits by are descriptors of the program's process, which closes numbers by the hundred
    when it becomes a daemon (os.closerange). They are looked at before they are used. When they are gone, so
    are those of what was pending: all of it is told an error, and the next tunnel has a new thread.
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
        # The tasks that have not been reported. To report one begins with removing it here, in one step.
        self._open: set[Task] = set()
        # Those whose loop was lost.
        self._orphans: list[Task] = []
        # What runs, or is parked, if anything does or is.
        self._loop: _Loop | None = None
        # The calls of ``park`` that no ``unpark`` has answered: several threads may fork at a time.
        self._parked = 0
        # The kernel's numbers of the threads that may not have ended.
        self._threads: set[int] = set()
        # How many threads are about to wake it up. It does not end meanwhile: a signal handler may interrupt
        # each of them, and wait, without the lock, for another task.
        self._callers = 0

    def submit(self, task: Task) -> None:
        """Open a tunnel; returns at once. Nothing happens when the thread has ``task`` already.

        A signal handler that waits for ``task`` calls this too: it may have interrupted the first call.

        Raises:
            OSError: no descriptor or no thread is left for it.
        """
        left: list[Task] = []
        try:
            with self._lock:
                if not task.is_submitted:
                    # Without a call between these, so that no signal handler comes there.
                    task.is_submitted = True
                    self._open |= {task}
                    self._new += [task]
                self._callers += 1
                try:
                    if task.is_waiting and self._is_running():
                        assert self._loop is not None, "it does not end while there are callers"
                        if task in self._new:
                            self._new.remove(task)
                        if task.sock is None and task in self._open:
                            self._adopt(self._loop, task)
                        return
                    if not self._new:
                        return
                    if not self._wake():
                        self._start()
                except BaseException:
                    self._open.discard(task)
                    if self._loop is None:
                        # With those of signal handlers that came in the middle.
                        left, self._new = self._new, []
                    raise
                finally:
                    self._callers -= 1
        except OSError as err:
            self._fail(left, SocksError(str(err.strerror), err.errno))
            raise

    def cancel(self, task: Task) -> None:
        """Give up ``task``, which then reports an error; nothing happens when it has reported."""
        task.cancelled = True
        with self._lock:
            self._cancelled.append(task)
            self._callers += 1
            try:
                if self._wake():
                    return
                self._cancelled.clear()
                if self._orphans:
                    self._start()
            except OSError:
                # No descriptor or no thread is left: the next ``submit`` has both, or raises this.
                pass
            finally:
                self._callers -= 1

    def park(self) -> None:
        """Before fork(): stop the thread, and return when the kernel does not count it any more.

        It may be there still when the caller is a signal handler that has interrupted the holder of the lock,
        for which the thread may be waiting; and after ``_PARKING`` seconds.
        """
        is_interrupted = self._lock.is_mine
        with self._lock:
            self._parked += 1
            loop = self._loop
            if loop is not None:
                if not loop.is_ours():
                    return
                loop.wake()
        if is_interrupted:
            return
        until = monotonic() + _PARKING
        while self._has_threads() and monotonic() < until:
            sched_yield()

    def unpark(self) -> None:
        """In the parent after fork(): go on with what is pending."""
        with self._lock:
            self._parked -= 1
            loop = self._loop
            if self._parked or loop is None or loop.is_running:
                return
            if not (loop.busy or self._new or self._cancelled or self._orphans or self._callers):
                # Its thread was about to end.
                self._loop = None
                loop.close()
                return
            loop.is_running = True
            try:
                self._start_thread(self._run, (loop,))
                return
            except RuntimeError as err:
                error = _no_thread(err)
        self._end(loop, [], error)

    def _has_threads(self) -> bool:
        """Is there a thread that was started here? Python's part of one ends a little before the kernel's."""
        with self._lock:
            self._threads = {thread for thread in self._threads if access(f"/proc/self/task/{thread}", F_OK)}
            return bool(self._threads) or (self._loop is not None and self._loop.is_running)

    def forked(self) -> None:
        """In a child after fork(), where this is of no more use: close what the parent's thread waits by."""
        if self._loop is not None:
            self._loop.close()

    def _adopt(self, loop: _Loop, task: Task) -> None:
        """Have the kernel wake up the thread for ``task``, which waits. Under the lock.

        A signal handler in the middle may do that as well.
        """
        try:
            loop.adopt(task)
        except BaseException:
            if task in self._open:
                self._open.discard(task)
                raise
        if task not in self._open:
            # A signal handler in the middle has done the same, and waited until the tunnel was open.
            loop.forget(task)

    def _is_running(self) -> bool:
        """Is there a loop, with the descriptors that it was made with? Under the lock."""
        loop = self._loop
        if loop is None:
            return False
        if loop.is_ours():
            return True
        self._loop = None
        self._orphans += loop.lose()
        return False

    def _wake(self) -> bool:
        """Have what runs look at what is new; False when nothing does. Under the lock."""
        if self._is_running():
            assert self._loop is not None, "it runs"
            self._loop.wake()
            return True
        return False

    def _start(self) -> None:
        # Everything that can fail (EMFILE) here, where connect() can report it.
        loop = _Loop(self._epoll, self._lock, self._report)
        if self._loop is not None:
            # A signal handler has been faster.
            loop.close()
            self._loop.wake()
            return
        self._loop = loop
        loop.is_running = True
        try:
            self._start_thread(self._run, (loop,))
        except BaseException as err:
            self._loop = None
            loop.close()
            if isinstance(err, RuntimeError):
                error = _no_thread(err)
                raise OSError(error.errno, str(error)) from err
            raise

    def _run(self, loop: _Loop) -> None:
        new: list[Task] = []
        # When it ends, if nothing is pending until then.
        end = _NEVER
        try:
            if len(self._threads) > _MANY:
                self._has_threads()
            with self._lock:
                self._threads.add(get_native_id())
            while True:
                with self._lock:
                    if self._loop is not loop:
                        raise _Lost
                    if self._parked:
                        loop.is_running = False
                        return
                    new, self._new = self._new, []
                    cancelled, self._cancelled = self._cancelled, []
                    orphans, self._orphans = self._orphans, []
                    is_called = self._callers > 0
                    if new or cancelled or orphans or loop.busy or is_called:
                        end = _NEVER
                    elif end == _NEVER:
                        end = monotonic() + _LINGERING
                    elif end <= monotonic():
                        self._loop, loop.is_running = None, False
                        loop.close()
                        return
                self._fail(orphans, _lost())
                loop.turn(new, cancelled, lambda: not self._cancelled, end)
        except BaseException as err:
            # Or it is a bug of ours, or no memory is left: report it, or threads would wait for ever.
            self._end(loop, new, _internal(err) if loop.is_ours() else _lost())

    def _end(self, loop: _Loop, new: list[Task], error: SocksError) -> None:
        """Nothing that ``loop`` has will be opened, nor what was to be its next."""
        with self._lock:
            loop.is_running = False
            if self._loop is loop:
                self._loop = None
                new, self._new = new + self._new, []
            left = loop.lose()
        self._fail(left + new, error)

    def _fail(self, tasks: list[Task], error: SocksError) -> None:
        for task in tasks:
            self._report(task, error)

    def _report(self, task: Task, error: SocksError | None) -> None:
        """Call ``task.report``, unless it has been called."""
        try:
            self._open.remove(task)
        except KeyError:
            return
        if error is not None and task.attempt is not None:
            _guarded(task.attempt.abandon)
        _guarded(task.report, task.attempt, error)


def _guarded(function: Callable[..., None], *args: Any) -> None:
    """Call ``function``, and print what it raises: a bug of ours. The others are told in any case."""
    try:
        function(*args)
    except Exception:
        sys.excepthook(*sys.exc_info())


class _Lost(Exception):
    """The program has closed what the thread waits by."""


def _lost() -> SocksError:
    words = "abandoned: the program has closed the descriptors of tunnels in the making (os.closerange?)"
    return SocksError(words, errno.ECONNABORTED)


def _no_thread(err: RuntimeError) -> SocksError:
    words = f"no thread is left to open tunnels for sockets that do not block ({err})"
    # Not EAGAIN, as pthread_create(3) calls it: to event loops that means "in progress".
    return SocksError(words, errno.ENOBUFS)


def _internal(err: BaseException) -> SocksError:
    return SocksError(f"internal error, please report it: {err!r}", errno.EIO)


class _Bell:
    """A pipe that wakes the thread up. Not an eventfd: all of those have one inode.

    Read and written by functions that were bound early: eventlet replaces those of ``os`` by green ones.
    """

    def __init__(self) -> None:
        self.reads, self._writes = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._file = _identity(self.reads)

    def is_ours(self) -> bool:
        """Are both ends still at their numbers?"""
        return self._file == _identity(self.reads) and self._file == _identity(self._writes)

    def ring(self) -> None:
        try:
            write(self._writes, b"!")
        except BlockingIOError:
            # It has been rung often enough.
            pass

    def hush(self) -> None:
        read(self.reads, 4096)

    def close(self) -> None:
        for fd in (self.reads, self._writes):
            if _identity(fd) == self._file:
                os.close(fd)


def _identity(fd: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(fd)
    except OSError:
        return None
    return status.st_dev, status.st_ino


class _Loop:
    """The tasks that wait, by the descriptors that they wait for."""

    def __init__(
        self, make_epoll: Callable[[], Any], lock: Any, report: Callable[[Task, SocksError | None], None]
    ) -> None:
        self._bell = _Bell()
        try:
            self._epoll = make_epoll()
        except BaseException:
            self._bell.close()
            raise
        self._epoll.register(self._bell.reads, POLLIN)
        self._lock = lock
        self._report = report
        # Does a thread run it, or has one been started to?
        self.is_running = False
        self._is_lost = False
        self._by_fd: dict[int, Task] = {}
        self._waiting: set[Task] = set()
        # No deadline is earlier than this. Looking at all of them on every turn would cost a
        # thousand pending tunnels a million looks.
        self._soonest = _NEVER
        # Until when the thread sleeps, if no descriptor is ready: 0 while it is awake.
        self._sleeps_until = 0.0

    @property
    def busy(self) -> bool:
        return bool(self._waiting)

    def close(self) -> None:
        if self.is_ours():
            self._epoll.close()
        elif not self._is_lost:
            # Its number is another file by now, which would be closed with the object. What is to be called
            # after a fork() lives as long as the interpreter.
            os.register_at_fork(after_in_child=self._epoll.fileno)
        self._is_lost = True
        self._bell.close()

    def is_ours(self) -> bool:
        """Are the descriptors the ones that were made here?

        All epolls have one inode. This one has the bell in it.
        """
        if self._is_lost or not self._bell.is_ours():
            return False
        try:
            self._epoll.modify(self._bell.reads, POLLIN)
        except (OSError, ValueError):
            return False
        return True

    def wake(self) -> None:
        """End the present wait, or the next one."""
        self._bell.ring()

    def lose(self) -> list[Task]:
        """Give up all that waits: the result. Another thread may still wait, or be inside a step."""
        self.close()
        tasks, self._waiting, self._by_fd = list(self._waiting), set(), {}
        return tasks

    def adopt(self, task: Task) -> None:
        """Wait for ``task``, which has been started. In any thread, under the lock.

        Raises:
            OSError: the kernel cannot watch its socket.
        """
        try:
            self._wait(task)
        except BaseException:
            self.forget(task)
            raise
        if _moment(task) < self._sleeps_until:
            self.wake()

    def turn(self, new: list[Task], cancelled: list[Task], may_wait: Callable[[], bool], end: float) -> None:
        """Give up what is cancelled, start what is new, wait, go on with what is ready, end what is late.

        When nothing is pending, it does not wait beyond ``end``, a moment of the monotonic clock.

        Raises:
            _Lost: the program has closed what is waited by.
        """
        if new or cancelled:
            self._check()
        for task in cancelled:
            task.cancelled = True
            if task in self._waiting:
                self._step(task, self._advance)
        for task in new:
            self._step(task, self._begin)
        # Until it is known for how long: ``adopt`` wakes it up then.
        self._sleeps_until = _NEVER
        seconds = self._wait_seconds(end) if may_wait() else 0
        self._sleeps_until = monotonic() + seconds
        events = self._epoll.poll(seconds)
        self._sleeps_until = 0.0
        self._check()
        for fd, _ in events:
            if fd == self._bell.reads:
                self._bell.hush()
                continue
            ready = self._by_fd.get(fd)
            if ready is not None:
                ready.cancelled = ready.cancelled or fd == ready.abandoned_fd
                self._step(ready, self._advance)
        if monotonic() >= self._soonest:
            self._expire_late()

    def _check(self) -> None:
        if not self.is_ours():
            raise _Lost

    def _wait_seconds(self, end: float) -> float:
        until = self._soonest if self._waiting else end
        return min(max(0.0, until - monotonic()), _LONGEST_WAIT if self._waiting else _LINGERING)

    def _expire_late(self) -> None:
        now = monotonic()
        for task in [task for task in list(self._waiting) if _moment(task) <= now]:
            self._step(task, self._begin if task.attempt is None else self._expire)
        # Another thread may add one (``adopt``).
        with self._lock:
            self._soonest = min(map(_moment, self._waiting), default=_NEVER)

    def _begin(self, task: Task) -> bool:
        if task.started or task.begin > monotonic():
            return False
        task.attempt = task.open()
        task.started = True
        return task.attempt.start()

    def _advance(self, task: Task) -> bool:
        return _attempt_of(task).advance()

    def _expire(self, task: Task) -> bool:
        return _attempt_of(task).expire()

    def _step(self, task: Task, step: Callable[[Task], bool]) -> None:
        if self._is_lost:
            raise _Lost
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
            # A bug of ours: report it, or a thread would wait for ever. The other tunnels go on.
            error = _internal(err)
        if error is not None and not task.cancelled and self._is_of_closing(task):
            error = _lost()
        self.forget(task)
        self._report(task, error)

    def _is_of_closing(self, task: Task) -> bool:
        """Has ``task`` failed since the program has closed descriptors of ours, in the middle of a step?"""
        return not self.is_ours() or (task.attempt is not None and is_lost(task.attempt.sock))

    def _wait(self, task: Task) -> None:
        """Have the epoll tell when ``task`` can go on.

        A step may have put another socket in the place of the registered one. That is open still: an attempt
        closes it with its next step.
        """
        attempt = task.attempt if task.started else None
        moment = task.begin
        if attempt is None:
            self._watch(task)
        else:
            sock, wants = attempt.sock, attempt.wants
            if sock is not task.sock:
                self._let_go(task)
                # Before the other, which would be left over if this failed.
                self._watch(task)
                fd = sock.fileno()
                self._by_fd[fd] = task
                self._register(fd, wants)
                task.sock, task.fd = sock, fd
            elif wants != task.wants:
                self._epoll.modify(task.fd, wants)
            task.wants = wants
            moment = attempt.deadline.moment
        if moment < self._soonest:
            self._soonest = moment

    def _watch(self, task: Task) -> None:
        """Have epoll report when the program has given up ``task``."""
        if task not in self._waiting:
            if task.abandoned_fd >= 0:
                # No interest of its own: a hang-up is always told.
                self._by_fd[task.abandoned_fd] = task
                self._register(task.abandoned_fd, 0)
            self._waiting.add(task)

    def _register(self, fd: int, wants: int) -> None:
        try:
            self._epoll.register(fd, wants)
        except FileExistsError:
            # By a signal handler in the middle of this.
            self._epoll.modify(fd, wants)

    def _let_go(self, task: Task) -> None:
        fd, task.fd, task.sock = task.fd, -1, None
        if fd >= 0:
            self._leave(fd)

    def forget(self, task: Task) -> None:
        """Wait for ``task`` no more."""
        self._let_go(task)
        if task in self._waiting:
            self._waiting.discard(task)
            if task.abandoned_fd >= 0:
                self._leave(task.abandoned_fd)

    def _leave(self, fd: int) -> None:
        self._by_fd.pop(fd, None)
        try:
            self._epoll.unregister(fd)
        except OSError:
            # The program has closed it, or the epoll, which is seen at the next look.
            pass


def _moment(task: Task) -> float:
    """When something is to be done for ``task`` by itself."""
    return task.attempt.deadline.moment if task.started and task.attempt is not None else task.begin


def _attempt_of(task: Task) -> Waited:
    assert task.attempt is not None, "only tasks that have begun wait"
    return task.attempt
