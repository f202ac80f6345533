"""What a proxy says to a greeting, and whether that is SOCKS."""

from __future__ import annotations

import pytest

from pywrap.launch.check.report import NO, YES
from tests.support.examined import (
    IMPATIENT,
    METHOD_PASSWORD,
    NOTHING_ELSE,
    PATIENT,
    examined,
    url_of,
    verdicts,
)
from tests.support.scripted import GREETING, scripted


@pytest.mark.parametrize(
    "script, error",
    [
        ((3, b"HTTP/1.1 400 Bad Request\r\n\r\n"), "not a SOCKS5 proxy: it answers like an HTTP server"),
        ((3,), "it hangs up instead of answering"),
        ((3, None), "no answer in time"),
        ((3, b"\x05\xff"), "the proxy asks for authentication, and no username was given"),
    ],
)
def test_what_is_wrong_is_said_in_words_and_others_are_asked(script, error):
    with scripted(*script) as proxy:
        told = examined(url_of(proxy), patience=IMPATIENT if None in script else PATIENT)
    assert told["error"] == error
    assert told["reachable"]["verdict"] == YES
    assert {name: opinion["verdict"] for name, opinion in told["other_clients"].items()} == {
        "python-socks": NO,
        "PySocks": NO,
    }


def test_a_server_that_does_not_speak_socks_is_asked_nothing_else():
    with scripted(3, b"HTTP/1.1 400 Bad Request\r\n\r\n") as proxy:
        told = examined(url_of(proxy))
    assert verdicts(told) == {"reachable": YES, **NOTHING_ELSE}


def test_the_greeting_is_the_first_that_a_proxy_hears():
    with scripted(3, b"HTTP/1.1 400 Bad Request\r\n\r\n") as proxy:
        examined(url_of(proxy))
    assert proxy.received[0] == GREETING


def test_wrong_password(microsocks_with_password):
    told = examined(url_of(microsocks_with_password, login="alice:wrong@"))
    assert told["error"] == "the proxy refused the username or the password"
    assert verdicts(told) == {**NOTHING_ELSE, "reachable": YES, **METHOD_PASSWORD, "connect": NO}
