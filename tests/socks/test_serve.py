"""A client of any version is greeted, checked and understood; and our two ends understand each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.errors import AuthenticationFailed, ProtocolError, ProxyClosed, Rejected, SocksError
from pywrap.socks import v4, v5
from pywrap.socks.serve import COMMANDS, Request, receive_request
from pywrap.socks.wire import Endpoint, Send, with_plain_address
from tests.support.play import converse, play, refused
from tests.support.strategies import endpoints, ipv4, ipv6, names, noise, texts, userids

GREETING = b"\x05\x01" + b"\x00"
GREETING_PASSWORD = b"\x05\x02" + b"\x00\x02"
CREDENTIALS = b"\x01" + b"\x05alice" + b"\x06secret"
ASK_5 = b"\x05\x01\x00\x03" + b"\x0bexample.org" + b"\x01\xbb"
ASK_4 = b"\x04\x01" + b"\x01\xbb" + b"\xc0\x00\x02\x01" + b"alice\x00"
ASK_4A = b"\x04\x01" + b"\x01\xbb" + b"\x00\x00\x00\x01" + b"alice\x00" + b"example.org\x00"

PICK_NONE = b"\x05" + b"\x00"
PICK_PASSWORD = b"\x05" + b"\x02"
PICK_NOTHING = b"\x05" + b"\xff"
WELCOME = b"\x01" + b"\x00"
WRONG = b"\x01" + b"\x01"

NAME = Endpoint("example.org", 443)


def knows_alice(username, password):
    return (username, password) == (b"alice", b"secret")


CLIENTS = [
    (None, GREETING + ASK_5, [PICK_NONE], Request(5, 1, NAME)),
    (
        knows_alice,
        GREETING_PASSWORD + CREDENTIALS + ASK_5,
        [PICK_PASSWORD, WELCOME],
        Request(5, 1, NAME, b"alice", checked=True),
    ),
    # A password that is not asked for is not looked at.
    (None, b"\x05\x01" + b"\x02" + CREDENTIALS + ASK_5, [PICK_PASSWORD, WELCOME], Request(5, 1, NAME)),
    (None, ASK_4, [], Request(4, 1, Endpoint("192.0.2.1", 443), b"alice")),
    (None, ASK_4A, [], Request(4, 1, NAME, b"alice")),
]


@pytest.mark.parametrize(("check", "said", "answers", "request_"), CLIENTS)
def test_a_client_is_understood_and_what_follows_is_left(check, said, answers, request_):
    assert play(receive_request(check), said + b"GET / HTTP/1.1") == (request_, answers, b"GET / HTTP/1.1")


@pytest.mark.parametrize(
    ("check", "said"), [(check, said[:cut]) for check, said, _, _ in CLIENTS for cut in range(len(said))]
)
def test_a_client_hangs_up_anywhere(check, said):
    refused(ProxyClosed, receive_request(check), said)


def test_a_client_without_a_password_is_sent_away():
    err, sent, _ = refused(AuthenticationFailed, receive_request(knows_alice), GREETING + ASK_5)
    assert sent == [PICK_NOTHING]
    assert "offers 00" in str(err)


def test_a_client_that_offers_nothing_is_sent_away():
    err, sent, _ = refused(AuthenticationFailed, receive_request(), b"\x05\x00")
    assert sent == [PICK_NOTHING]
    assert "no method" in str(err)


@pytest.mark.parametrize(
    "credentials",
    [
        b"\x01" + b"\x05alice" + b"\x05wrong",
        b"\x01" + b"\x03bob" + b"\x06secret",
        b"\x01" + b"\x00" + b"\x00",
    ],
)
def test_wrong_credentials_are_refused_and_the_password_is_not_told(credentials):
    err, sent, rest = refused(
        AuthenticationFailed, receive_request(knows_alice), GREETING_PASSWORD + credentials + ASK_5
    )
    assert sent == [PICK_PASSWORD, WRONG]
    assert rest == ASK_5
    assert "secret" not in str(err) and "wrong" not in str(err).split(":")[1]


def test_socks4_is_sent_away_where_a_password_is_asked_for():
    _, sent, _ = refused(AuthenticationFailed, receive_request(knows_alice), ASK_4)
    assert sent == [b"\x00\x5b" + b"\x00\x00" + b"\x00\x00\x00\x00"]


@pytest.mark.parametrize(
    ("said", "reply"),
    [
        (GREETING + b"\x05\x01\x00\x09", b"\x05\x08\x00\x01" + b"\x00" * 6),
        (GREETING + b"\x05\x01\x00\x03" + b"\x03a\x00b" + b"\x00\x50", b"\x05\x01\x00\x01" + b"\x00" * 6),
        (b"\x04\x01" + b"\x00\x50" + b"\x00\x00\x00\x01" + b"u" * 256, b"\x00\x5b" + b"\x00" * 6),
    ],
)
def test_a_client_is_told_why_it_is_sent_away(said, reply):
    _, sent, _ = refused(Rejected, receive_request(), said)
    assert sent[-1] == reply


@pytest.mark.parametrize(
    ("said", "guess"),
    [
        (b"GET / HTTP/1.1", "0x47 (probably an HTTP request)"),
        (b"CONNECT example.org:443 HTTP/1.1", "0x43 (probably an HTTP request)"),
        (b"\x16\x03\x01", "0x16 (probably TLS)"),
        (b"\x06", "0x06"),
        (b"\x00", "0x00"),
    ],
)
def test_what_is_not_socks_is_guessed_aloud(said, guess):
    err, sent, _ = refused(ProtocolError, receive_request(), said)
    assert str(err).endswith(guess)
    assert sent == []


def test_replies_are_in_the_version_of_the_client():
    bound = Endpoint("192.0.2.7", 1080)
    assert Request(5, 1, NAME).reply(0, bound) == b"\x05\x00\x00\x01" + b"\xc0\x00\x02\x07" + b"\x04\x38"
    assert Request(5, 1, NAME).reply(5) == b"\x05\x05\x00\x01" + b"\x00" * 6
    assert Request(4, 1, NAME).reply(0, bound) == b"\x00\x5a" + b"\x04\x38" + b"\xc0\x00\x02\x07"
    assert Request(4, 1, NAME).reply(5) == b"\x00\x5b" + b"\x00" * 6


def test_commands_have_their_names():
    assert COMMANDS == {
        v5.CONNECT: "CONNECT",
        v5.BIND: "BIND",
        v5.UDP_ASSOCIATE: "UDP ASSOCIATE",
        v5.RESOLVE: "RESOLVE",
        v5.RESOLVE_PTR: "RESOLVE_PTR",
    }
    assert (v4.CONNECT, v4.BIND, v4.RESOLVE) == (v5.CONNECT, v5.BIND, v5.RESOLVE)


# ---------------------------------------------------------------- both ends against each other

pieces = st.sampled_from([1, 2, 7, 1 << 16])


def answering(code, bound, check=None):
    """The server's whole half of a CONNECT."""
    request = yield from receive_request(check)
    yield Send(request.reply(code, bound))
    return request


