"""The thread that opens tunnels for sockets that do not block: whatever happens to it, all are told."""

from __future__ import annotations

import _thread
import errno
import os
import queue
import select
import socket
from types import SimpleNamespace

import pytest

from pywrap.errors import SocksError
from pywrap.intercept.lock import Lock
from pywrap.tunnel import background as background_module
from pywrap.tunnel.background import Background, Task

PATIENCE = 30.0


class TunnelAttempt:
    """What waits for something to read, and is never late."""

    wants = select.POLLIN
    deadline = SimpleNamespace(moment=float("inf"))

    def __init__(self, sock, advance=lambda: True):
        self.sock = sock
        self.advance = advance
        self.abandoned = 0

    def start(self):
        return False

    def abandon(self):
        self.abandoned += 1


class Epoll:
    """One that fails when told, as that of a kernel without memory."""

    failing: list[BaseException]

    def __init__(self):
        self._epoll = select.epoll()
        self.modify, self.register = self._epoll.modify, self._epoll.register
        self.unregister, self.close = self._epoll.unregister, self._epoll.close
        self.fileno = self._epoll.fileno

    def poll(self, *args):
        if self.failing:
            raise self.failing.pop()
        return self._epoll.poll(*args)


@pytest.fixture
def ends():
    near, far = socket.socketpair()
    with near, far:
        yield near, far


@pytest.mark.parametrize("failure", [MemoryError(), OSError(errno.EIO, "broken"), SystemExit()], ids=repr)
def test_a_failure_outside_of_a_step_is_told_to_all_and_the_next_tunnel_has_a_thread(failure, ends):
    near, far = ends
    Epoll.failing = []
    background = Background(_thread.start_new_thread, Lock, Epoll)
    error_to_report = queue.SimpleQueue()
    openings = [TunnelAttempt(near.dup()) for _ in range(3)]
    for attempt in openings[:2]:
        background.submit(Task(lambda attempt=attempt: attempt, lambda *report: error_to_report.put(report)))
    # On the thread, when it has all three.
    openings[2].start = lambda: bool(Epoll.failing.append(failure))
    background.submit(Task(lambda: openings[2], lambda *report: error_to_report.put(report)))
    for _ in openings:
        _, error = error_to_report.get(timeout=PATIENCE)
        assert isinstance(error, SocksError)
        assert error.errno == errno.EIO
    after = TunnelAttempt(near)
    far.send(b"!")
    background.submit(Task(lambda: after, lambda *report: error_to_report.put(report)))
    assert error_to_report.get(timeout=PATIENCE) == (after, None)
    for attempt in openings:
        attempt.sock.close()


def test_one_descriptor_that_is_gone_is_the_failure_of_one(ends):
    near, far = ends
    background = Background(_thread.start_new_thread, Lock, select.epoll)
    error_to_report = queue.SimpleQueue()
    # Nothing has this number.
    closed = 900
    good = TunnelAttempt(near)
    background.submit(
        Task(lambda: TunnelAttempt(near), lambda *report: error_to_report.put(report), abandoned_fd=closed)
    )
    far.send(b"!")
    background.submit(Task(lambda: good, lambda *report: error_to_report.put(report)))
    reports = [error_to_report.get(timeout=PATIENCE) for _ in range(2)]
    assert sorted(error is None for _, error in reports) == [False, True]


def test_no_thread_left_is_an_oserror_in_words_and_not_forgotten_later(ends):
    def none_left(*_):
        raise RuntimeError("can't start new thread")

    near, far = ends
    started = [none_left, _thread.start_new_thread]
    background = Background(lambda *args: started.pop(0)(*args), Lock, select.epoll)
    error_to_report = queue.SimpleQueue()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="no thread is left") as caught:
        background.submit(Task(lambda: TunnelAttempt(near), lambda *report: error_to_report.put(report)))
    # EAGAIN is "in progress" to event loops.
    assert caught.value.errno == errno.ENOBUFS
    assert len(os.listdir("/proc/self/fd")) == len(before)
    far.send(b"!")
    background.submit(Task(lambda: TunnelAttempt(near), lambda *report: error_to_report.put(report)))
    assert error_to_report.get(timeout=PATIENCE)[1] is None
    assert error_to_report.empty()


