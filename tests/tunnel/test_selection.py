"""Chain types: which paths, in which order, and without whom."""

from __future__ import annotations

import collections

import pytest

from pywrap.config.settings import Chain, Proxy
from pywrap.errors import SocksError
from pywrap.tunnel import hops as hops_module
from pywrap.tunnel.hops import DEAD_FOR, Hops
from pywrap.tunnel.round_robin import RoundRobinCounter
from pywrap.tunnel.selection import Dynamic, Fixed, Random, RoundRobin, selection

A, B, C, D = (Proxy("socks5h", f"{name}.example") for name in "abcd")
ALL = (A, B, C, D)
GONE = SocksError("gone")


class Clock:
    now = 1000.0


@pytest.fixture
def hops(monkeypatch):
    monkeypatch.setattr(Clock, "now", 1000.0)
    monkeypatch.setattr(hops_module, "monotonic", lambda: Clock.now)
    return Hops(lambda *_: [])


def round_robin(hops, length=1, proxies=ALL):
    return RoundRobin(Chain(proxies, type="round_robin", length=length), hops, RoundRobinCounter(""))


def test_strict_is_one_path(hops):
    fixed = Fixed(ALL)
    hops.died(A, GONE)
    assert fixed.pick(()) == ALL
    assert fixed.pick((A,)) == ()
    assert not fixed.has_another(())


def test_dynamic_is_all_in_order_without_the_dead(hops):
    dynamic = Dynamic(Chain(ALL, type="dynamic"), hops)
    assert dynamic.pick(()) == ALL
    assert dynamic.pick((B,)) == (A, C, D)
    hops.died(A, GONE)
    assert dynamic.pick((C,)) == (B, D)
    assert dynamic.pick((B, C, D)) == (A,), "no other is left"
    assert dynamic.pick(ALL) == ()


def test_a_hop_that_failed_comes_back_by_itself(hops):
    dynamic = Dynamic(Chain(ALL, type="dynamic"), hops)
    hops.died(B, GONE)
    Clock.now += DEAD_FOR - 1
    assert dynamic.pick(()) == (A, C, D)
    Clock.now += 1
    assert dynamic.pick(()) == ALL


def test_a_hop_that_is_seen_alive_is_not_dead(hops):
    hops.died(B, GONE)
    hops.live((A, B))
    assert not hops.is_dead(B)


def test_when_all_are_believed_dead_all_are_tried(hops):
    for proxy in ALL:
        hops.died(proxy, GONE)
    assert Dynamic(Chain(ALL, type="dynamic"), hops).pick(()) == ALL


@pytest.mark.parametrize("without, next_after", [((), True), ((A, B), True), ((A, B, C), False)])
def test_dynamic_has_another_while_two_are_left(hops, without, next_after):
    assert Dynamic(Chain(ALL, type="dynamic"), hops).has_another(without) == next_after


def test_random_is_so_many_different_ones(hops):
    random = Random(Chain(ALL, type="random", length=2), hops)
    paths = collections.Counter(random.pick(()) for _ in range(1000))
    assert set(paths) == {(one, other) for one in ALL for other in ALL if one != other}


def test_random_is_all_of_them_when_no_length_is_said(hops):
    assert set(Random(Chain(ALL, type="random"), hops).pick(())) == set(ALL)


def test_random_takes_the_dead_only_where_the_living_are_too_few(hops):
    random = Random(Chain(ALL, type="random", length=2), hops)
    hops.died(A, GONE)
    hops.died(B, GONE)
    assert all(set(random.pick(())) == {C, D} for _ in range(50))
    hops.died(C, GONE)
    assert any(D not in random.pick(()) for _ in range(1000))
    assert random.pick((A, B, C)) == (), "proxychains-ng calls that: need more proxies"


def test_round_robin_goes_on_where_it_left_off(hops):
    chosen = round_robin(hops, 3)
    assert [chosen.pick(()) for _ in range(4)] == [(A, B, C), (D, A, B), (C, D, A), (B, C, D)]


def test_round_robin_passes_the_dead(hops):
    chosen = round_robin(hops)
    hops.died(B, GONE)
    assert [chosen.pick(())[0] for _ in range(5)] == [A, C, D, A, C]


def test_round_robin_goes_on_behind_the_one_that_failed(hops):
    chosen = round_robin(hops)
    assert chosen.pick(()) == (A,)
    assert chosen.pick((A,)) == (B,)
    assert chosen.pick(()) == (C,)


def test_round_robin_of_more_than_there_are_is_all(hops):
    assert round_robin(hops, 9).pick(()) == ALL


@pytest.mark.parametrize(
    "type_, kind",
    [("strict", Fixed), ("dynamic", Dynamic), ("random", Random), ("round_robin", RoundRobin)],
)
def test_each_type_has_its_selection(hops, type_, kind):
    assert type(selection(Chain(ALL, type=type_), hops, RoundRobinCounter(""))) is kind


@pytest.mark.parametrize("kind", ["dynamic", "random", "round_robin"])
def test_a_path_that_must_include_a_hop(kind):
    hops = Hops(lambda *_: [])
    a, b, c, d = (Proxy("socks5h", name) for name in "abcd")
    chain = selection(Chain((a, b, c, d), type=kind, length=2), hops, RoundRobinCounter(""))
    hops.died(c, SocksError("gone"))
    for _ in range(20):
        path = chain.pick((b,), c)
        assert c in path and b not in path and len(set(path)) == len(path)
    assert chain.pick((b, c), c) == () or c not in chain.pick((b, c), c)