@given(endpoints(), endpoints(), pieces)
def test_socks5_ends_understand_each_other(destination, bound, piece):
    at_client, request = converse(v5.connect(destination), answering(0, bound), piece)
    assert at_client == normal(bound)
    assert request == Request(5, v5.CONNECT, with_plain_address(normal(destination)))


@given(endpoints(), texts.filter(bool), texts, pieces)
def test_socks5_ends_understand_each_other_with_credentials(destination, username, password, piece):
    checked = []

    def check(*credentials):
        checked.append(credentials)
        return True

    dialogue = v5.connect(destination, username, password)
    _, request = converse(dialogue, answering(0, Endpoint("0.0.0.0", 0), check), piece)
    assert request == Request(5, v5.CONNECT, with_plain_address(normal(destination)), username, checked=True)
    assert checked == [(username, password)]


@given(
    endpoints(ipv4.filter(lambda host: not host.startswith("0.0.0.")), names),
    userids,
    endpoints(ipv4),
    pieces,
)
def test_socks4_ends_understand_each_other(destination, userid, bound, piece):
    at_client, request = converse(v4.connect(destination, userid), answering(0, bound), piece)
    assert at_client == bound
    assert request == Request(4, v4.CONNECT, with_plain_address(destination), userid)


@given(endpoints(), st.integers(1, 255), pieces)
def test_the_client_learns_the_reply_code(destination, code, piece):
    with pytest.raises(Rejected) as caught:
        converse(v5.connect(destination), answering(code, destination), piece)
    assert caught.value.code == code


@given(endpoints(ipv6))
def test_a_socks4_client_is_answered_from_an_ipv6_address(bound):
    at_client, _ = converse(v4.connect(NAME), answering(0, bound))
    assert at_client == Endpoint("0.0.0.0", bound.port)


@pytest.mark.parametrize("check", [None, lambda *_: True, lambda *_: False])
@given(data=noise(GREETING, GREETING_PASSWORD + b"\x01", GREETING + b"\x05\x01\x00", b"\x04", ASK_4[:-1]))
def test_noise_is_understood_or_refused(check, data):
    """Nothing but a ``SocksError`` comes out of it, and nothing is read that is not used."""
    try:
        request, sent, rest = play(receive_request(check), data)
    except SocksError as err:
        assert str(err)
    else:
        taken = data[: len(data) - len(rest)]
        assert play(receive_request(check), taken) == (request, sent, b"")
        assert data == taken + rest


def normal(endpoint):
    """``endpoint`` with its address written as inet_ntop does: ``::1.2.3.4`` and not ``::102:304``."""
    kind, *rest = v5.pack_endpoint(endpoint)
    return play(v5.read_endpoint(kind), bytes(rest)).result