def test_a_parked_thread_is_gone_and_what_is_pending_goes_on(ends):
    near, far = ends
    # Threads of other tests may be ending.
    threads = set(os.listdir("/proc/self/task"))
    background = Background(_thread.start_new_thread, Lock, select.epoll)
    told = queue.SimpleQueue()
    background.submit(Task(lambda: TunnelAttempt(near), lambda *report: told.put(report)))
    # As two threads that fork at a time.
    background.park()
    background.park()
    assert set(os.listdir("/proc/self/task")) <= threads
    far.send(b"!")
    background.unpark()
    assert set(os.listdir("/proc/self/task")) <= threads
    other_near, other_far = socket.socketpair()
    with other_near, other_far:
        other_far.send(b"!")
        background.submit(Task(lambda: TunnelAttempt(other_near), lambda *report: told.put(report)))
        background.unpark()
        assert [told.get(timeout=PATIENCE)[1] for _ in range(2)] == [None, None]
    # Nothing is pending: it ends by itself, and to park it waits for that.
    background.park()
    assert set(os.listdir("/proc/self/task")) <= threads
    background.unpark()


def test_no_thread_left_after_a_fork_is_told_to_what_was_pending(ends):
    def none_left(*_):
        raise RuntimeError("can't start new thread")

    near, _ = ends
    started = [_thread.start_new_thread, none_left]
    background = Background(lambda *args: started.pop(0)(*args), Lock, select.epoll)
    told = queue.SimpleQueue()
    background.submit(Task(lambda: TunnelAttempt(near), lambda *report: told.put(report)))
    background.park()
    background.unpark()
    _, error = told.get(timeout=PATIENCE)
    assert error.errno == errno.ENOBUFS
    assert "no thread is left" in str(error)


def test_an_attempt_that_was_started_elsewhere_needs_no_wake_up_unless_it_is_late_first(ends, monkeypatch):
    near, far = ends
    rung = []
    ring = background_module._Bell.ring
    monkeypatch.setattr(background_module._Bell, "ring", lambda bell: (rung.append(1), ring(bell)))
    background = Background(_thread.start_new_thread, Lock, select.epoll)
    told = queue.SimpleQueue()

    def submit(attempt):
        report = lambda *report: told.put(report)  # noqa: E731
        background.submit(Task(lambda: attempt, report, started=attempt))

    # Keeps the thread, which sleeps.
    waiting = TunnelAttempt(near.dup())
    submit(waiting)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ready = TunnelAttempt(socket.create_connection(listener.getsockname()))
        ready.wants = select.POLLOUT
        submit(ready)
        assert told.get(timeout=PATIENCE) == (ready, None)
        assert rung == []
        late = TunnelAttempt(socket.create_connection(listener.getsockname()))
        late.expire = lambda: True
        late.deadline = SimpleNamespace(moment=0.0)
        submit(late)
        assert told.get(timeout=PATIENCE) == (late, None)
        for attempt in (ready, late):
            attempt.sock.close()
    far.send(b"!")
    assert told.get(timeout=PATIENCE) == (waiting, None)
    waiting.sock.close()


def test_a_hang_up_of_a_closed_descriptor_is_not_that_of_the_next_tunnel_with_its_number(ends):
    """Both are in one list of events; the first one closes the descriptor of the second."""
    near, far = ends
    given_up, watched = socket.socketpair()
    given_up.close()
    kept, next_watched = socket.socketpair()
    number = watched.fileno()
    told = queue.SimpleQueue()

    class InOrder(Epoll):
        def poll(self, *args):
            return sorted(super().poll(*args), key=lambda event: event[0] == number)

    Epoll.failing = []
    background = Background(_thread.start_new_thread, Lock, InOrder)
    quiet, sender = socket.socketpair()
    following = Task(lambda: TunnelAttempt(quiet), lambda *report: told.put(report), abandoned_fd=number)
    following.attempt, following.started, following.is_waiting = TunnelAttempt(quiet), True, True

    def report(*reported):
        told.put(reported)
        watched.detach()
        os.dup2(next_watched.fileno(), number)
        background.submit(following)

    far.send(b"!")
    background.submit(Task(lambda: TunnelAttempt(near), report, abandoned_fd=number))
    assert told.get(timeout=PATIENCE)[1] is None
    sender.send(b"!")
    assert told.get(timeout=PATIENCE)[1] is None
    os.close(number)
    for sock in (kept, next_watched, quiet, sender):
        sock.close()
