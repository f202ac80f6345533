"""What follows when ports at a proxy end: pauses, and which error the program gets."""

from __future__ import annotations

import errno

import pytest

from pywrap.errors import SocksError
from pywrap.intercept.bind import failures
from pywrap.intercept.bind.failures import Failures


@pytest.fixture
def clock(monkeypatch):
    """A list with the present moment in it, in seconds."""
    now = [100.0]
    monkeypatch.setattr(failures, "monotonic", lambda: now[0])
    return now


def refused():
    return SocksError("refused", errno.ECONNREFUSED)


def test_each_pause_is_twice_the_one_before_up_to_a_minute():
    found, pauses = Failures(), []
    for _ in range(12):
        found.add(refused(), had_port=True)
        pauses.append(found.pause)
    assert pauses == [0.25, 0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_a_program_that_has_had_a_port_gets_the_fourth_error_in_a_row():
    found, taken, news = Failures(), [], []
    for _ in range(6):
        found.add(refused(), had_port=True)
        news.append(found.is_news)
        taken.append(found.take() is not None)
    assert taken == [False, False, False, True, True, True]
    assert news == [False, False, False, True, False, False]


def test_a_program_that_has_had_none_gets_each_error_once():
    found = Failures()
    found.add(refused(), had_port=False)
    assert found.take().errno == errno.ECONNREFUSED
    assert found.take() is None
    assert found.error is not None


def test_a_peer_begins_a_new_row():
    found = Failures()
    for _ in range(4):
        found.add(refused(), had_port=True)
    assert not found.is_short
    found.forget()
    assert found.is_short


def test_a_port_ends_the_error():
    found = Failures()
    found.add(refused(), had_port=False)
    found.stands()
    assert found.error is None and found.take() is None


@pytest.mark.parametrize(("seconds", "lasted"), [(0.9, False), (1.0, True), (120.0, True)])
def test_a_port_that_stood_for_a_second_has_lasted(seconds, lasted, clock):
    found = Failures()
    found.stands()
    clock[0] += seconds
    assert found.has_lasted() is lasted


def test_the_error_keeps_nothing_of_the_thread_that_met_it():
    found = Failures()
    try:
        raise refused()
    except SocksError as err:
        found.add(err, had_port=False)
    assert found.error.__traceback__ is None
