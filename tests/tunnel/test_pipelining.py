"""Pipelining: which messages are sent at once, and how their answers are read."""

from __future__ import annotations

import errno

import pytest

from pywrap.config.settings import Proxy
from pywrap.errors import (
    AuthenticationFailed,
    NoCommonMethod,
    ProtocolError,
    ProxyClosed,
    ProxyTimeout,
    Rejected,
    SocksError,
    Unencodable,
)
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint
from pywrap.tunnel.chain import handshake
from tests.support.play import Party, play

FIVE = Proxy("socks5h", "192.0.2.1", 1080)
FIVE_WITH_PASSWORD = Proxy("socks5h", "two.example", 1081, b"user", b"pass")
FOUR = Proxy("socks4a", "three.example", 1082, b"me")
HTTP = Proxy("http", "four.example", 8080)
RAW = Proxy("raw", "five.example", 9000)
TARGET = Endpoint("example.org", 443)

GREETING = b"\x05\x01\x00"
# One method, so that there is nothing to pick.
GREETING_PASSWORD = b"\x05\x01\x02"
LOGIN = b"\x01" + b"\x04user" + b"\x04pass"
ASK_TARGET = b"\x05\x01\x00\x03" + b"\x0bexample.org" + b"\x01\xbb"
ASK_TWO = b"\x05\x01\x00\x03" + b"\x0btwo.example" + b"\x04\x39"
ASK_THREE = b"\x05\x01\x00\x03" + b"\x0dthree.example" + b"\x04\x3a"
ASK_FOUR_4A = b"\x04\x01" + b"\x1f\x90" + b"\x00\x00\x00\x01" + b"me\x00" + b"four.example\x00"
ASK_TARGET_HTTP = b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n"

OK = b"\x05\x00\x00\x01" + b"\x00\x00\x00\x00" + b"\x00\x00"
OK_BOUND = b"\x05\x00\x00\x01" + b"\x0a\x00\x00\x07" + b"\x1f\x90"
OK_4 = b"\x00\x5a" + b"\x00\x00" + b"\x00\x00\x00\x00"
OK_HTTP = b"HTTP/1.1 200 OK\r\n\r\n"


def pipelined(*path, without=()):
    return handshake(path, TARGET, pipelined=tuple(hop not in without for hop in path))


def failure(dialogue, heard):
    with pytest.raises(SocksError) as caught:
        play(dialogue, heard)
    return caught.value


@pytest.mark.parametrize(
    ("path", "message", "answers"),
    [
        ((FIVE,), GREETING + ASK_TARGET, b"\x05\x00" + OK_BOUND),
        ((FIVE_WITH_PASSWORD,), GREETING_PASSWORD + LOGIN + ASK_TARGET, b"\x05\x02" + b"\x01\x00" + OK_BOUND),
        (
            (FIVE, FIVE_WITH_PASSWORD),
            GREETING + ASK_TWO + GREETING_PASSWORD + LOGIN + ASK_TARGET,
            b"\x05\x00" + OK + b"\x05\x02" + b"\x01\x00" + OK_BOUND,
        ),
        (
            (FIVE_WITH_PASSWORD, FOUR, HTTP),
            GREETING_PASSWORD + LOGIN + ASK_THREE + ASK_FOUR_4A + ASK_TARGET_HTTP,
            b"\x05\x02" + b"\x01\x00" + OK + OK_4 + OK_HTTP,
        ),
        ((RAW, FIVE), GREETING + ASK_TARGET, b"\x05\x00" + OK_BOUND),
    ],
)
def test_all_of_all_hops_is_one_message(path, message, answers):
    bound, sent, rest = play(pipelined(*path), answers + b"SSH-2.0-server")
    assert sent == [message]
    assert rest == b"SSH-2.0-server"
    assert bound == (Endpoint("0.0.0.0", 0) if path[-1] is HTTP else Endpoint("10.0.0.7", 8080))


def test_it_is_sent_before_anything_is_heard():
    party = Party(pipelined(FIVE, FIVE_WITH_PASSWORD))
    party.hear(b"")
    assert len(party.sent) == 1


def test_a_hop_that_does_not_support_pipelining_is_told_step_by_step():
    path = (FIVE_WITH_PASSWORD, FIVE, FOUR, HTTP)
    _, sent, _ = play(
        pipelined(*path, without=(FIVE,)), b"\x05\x02" + b"\x01\x00" + OK + b"\x05\x00" + OK + OK_4 + OK_HTTP
    )
    ask_one = b"\x05\x01\x00\x01" + b"\xc0\x00\x02\x01" + b"\x04\x38"
    assert sent == [
        GREETING_PASSWORD + LOGIN + ask_one,
        GREETING,
        ASK_THREE,
        ASK_FOUR_4A + ASK_TARGET_HTTP,
    ]


def test_raw_hops_alone_say_nothing():
    assert play(pipelined(RAW, RAW), b"SSH-2.0") == (Endpoint("0.0.0.0", 0), [], b"SSH-2.0")
    assert play(handshake((RAW,), TARGET), b"SSH-2.0") == (Endpoint("0.0.0.0", 0), [], b"SSH-2.0")


