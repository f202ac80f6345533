"""What a process remembers of its proxies."""

from __future__ import annotations

import errno

import pytest

from pywrap.config.settings import Proxy
from pywrap.errors import UNHEARD, Failure, ProxyClosed, Rejected, SocksError
from pywrap.socks import v5
from pywrap.tunnel import hops as module
from pywrap.tunnel.hops import DEAD_FOR, Hops, reason

A, B, C = (Proxy("socks5h", f"192.0.2.{number}", 1080) for number in (1, 2, 3))
RAW = Proxy("raw", "192.0.2.9", 80)


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


class Probes:
    """Writes down what is asked."""

    def __init__(self):
        self.asked = []

    def probe_liveness(self, path):
        self.asked.append(("alive", path))

    def probe_pipelining(self, path):
        self.asked.append(("pipelining", path))


def refused(hop, by=None, code=5):
    return Rejected("refused", errno.ECONNREFUSED, code).copy(failure=Failure(by or hop, hop))


@pytest.fixture
def said():
    return []


@pytest.fixture
def probes():
    return Probes()


@pytest.fixture
def hops(clock, said, probes):
    return Hops(lambda *_: [], said.append, probes)


def test_a_hop_that_failed_is_dead_for_a_while(hops, clock, said):
    assert not hops.is_dead(A)
    hops.died(A, SocksError("connection refused"))
    assert hops.is_dead(A) and not hops.is_dead(B)
    clock.now += DEAD_FOR
    assert not hops.is_dead(A)
    assert said == [f"without the proxy {A} for 30 s: connection refused"]


def test_a_hop_that_stays_dead_is_told_of_once(hops, clock, said):
    for _ in range(3):
        hops.died(A, SocksError("connection refused"))
        clock.now += DEAD_FOR / 2
    assert len(said) == 1


def test_a_hop_that_no_other_replaces_is_not_told_of(hops, said):
    hops.died(A, SocksError("connection refused"), is_left_out=False)
    assert hops.is_dead(A)
    assert said == []


def test_a_tunnel_through_a_hop_shows_that_it_lives(hops):
    hops.died(A, SocksError("no answer"))
    hops.died(B, SocksError("no answer"))
    hops.live((A, C))
    assert not hops.is_dead(A) and hops.is_dead(B)


@pytest.mark.parametrize("what", ["suspect", "suspect_pipelining"])
def test_a_hop_is_not_asked_the_same_again_at_once(hops, clock, probes, what):
    for _ in range(3):
        getattr(hops, what)((A, B))
    assert len(probes.asked) == 1
    getattr(hops, what)((A,))
    clock.now += 10
    getattr(hops, what)((A, B))
    assert [path for _, path in probes.asked] == [(A, B), (A,), (A, B)]


def test_the_two_questions_do_not_stand_for_each_other(hops, probes):
    hops.suspect((A,))
    hops.suspect_pipelining((A,))
    assert probes.asked == [("alive", (A,)), ("pipelining", (A,))]


def test_a_raw_hop_is_never_asked(hops, probes):
    hops.suspect((A, RAW))
    assert probes.asked == []


def test_without_probes_nothing_is_asked(clock):
    hops = Hops(lambda *_: [])
    hops.suspect((A,))
    hops.suspect_pipelining((A,))


def test_a_hop_supports_pipelining_or_not_or_it_is_not_known(hops, clock):
    assert hops.supports_pipelining(A) is None
    before = clock.now
    clock.now += 1
    hops.set_pipelining(A, True)
    assert hops.supports_pipelining(A) is True
    assert hops.has_taken_since(A, before) and not hops.has_taken_since(A, clock.now)
    hops.forget_pipelining(A)
    assert hops.supports_pipelining(A) is None


def test_that_a_hop_does_not_is_said_once(hops, said):
    for _ in range(2):
        hops.set_pipelining(A, False)
    assert hops.supports_pipelining(A) is False
    assert len(said) == 1 and str(A) in said[0]


def test_a_candidate_is_one_until_it_is_known(hops):
    hops.may_support_pipelining(A)
    hops.set_pipelining(B, False)
    hops.may_support_pipelining(B)
    assert hops.is_candidate(A) and not hops.is_candidate(B)
    hops.set_pipelining(A, True)
    assert not hops.is_candidate(A)


def test_a_hop_that_loses_what_follows_is_said_once(hops, said):
    assert hops.is_passer(A) is None
    for _ in range(2):
        hops.passes_on(A, False)
    hops.passes_on(B, True)
    assert (hops.is_passer(A), hops.is_passer(B)) == (False, True)
    assert len(said) == 1 and str(A) in said[0]


def test_uses_are_counted_from_the_beginning_when_they_are_forgotten(hops):
    assert [hops.used(A), hops.used(A), hops.used(B)] == [1, 2, 1]
    hops.unused(A)
    assert hops.used(A) == 1


def test_a_child_asks_anew_and_keeps_what_is_known(hops, probes):
    hops.set_pipelining(A, True)
    hops.suspect((B,))
    hops.used(A)
    hops.forked()
    hops.suspect((B,))
    assert len(probes.asked) == 2
    assert hops.used(A) == 1
    assert hops.supports_pipelining(A) is True


def test_where_a_proxy_is_has_nothing_to_do_with_the_login(hops):
    me = Proxy("socks5h", "192.0.2.1", 1080, b"me", b"secret")
    assert hops.first(A) is hops.first(me)
    assert hops.first(A) is not hops.first(B)


def test_a_hop_that_another_one_reports_dead_is_known(hops, clock):
    hops.died(B, refused(B, by=A))
    hops.died(C, refused(C))
    assert hops.accused_by(A, 5) == (B,)
    assert hops.accused_by(A, 4) == hops.accused_by(C, 5) == ()
    clock.now += DEAD_FOR
    assert hops.accused_by(A, 5) == ()


def test_a_hop_that_was_not_heard_has_accused_no_other(hops):
    hops.died(B, refused(B, by=A).copy(stage=UNHEARD))
    assert hops.is_dead(B)
    assert hops.accused_by(A, 5) == ()


def test_a_hang_up_in_place_of_a_reply_is_a_general_failure():
    assert reason(Rejected("refused", errno.EHOSTUNREACH, 4)) == 4
    assert reason(SocksError("no answer")) is None
    hung_up = ProxyClosed("the proxy hung up")
    assert reason(hung_up) is None
    assert reason(hung_up.copy(failure=Failure(A, certain=False))) == v5.GENERAL_FAILURE
