from __future__ import annotations

import pytest

from pywrap.config.settings import Proxy
from pywrap.log import handshake_times
from pywrap.log.handshake_times import HandshakeTimes

FIRST = Proxy("socks5", "first", 1080)
SECOND = Proxy("socks4a", "second", 1080)


@pytest.fixture
def clock(monkeypatch):
    """A clock that shows what is put into its list."""
    shown = [0.0]
    monkeypatch.setattr(handshake_times, "monotonic", lambda: shown[0])
    return shown


def test_each_phase_lasts_until_the_next_answer_is_waited_for(clock):
    times = HandshakeTimes()
    for moment, call in [
        (1.0, lambda: times.begin((FIRST, SECOND))),
        (3.0, lambda: times.expect(0, "greeting")),
        (6.0, lambda: times.expect(0, "login")),
        (10.0, lambda: times.expect(0, "reply")),
        # The reply comes in pieces.
        (11.0, lambda: times.expect(0, "reply")),
        (15.0, lambda: times.expect(1, "reply")),
    ]:
        clock[0] = moment
        call()
    assert times.hops(21.0) == [
        (FIRST, {"dial": 2.0, "greeting": 3.0, "login": 4.0, "reply": 5.0}),
        (SECOND, {"reply": 6.0}),
    ]
    assert (times.ways, times.waited) == (1, 1.0)


def test_another_way_begins_anew(clock):
    times = HandshakeTimes()
    times.begin((FIRST,))
    clock[0] = 4.0
    times.begin((SECOND,))
    assert times.hops(5.0) == [(SECOND, {"dial": 1.0})]
    assert (times.ways, times.waited) == (2, 4.0)


def test_a_proxy_that_is_there_twice_has_two_hops(clock):
    times = HandshakeTimes()
    times.begin((FIRST, FIRST))
    times.expect(0, "reply")
    times.expect(1, "reply")
    assert [hop for hop, _ in times.hops(1.0)] == [FIRST, FIRST]
