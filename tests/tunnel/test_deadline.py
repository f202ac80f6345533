from __future__ import annotations

import pytest

from pywrap.config.settings import Settings
from pywrap.errors import ProxyTimeout
from pywrap.tunnel import deadline
from pywrap.tunnel.deadline import Deadline


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(deadline, "monotonic", lambda: Clock.now)
    return Clock


def test_a_slow_proxy_cannot_outlast_the_whole(clock):
    limit = Deadline(Settings(timeout=10, read_timeout=4))
    limit.waiting()
    assert limit.remaining() == 4
    clock.now += 8
    limit.waiting()
    assert limit.remaining() == 2
    clock.now += 2
    assert limit.remaining() == 0
    assert isinstance(limit.over(), ProxyTimeout)


def test_each_step_has_its_own_limit(clock):
    limit = Deadline(Settings(timeout=60, connect_timeout=8, read_timeout=15))
    limit.connecting()
    assert limit.remaining() == 8
    limit.waiting()
    assert limit.remaining() == 15


def test_no_limit_for_a_step_means_that_of_the_whole(clock):
    limit = Deadline(Settings(timeout=60))
    limit.connecting()
    assert limit.remaining() == 60


def test_the_programs_own_timeout_is_the_socket_modules(clock):
    limit = Deadline(Settings(timeout=60), program=3)
    limit.waiting()
    assert limit.remaining() == 3
    clock.now += 3
    with pytest.raises(TimeoutError, match="^timed out$") as caught:
        limit.over()
    assert caught.value.errno is None


def test_ours_ends_first(clock):
    limit = Deadline(Settings(timeout=2), program=3)
    clock.now += 2
    assert isinstance(limit.over(), ProxyTimeout)
