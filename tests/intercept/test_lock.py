"""The lock, which its own thread may take again, and the event that any number waits for."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager

import pytest

from pywrap.intercept.lock import Event, Lock

PATIENCE = 30


def elsewhere(function):
    """What ``function`` returns in another thread."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()))
    thread.start()
    thread.join(PATIENCE)
    return results[0]


def test_a_thread_is_alone_and_may_enter_again():
    lock = Lock()
    with lock, lock:
        assert lock.is_mine
        assert elsewhere(lambda: (lock.is_mine, lock.acquire(False))) == (False, False)
    assert not lock.is_mine
    assert elsewhere(lambda: (lock.acquire(False), lock.release())) == (True, None)


@contextmanager
def handling(handler):
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_an_exception_out_of_a_signal_handler_releases_it():
    def interrupt(*_):
        raise KeyboardInterrupt

    lock = Lock()
    with handling(interrupt), pytest.raises(KeyboardInterrupt):
        with lock:
            signal.raise_signal(signal.SIGUSR1)
    assert not lock.is_mine
    assert elsewhere(lambda: lock.acquire(False))


def test_a_signal_handler_may_enter_it_too():
    entered = []

    def enter(*_):
        with lock:
            entered.append(lock.is_mine)

    lock = Lock()
    with handling(enter), lock:
        signal.raise_signal(signal.SIGUSR1)
        assert lock.is_mine
    assert entered == [True]
    assert not lock.is_mine


def test_all_that_wait_for_an_event_go_on():
    event = Event()
    waiting = [threading.Thread(target=event.wait, args=(PATIENCE,)) for _ in range(3)]
    for thread in waiting:
        thread.start()
    while len(event._bells) < 3:
        pass
    event.set()
    for thread in waiting:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in waiting)


def test_an_event_that_has_happened_keeps_nothing_waiting():
    event = Event()
    event.set()
    event.set()
    event.wait(None)
    Event(happened=True).wait(None)


def test_an_event_is_waited_for_no_longer_than_asked():
    event = Event()
    event.wait(0.001)
    event.set()
