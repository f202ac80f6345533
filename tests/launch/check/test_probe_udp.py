"""Does a proxy relay datagrams?"""

from __future__ import annotations

from pywrap.launch.check.report import NO, YES
from pywrap.socks.wire import Endpoint
from tests.support.examined import (
    METHOD_NONE,
    PIPELINING,
    TCP,
    UDP,
    examined,
    relaying,
    url_of,
    verdicts,
)


def test_dante_relays_datagrams_and_lets_a_peer_in(dante):
    told = examined(url_of(dante))
    assert verdicts(told) == {
        **TCP,
        **METHOD_NONE,
        **UDP,
        "bind": YES,
        **PIPELINING,
        "half_close": YES,
        "resolve": NO,
    }


def test_a_server_that_relays_everything():
    with relaying() as proxy:
        told = examined(url_of(proxy))
    # One exchange, and then it is over.
    assert verdicts(told).items() >= {**UDP, "bind": YES, "half_close": NO}.items()


def test_datagrams_to_names_that_get_lost():
    with relaying(names=False) as proxy:
        told = examined(url_of(proxy), patience=2)
    assert verdicts(told).items() >= {"udp": YES, "udp_names": NO}.items()
    assert told["udp_names"]["why"].startswith("no datagram came through its relay to localhost:")


def test_a_relay_that_wants_the_port_in_the_request():
    with relaying(wants_port=True) as proxy:
        told = examined(url_of(proxy), patience=2)
    assert told["udp"]["verdict"] == NO
    assert told["udp"]["why"].endswith("; it does when the request tells the port that they come from")


def test_a_relay_at_port_0():
    with relaying(relay=Endpoint("0.0.0.0", 0)) as proxy:
        told = examined(url_of(proxy))
    assert told["udp"] == {"verdict": NO, "why": "granted, but with a relay at port 0"}
