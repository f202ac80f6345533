"""How many bytes a client may send now."""

from __future__ import annotations

import pytest

from pywrap.relay import bucket as module
from pywrap.relay.bucket import Bucket


@pytest.fixture
def clock(monkeypatch):
    now = [50.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def test_a_seconds_worth_passes_at_once(clock):
    bucket = Bucket(100_000)
    bucket.take(100_000)
    assert bucket.wait() == 0
    bucket.take(50_000)
    assert bucket.wait() == 0.5


def test_a_debt_is_paid_at_the_rate(clock):
    bucket = Bucket(100_000)
    bucket.take(300_000)
    assert bucket.wait() == 2
    clock[0] += 1.5
    assert bucket.wait() == 0.5
    clock[0] += 0.5
    assert bucket.wait() == 0


def test_nothing_is_saved_beyond_a_second(clock):
    bucket = Bucket(100_000)
    clock[0] += 1000
    bucket.take(150_000)
    assert bucket.wait() == 0.5


def test_a_slow_client_may_send_a_few_packets_at_once(clock):
    bucket = Bucket(1024)
    bucket.take(16 * 1024)
    assert bucket.wait() == 0
    bucket.take(1024)
    assert bucket.wait() == 1
