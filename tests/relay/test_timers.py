"""Timers, with the clock in the test's hand."""

import pytest

from pywrap.relay import timers
from pywrap.relay.timers import Timers


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(timers, "monotonic", lambda: Clock.now)
    return Clock


def run(timers):
    for timer in timers.due():
        timer.take()[0]()


def test_in_the_order_of_their_time(clock):
    called = []
    due = Timers()
    for delay in (3, 1, 2, 1):
        due.add(delay, lambda delay=delay: called.append(delay))
    assert due.wait() == 1
    clock.now += 2
    run(due)
    assert called == [1, 1, 2]
    assert due.wait() == 1


def test_none_when_there_is_nothing_to_wait_for(clock):
    assert Timers().wait() is None


def test_overdue_is_no_negative_time(clock):
    due = Timers()
    due.add(1, lambda: None)
    clock.now += 5
    assert due.wait() == 0


def test_a_cancelled_timer_is_not_called(clock):
    called = []
    due = Timers()
    timer = due.add(1, lambda: called.append("no"))
    due.add(1, lambda: called.append("yes"))
    due.cancel(timer)
    due.cancel(timer)
    clock.now += 1
    run(due)
    assert called == ["yes"]
    due.cancel(timer)


def test_a_timer_may_set_the_next(clock):
    called = []
    due = Timers()

    def tick():
        called.append(clock.now)
        due.add(1, tick)

    due.add(1, tick)
    for _ in range(3):
        clock.now += 1
        run(due)
    assert called == [1001.0, 1002.0, 1003.0]


def test_cancelled_timers_do_not_pile_up(clock):
    called = []
    due = Timers()
    due.add(60, lambda: called.append("last"))
    for _ in range(10_000):
        due.cancel(due.add(30, lambda: None))
    assert len(due._heap) < 300
    clock.now += 60
    run(due)
    assert called == ["last"]
