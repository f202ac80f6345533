"""How --check reaches a hop: alone, through those before it, and past what does not work."""

from __future__ import annotations

import json

import pytest

from pywrap.config.settings import Chain, Proxy
from pywrap.config.url import format_proxy, parse_proxy
from pywrap.launch import check
from pywrap.launch.check import Role, destination
from pywrap.launch.check.report import NO, UNKNOWN, YES, in_json, in_words
from pywrap.socks.wire import Endpoint
from tests.support.examined import (
    METHOD_NONE,
    METHODS_OF_OURS,
    PATIENT,
    TCP,
    examined,
    reported,
    url_of,
    verdicts,
)
from tests.support.forwarder import forwarder
from tests.support.scripted import scripted
from tests.support.servers import reference_server


def test_each_hop_alone_and_then_through_those_before_it():
    first, second, third = (Proxy("socks5h", name) for name in ("a", "b", "c"))
    paths = check.paths_of([Chain((first, second, third))])
    assert list(paths.items()) == [
        ((first,), Role()),
        ((second,), Role(counts=False)),
        ((third,), Role(counts=False)),
        ((first, second), Role()),
        ((first, second, third), Role()),
    ]


def test_hops_of_a_dynamic_chain_are_examined_through_those_that_work(refusing_port, dante):
    gone = Proxy("socks5h", "127.0.0.1", refusing_port)
    with reference_server() as server:
        ours, theirs = parse_proxy(server.url()), parse_proxy(url_of(dante))
        for hops, ways in (
            ((gone, ours, theirs), [(gone,), (ours,), (theirs,), (ours, theirs)]),
            ((ours, gone, theirs), [(ours,), (gone,), (theirs,), (ours, gone), (ours, theirs)]),
        ):
            text, status = check.check(check.paths_of([Chain(hops, type="dynamic")]), PATIENT, json=True)
            told = json.loads(text)["proxies"]
            assert [(*each["through"], each["proxy"]) for each in told] == [
                tuple(map(format_proxy, way)) for way in ways
            ]
            assert [each["works"] for each in told] == [way[-1] is not gone for way in ways]
            # To ours directly as well: no hop before it works.
            direct = [each["counts"] for each in told if not each["through"]]
            assert direct == [hop is ours or hop is hops[0] for hop in hops]
            assert status == 1


def test_a_later_hop_may_be_out_of_reach_directly():
    working = f"{YES} " * 5
    reports = [
        reported("socks5h://a", working),
        reported("socks5h://b", counts=False),
        reported("socks5h://b", working, ["socks5h://a"]),
    ]
    assert json.loads(in_json(reports))["works"]
    assert in_words(reports).endswith("\nworks; not seen to work, which is no harm: 2\n")


def test_a_hop_through_another(dante):
    with reference_server() as server:
        told = examined((server.url(), url_of(dante)))
        asked = server.asked
    expected = {**TCP, **METHOD_NONE, "bind": YES, "pipelining": YES}
    assert verdicts(told).items() >= expected.items()
    assert told["udp"]["why"] == "granted; datagrams are tried only without other hops"
    assert told["through"] == [server.url()]
    # And the connection to what Dante has bound.
    assert asked.count(("CONNECT", dante.host, dante.port)) == len(asked) - 1


def test_a_dead_hop_is_named_in_what_fails_behind_it(refusing_port):
    dead = f"socks5h://127.0.0.1:{refusing_port}"
    with reference_server() as server:
        alone, behind, before = examined(server.url(), (dead, server.url()), (server.url(), dead))
    assert alone["works"]
    assert (
        behind["error"] == f"hop 1 of 2: cannot reach the proxy 127.0.0.1:{refusing_port}: Connection refused"
    )
    assert before["error"] == (
        f"proxy {server.host}:{server.port}: connection refused (asked for 127.0.0.1:{refusing_port})"
    )
    assert before["reachable"]["verdict"] == NO
    assert before["other_clients"]["python-socks"]["verdict"] == NO
    assert before["other_clients"]["PySocks"]["why"] == "not tried: it has no chains"


@pytest.mark.parametrize("kind", ["strict", "dynamic", "random"])
def test_a_raw_hop_does_not_count(kind):
    raw, other = Proxy("raw", "a"), Proxy("socks5h", "b")
    for hops in ((raw, other), (other, raw)):
        paths = check.paths_of([Chain(hops, type=kind)])
        assert {path for path, role in paths.items() if role.counts} == (
            {(other,)} if kind == "random" or hops[0] is other else {hops}
        )


def test_a_hop_behind_a_raw_one_is_checked_through_it():
    with reference_server() as server, forwarder(server.address) as way:
        raw, hop = Proxy("raw", "127.0.0.1", way.port), parse_proxy(server.url())
        text, status = check.check(check.paths_of([Chain((raw, hop))]), PATIENT, json=True)
    alone, direct, behind = json.loads(text)["proxies"]
    assert status == 0
    assert (alone["error"], alone["counts"]) == ("raw hops cannot be checked", False)
    assert (direct["counts"], behind["counts"]) == (False, True)
    assert behind["through"] == [f"raw://127.0.0.1:{way.port}"]
    expected = {"reachable": YES, **METHODS_OF_OURS, "connect": YES, "names": YES, "pipelining": YES}
    assert verdicts(behind).items() >= expected.items()


def test_a_raw_hop_leads_nowhere_else(dante):
    # Dante refuses itself, and lets peers in.
    with forwarder((dante.host, dante.port)) as way:
        told = examined((f"raw://127.0.0.1:{way.port}", url_of(dante)))
    assert told["connect"]["verdict"] == YES
    assert told["bind"]["verdict"] == UNKNOWN
    assert told["bind"]["why"].endswith("raw hops lead to one place alone")


def test_a_refusal_behind_a_raw_hop_may_be_of_another_machine():
    # Where it leads to is not told by the address of the next hop, loopback or not.
    path = Proxy("raw", "127.0.0.1"), Proxy("socks5h", "127.0.0.1")
    with destination.Listener() as listener:
        found = destination.destinations(path, "127.0.0.1", None, listener)
    assert not found.here
    assert found.plain.endpoint == Endpoint("127.0.0.1", 1080)


def test_the_hop_behind_a_raw_one_does_not_work():
    with (
        scripted(3, b"HTTP/1.1 400 Bad Request\r\n\r\n") as proxy,
        forwarder((proxy.host, proxy.port)) as way,
    ):
        told = examined((f"raw://127.0.0.1:{way.port}", url_of(proxy)))
    assert told["error"].endswith("not a SOCKS5 proxy: it answers like an HTTP server")
    assert {opinion["why"] for opinion in told["other_clients"].values()} == {
        "not tried: it has no raw hops",
        "not tried: it has no chains",
    }
