"""Which probes are sent, and when: ``start`` is the test, which notes them and answers for the proxies."""

from __future__ import annotations

import pytest

from pywrap.config.settings import Proxy, Settings
from pywrap.tunnel.hop_probes import HopProbes
from pywrap.tunnel.hops import Hops
from pywrap.tunnel.liveness import PATIENCE, LivenessProbe
from pywrap.tunnel.pipelining_probe import HURRY, PassingProbe, PipeliningProbe

A, B = (Proxy("socks5h", f"{name}.example", 1080) for name in "ab")


class Started:
    """The probes that were started, by class and path, and their deadlines."""

    def __init__(self, can_start=True):
        self.can_start = can_start
        self.probes = []
        self.deadlines = []

    def __call__(self, probe, deadline):
        self.probes.append((type(probe), probe.start().path))
        self.deadlines.append(deadline)
        return self.can_start


def probes(can_start=True, **settings):
    started, hops = Started(can_start), Hops(lambda *_: [])
    return HopProbes(Settings(**settings), hops, started), hops, started


def test_the_second_connection_has_its_hops_probed():
    hop_probes, _, started = probes(pipeline="auto")
    hop_probes.learn((A, B))
    assert started.probes == []
    hop_probes.learn((A, B))
    assert started.probes == [(PipeliningProbe, (A,)), (PipeliningProbe, (A, B))]


def test_what_a_hop_passes_on_is_probed_once_both_support_pipelining():
    hop_probes, hops, started = probes(pipeline="auto")
    hops.set_pipelining(A, True)
    hop_probes.learn((A, B))
    assert started.probes == []
    hops.set_pipelining(B, True)
    hop_probes.learn((A, B))
    hop_probes.learn((A, B))
    assert started.probes == [(PassingProbe, (A, B))]


@pytest.mark.parametrize("pipeline", ["on", "off"])
def test_nothing_is_probed_where_the_user_has_said_what_to_do(pipeline):
    hop_probes, _, started = probes(pipeline=pipeline)
    for _ in range(3):
        hop_probes.learn((A, B))
    assert started.probes == []


def test_a_probe_that_cannot_start_is_for_the_next_connections():
    hop_probes, _, started = probes(can_start=False, pipeline="auto")
    for _ in range(4):
        hop_probes.learn((A,))
    assert started.probes == [(PipeliningProbe, (A,))] * 2


@pytest.mark.parametrize(("read_timeout", "limit"), [(30.0, None), (0.5, 0.5), (0.0, None)])
def test_a_connection_that_waits_for_a_probe_does_not_wait_long(read_timeout, limit):
    hop_probes, _, started = probes(read_timeout=read_timeout)
    hop_probes.probe_liveness((A, B))
    hop_probes.probe_pipelining((A,))
    assert started.probes == [(LivenessProbe, (A, B)), (PipeliningProbe, (A,))]
    for deadline, most in zip(started.deadlines, (PATIENCE, HURRY), strict=True):
        deadline.waiting()
        assert deadline.remaining() <= (limit or most)
