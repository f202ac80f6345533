"""Does a proxy connect, and is its grant true?"""

from __future__ import annotations

import threading

import pytest

from pywrap.launch.check.report import NO, UNKNOWN, YES
from pywrap.socks.wire import Endpoint
from tests.support.examined import (
    Echoing,
    Promising,
    examined,
    serving,
    url_of,
)
from tests.support.scripted import CHOICE, scripted

# CONNECT 127.0.0.1 and a port.
REQUEST_SIZE = 10


def test_a_refusal_counts_only_if_it_is_about_the_proxy():
    # A proxy here that leaves the net elsewhere finds nothing at our listener's address there.
    with scripted(3, CHOICE, REQUEST_SIZE, b"\x05\x05\x00\x01" + bytes(6)) as proxy:
        told = examined(url_of(proxy))
    assert told["connect"]["verdict"] == UNKNOWN
    assert told["connect"]["why"].startswith("connection refused (asked for 127.0.0.1:")
    assert told["error"].endswith("name a destination that it can reach with --check-target HOST:PORT")
    with scripted(3, CHOICE, REQUEST_SIZE, b"\x05\x07\x00\x01" + bytes(6)) as proxy:
        told = examined(url_of(proxy))
    assert told["connect"]["verdict"] == NO


def test_a_hang_up_is_a_refusal_too():
    with scripted(3, CHOICE, REQUEST_SIZE) as proxy:
        told = examined(url_of(proxy))
    assert told["connect"] == {"verdict": UNKNOWN, "why": "it hangs up instead of answering"}
    assert "--check-target" in told["error"]


def test_a_grant_is_not_believed_without_our_listener_behind_it():
    granted = b"\x05\x00\x00\x01" + bytes(6)
    with scripted(3, CHOICE, REQUEST_SIZE, granted, 16, b"a banner of 16 B") as proxy:
        told = examined(url_of(proxy))
    assert told["connect"]["verdict"] == UNKNOWN
    assert told["connect"]["why"].startswith("granted, but another server answered")


def test_a_proxy_that_sends_back_what_it_gets_is_not_seen_to_work():
    with serving(Echoing()) as proxy:
        told = examined(url_of(proxy))
    assert not told["works"]
    assert told["connect"]["verdict"] == UNKNOWN
    assert told["connect"]["why"].startswith("granted, but another server answered (asked for 127.0.0.1:")
    assert told["half_close"]["verdict"] == UNKNOWN


def test_other_clients_are_not_asked_what_they_think_of_a_grant():
    # It is all that they wait for: they would say that it gets them through.
    granted = b"\x05\x00\x00\x01" + bytes(6)
    with scripted(3, CHOICE, REQUEST_SIZE, granted) as proxy:
        told = examined(url_of(proxy))
    assert told["error"].startswith("granted, but then: ")
    assert told["other_clients"] == {}


def test_what_is_granted_and_not_done_is_no():
    with Promising() as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,))
        thread.start()
        try:
            # Over the greeting there is nothing to be slow about, but about the rest it never answers.
            told = examined(url_of(proxy), patience=3)
        finally:
            proxy.shutdown()
            thread.join()
    assert told["works"]
    assert told["udp"]["verdict"] == NO
    assert told["udp"]["why"].startswith("granted, but no datagram came through its relay to 127.0.0.1:")
    assert told["bind"]["verdict"] == NO
    assert told["bind"]["why"].startswith("granted, but the connection to 127.0.0.1:")


@pytest.mark.parametrize("speaks_first", [False, True])
def test_a_server_that_grants_everything_is_not_seen_to_work(speaks_first):
    granted = b"\x05\x00\x00\x01" + bytes(6)
    banner = (b"SSH-2.0",) if speaks_first else ()
    with scripted(3, CHOICE, REQUEST_SIZE, granted, *banner, None) as proxy:
        told = examined(url_of(proxy), target=Endpoint("192.0.2.1", 443), patience=0.5)
    assert told["works"] == speaks_first
    assert told["connect"]["verdict"] == (YES if speaks_first else UNKNOWN)
    if not speaks_first:
        assert told["error"].startswith("granted, but so is what is impossible")
        # They would say that it works.
        assert told["other_clients"] == {}


def test_a_proxy_that_grants_everything_and_then_hangs_up_is_not_believed():
    with scripted(3, CHOICE, REQUEST_SIZE, b"\x05\x00\x00\x01" + bytes(6)) as proxy:
        told = examined(url_of(proxy), target=Endpoint("192.0.2.1", 443))
    assert told["connect"]["verdict"] == NO
    assert told["error"] == "granted, but then it hung up (asked for 192.0.2.1:443)"