@pytest.mark.parametrize(
    ("heard", "kind", "text"),
    [
        (b"\x05\xff", NoCommonMethod, "hop 1 of 2, proxy two.example:1081: the proxy accepts none"),
        # It picks what was not offered.
        (b"\x05\x00", ProtocolError, "hop 1 of 2, proxy two.example:1081: the proxy picked"),
        (
            b"\x05\x02" + b"\x01\x01",
            AuthenticationFailed,
            "hop 1 of 2, proxy two.example:1081: the proxy refu",
        ),
        (b"\x05\x02" + b"\x01\x00" + b"\x05\x05", Rejected, "hop 1 of 2, proxy two.example:1081: connection"),
        (
            b"\x05\x02" + b"\x01\x00" + OK + b"\x05\x00" + b"\x05\x04",
            Rejected,
            "hop 2 of 2, proxy 192.0.2.1:1080: host unreachable (asked for example.org:443)",
        ),
        (b"\x05\x02" + b"\x01\x00" + OK + b"SSH", ProtocolError, "hop 2 of 2, proxy 192.0.2.1:1080: not a"),
    ],
)
def test_a_refusal_is_that_of_the_hop_which_refused(heard, kind, text):
    err = failure(pipelined(FIVE_WITH_PASSWORD, FIVE), heard)
    assert type(err) is kind
    assert str(err).startswith(text)


ANSWERS = b"\x05\x00" + OK + b"\x05\x02" + b"\x01\x00" + OK_BOUND


@pytest.mark.parametrize("cut", range(len(ANSWERS)))
def test_it_is_cut_off_anywhere(cut):
    err = failure(pipelined(FIVE, FIVE_WITH_PASSWORD), ANSWERS[:cut])
    assert type(err) is ProxyClosed
    assert err.failure.hop is (FIVE if cut < len(b"\x05\x00" + OK) else FIVE_WITH_PASSWORD)


def test_what_cannot_be_said_is_not_sent():
    plain = Proxy("socks4", "192.0.2.4", 1080)
    party = Party(pipelined(FIVE, plain))
    with pytest.raises(Unencodable, match="^hop 2 of 2, proxy 192.0.2.4:1080: SOCKS4 carries no names"):
        party.hear(b"")
    assert party.sent == []


@pytest.mark.parametrize("hop", [HTTP, RAW])
@pytest.mark.parametrize(("command", "word"), [(v5.BIND, "BIND"), (v5.UDP_ASSOCIATE, "UDP")])
def test_what_is_not_socks_has_connect_alone(hop, command, word):
    err = failure(handshake((FIVE, hop), TARGET, command), b"\x05\x00" + OK)
    assert isinstance(err, Unencodable)
    assert err.errno == errno.EOPNOTSUPP
    assert f"has no {word}" in str(err)


# ---------------------------------------------------------------- which hop is dead


@pytest.mark.parametrize("pipelined", [(), (True, True)])
@pytest.mark.parametrize(
    ("heard", "error", "dead", "in_doubt"),
    [
        # Not a word: nothing is there.
        (b"", ProxyClosed, 0, False),
        (b"", ProxyTimeout, 0, False),
        # It let us in, and cannot reach the next.
        (b"\x05\x00", ProxyClosed, 1, True),
        (b"\x05\x00", ProxyTimeout, 1, False),
        (b"\x05\x00" + b"\x05\x05", None, 1, False),
        (b"\x05\x00" + OK, ProxyClosed, 1, True),
        (b"\x05\x00" + OK, ProxyTimeout, 1, False),
        (b"\x05\x00" + OK + b"HTTP", None, 1, False),
        (b"\x05\x00" + OK + b"\x05\xff", None, 1, False),
        # The destination's own affair.
        (b"\x05\x00" + OK + b"\x05\x00", ProxyTimeout, None, False),
        (b"\x05\x00" + OK + b"\x05\x00" + b"\x05\x05", None, None, False),
        # Or the last hop's end: `ssh -D` refuses like this.
        (b"\x05\x00" + OK + b"\x05\x00", ProxyClosed, None, True),
    ],
)
def test_which_hop_is_dead(pipelined, heard, error, dead, in_doubt):
    path = (FIVE, Proxy("socks5h", "two.example", 1081))
    party = Party(handshake(path, TARGET, pipelined=pipelined))
    with pytest.raises(SocksError) as caught:
        party.hear(heard)
        party.dialogue.throw(error("it ended"))
    assert caught.value.failure.blamed is (None if dead is None else path[dead])
    assert caught.value.failure.certain == (not in_doubt)


@pytest.mark.parametrize("hop", [FOUR, HTTP])
def test_a_hop_of_one_message_that_is_silent_is_dead_unless_it_is_the_last(hop):
    for path, dead in (((hop, FIVE), hop), ((FIVE, hop), None)):
        party = Party(handshake(path, TARGET))
        party.hear(b"" if path[0] is hop else b"\x05\x00" + OK)
        with pytest.raises(ProxyTimeout) as caught:
            party.dialogue.throw(ProxyTimeout("no answer"))
        assert caught.value.failure.blamed is dead
