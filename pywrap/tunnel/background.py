"""Opens the tunnels of sockets that must not block: one thread, one epoll, any number of them.

The thread ends when nothing has been pending for a moment: established connections cost a program nothing,
and a program that opens them one after another pays for one thread. While a UDP association stands, its
control connection is pending: nothing else could wake up a recv() when the association ends.

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

# Seconds that the thread sleeps at the most: if the program has closed the thread's epoll, nothing wakes the
# thread up.
_LONGEST_WAIT = 10.0

# Seconds that the thread stays when nothing is pending. To start and end one takes as long as a connection.
_LINGERING = 0.1

# Seconds that fork() waits for the thread to stop at the most. Its steps do not block, but other threads may
# keep it from the GIL, or from the lock.
_PARKING = 1.0
# How many threads that may have ended are remembered.
_MANY = 16

# Of a descriptor without a task.
_NOTHING: tuple[None, int] = (None, 0)


class Task:
    """A tunnel to open, and the function to call at the end.

    ``open`` makes the ``TunnelAttempt``, on the thread; or ``started`` is an attempt that was started before,
    and waits. ``report(attempt, error)`` is called once, on the thread; without an error the tunnel is open.
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
        # Whether a thread of the program has started the attempt, so that the background thread has only to
        # wait.
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

    The thread waits on an epoll and a pipe, descriptors of the program's process. A program that becomes a
    daemon closes descriptors by the hundred (os.closerange), so the thread checks its own before it uses
    them. When they are closed, so are the sockets that were pending: each task reports an error, and the next
    tunnel gets a new thread.
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
        # The tasks of a loop whose descriptors the program has closed; to be reported as failed.
        self._orphans: list[Task] = []
        # The loop that a thread runs, or that is parked; None without one.
        self._loop: _Loop | None = None
        # The calls of ``park`` that no ``unpark`` has answered: several threads may fork at a time.
        self._parked = 0
        # The kernel's numbers of the threads that may not have ended.
        self._threads: set[int] = set()
        # How many threads are about to wake up the background thread, which does not end meanwhile: a signal
        # handler may interrupt each of them, and wait, without the lock, for another task.
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
                    # No call between these lines: Python runs signal handlers at calls, and none may run
                    # here.
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
                        # Also the tasks that signal handlers submitted in the middle of this.
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

        In two cases the thread still exists at the return: after ``_PARKING`` seconds; and when the caller is
        a signal handler that has interrupted the holder of the lock, for which the thread may be waiting.
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
        """Whether a thread that was started here exists. The kernel's ends a little after Python's."""
        with self._lock:
            self._threads = {thread for thread in self._threads if access(f"/proc/self/task/{thread}", F_OK)}
            return bool(self._threads) or (self._loop is not None and self._loop.is_running)

    def forked(self) -> None:
        """In a child after fork(), where this object is not used again: close the descriptors of its loop."""
        if self._loop is not None:
            self._loop.close()

    def _adopt(self, loop: _Loop, task: Task) -> None:
        """Register ``task``, which waits, with the thread's epoll. The caller holds the lock.

        A signal handler that interrupts this may do the same.
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
        """Whether there is a loop, with the descriptors that it was made with. The caller holds the lock."""
        loop = self._loop
        if loop is None:
            return False
        if loop.is_ours():
            return True
        self._loop = None
        self._orphans += loop.lose()
        return False

    def _wake(self) -> bool:
        """Have the running thread take new tasks; False when none runs. The caller holds the lock."""
        if self._is_running():
            assert self._loop is not None, "it runs"
            self._loop.wake()
            return True
        return False

    def _start(self) -> None:
        # What can fail (EMFILE) is done here, where the program's connect() can report it.
        loop = _Loop(self._epoll, self._lock, self._report)
        if self._loop is not None:
            # A signal handler has started a thread meanwhile.
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
        # The moment at which the thread ends, if nothing is pending until then.
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
            # If the loop is ours, this is a bug of ours, or no memory is left. Without a report, threads that
            # wait for these tasks would wait for ever.
            self._end(loop, new, _internal(err) if loop.is_ours() else _lost())

    def _end(self, loop: _Loop, new: list[Task], error: SocksError) -> None:
        """Report ``error`` for all tasks of ``loop``, and for those that it was to take next (``new``)."""
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
    """Call ``function``; print its exception, a bug of ours, so that the other tasks are still reported."""
    try:
        function(*args)
    except Exception:
        sys.excepthook(*sys.exc_info())


class _Lost(Exception):
    """The program has closed the epoll or the pipe of the thread."""


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
    """A pipe that wakes the thread up. Not an eventfd: all eventfds have one inode, so none is recognized.

    Read and written by functions that were bound at import: eventlet replaces those of ``os`` by green ones.
    """

    def __init__(self) -> None:
        self.reads, self._writes = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._file = _identity(self.reads)

    def is_ours(self) -> bool:
        """Whether both descriptors are still those of the pipe."""
        return self._file == _identity(self.reads) and self._file == _identity(self._writes)

    def ring(self) -> None:
        try:
            write(self._writes, b"!")
        except BlockingIOError:
            # The pipe is full: the thread will wake up in any case.
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
        # Whether a thread runs this loop, or has been started to.
        self.is_running = False
        self._is_lost = False
        # By descriptor: the task, and how many turns there had been when it was registered.
        self._by_fd: dict[int, tuple[Task, int]] = {}
        self._turns = 0
        self._waiting: set[Task] = set()
        # No deadline is earlier than this moment. Comparing all deadlines on every turn would cost a thousand
        # pending tunnels a million comparisons.
        self._soonest = _NEVER
        # The moment until which the thread sleeps, if no descriptor is ready; 0 while it is awake.
        self._sleeps_until = 0.0

    @property
    def busy(self) -> bool:
        return bool(self._waiting)

    def close(self) -> None:
        if self.is_ours():
            self._epoll.close()
        elif not self._is_lost:
            # The epoll's number is another file of the program by now, which the object would close when it
            # is freed. So keep the object for ever: functions registered for fork() live as long as the
            # interpreter.
            os.register_at_fork(after_in_child=self._epoll.fileno)
        self._is_lost = True
        self._bell.close()

    def is_ours(self) -> bool:
        """Whether the descriptors are the ones that were made here.

        All epolls have one inode, so this one is recognized by the bell that is registered in it.
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
        """Give up and return all tasks. The loop's thread may still be waiting, or be inside a step."""
        self.close()
        tasks, self._waiting, self._by_fd = list(self._waiting), set(), {}
        return tasks

    def adopt(self, task: Task) -> None:
        """Wait for ``task``, which has been started. Called in any thread, with the lock held.

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
        """One turn: give up cancelled tasks, start new ones, wait, advance ready ones, expire late ones.

        When nothing is pending, it does not wait beyond ``end``, a moment of the monotonic clock.

        Raises:
            _Lost: the program has closed the epoll or the bell.
        """
        if new or cancelled:
            self._check()
        for task in cancelled:
            task.cancelled = True
            if task in self._waiting:
                self._step(task, self._advance)
        for task in new:
            self._step(task, self._begin)
        # For ever, until the length of the wait is known: so ``adopt`` rings the bell in any case.
        self._sleeps_until = _NEVER
        seconds = self._wait_seconds(end) if may_wait() else 0
        self._sleeps_until = monotonic() + seconds
        events = self._epoll.poll(seconds)
        # What is registered from here on has a number that was another socket's when these events came.
        self._turns += 1
        self._sleeps_until = 0.0
        self._check()
        for fd, _ in events:
            if fd == self._bell.reads:
                self._bell.hush()
                continue
            ready, since = self._by_fd.get(fd, _NOTHING)
            if ready is not None and since != self._turns:
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
        # Another thread may add a task (``adopt``).
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
            # A bug of ours. Without a report a thread would wait for ever; the other tunnels go on.
            error = _internal(err)
        if error is not None and not task.cancelled and self._is_of_closing(task):
            error = _lost()
        self.forget(task)
        self._report(task, error)

    def _is_of_closing(self, task: Task) -> bool:
        """Whether ``task`` failed because the program closed our descriptors in the middle of a step."""
        return not self.is_ours() or (task.attempt is not None and is_lost(task.attempt.sock))

    def _wait(self, task: Task) -> None:
        """Register ``task`` with the epoll for the event that it waits for.

        A step may have replaced the registered socket by another one. The old one is still open: an attempt
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
                # Before the socket is registered, whose registration would remain if this failed.
                self._watch(task)
                fd = sock.fileno()
                self._by_fd[fd] = task, self._turns
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
                # With no event asked for: epoll_ctl(2) reports EPOLLHUP in any case.
                self._by_fd[task.abandoned_fd] = task, self._turns
                self._register(task.abandoned_fd, 0)
            self._waiting.add(task)

    def _register(self, fd: int, wants: int) -> None:
        try:
            self._epoll.register(fd, wants)
        except FileExistsError:
            # A signal handler that interrupted this has registered the descriptor.
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
            # The program has closed the descriptor; or the epoll, which the next ``_check`` notices.
            pass


def _moment(task: Task) -> float:
    """The moment of the monotonic clock at which ``task`` has to be stepped without an event."""
    return task.attempt.deadline.moment if task.started and task.attempt is not None else task.begin


def _attempt_of(task: Task) -> Waited:
    assert task.attempt is not None, "only tasks that have begun wait"
    return task.attempt
