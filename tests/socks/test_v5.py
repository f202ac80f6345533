"""SOCKS5 messages, byte for byte."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.errors import (
    UNHEARD,
    AuthenticationFailed,
    NoCommonMethod,
    ProtocolError,
    ProxyClosed,
    Rejected,
    SocksError,
    Unencodable,
    to_oserror,
)
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint
from tests.support.play import play, refused
from tests.support.strategies import endpoints, noise, texts

# +----+----------+----------+      +----+--------+
# |VER | NMETHODS | METHODS  |      |VER | METHOD |
# +----+----------+----------+      +----+--------+
OFFER_NONE = b"\x05\x01" + b"\x00"
OFFER_BOTH = b"\x05\x02" + b"\x00\x02"
PICK_NONE = b"\x05" + b"\x00"
PICK_PASSWORD = b"\x05" + b"\x02"
PICK_NOTHING = b"\x05" + b"\xff"

# +----+------+----------+------+----------+      +----+--------+
# |VER | ULEN |  UNAME   | PLEN |  PASSWD  |      |VER | STATUS |
# +----+------+----------+------+----------+      +----+--------+
CREDENTIALS = b"\x01" + b"\x05alice" + b"\x06secret"
WELCOME = b"\x01" + b"\x00"
WRONG = b"\x01" + b"\x01"

# +----+-----+-------+------+----------+----------+
# |VER | CMD |  RSV  | ATYP | DST.ADDR | DST.PORT |
# +----+-----+-------+------+----------+----------+
ASK_IPV4 = b"\x05\x01\x00\x01" + b"\xc0\x00\x02\x01" + b"\x01\xbb"
ASK_NAME = b"\x05\x01\x00\x03" + b"\x0bexample.org" + b"\x01\xbb"
ASK_IPV6 = b"\x05\x01\x00\x04" + b"\x20\x01\x0d\xb8" + b"\x00" * 11 + b"\x05" + b"\x01\xbb"

# +----+-----+-------+------+----------+----------+
# |VER | REP |  RSV  | ATYP | BND.ADDR | BND.PORT |
# +----+-----+-------+------+----------+----------+
OK_IPV4 = b"\x05\x00\x00\x01" + b"\xc0\x00\x02\x07" + b"\x04\x38"
OK_NAME = b"\x05\x00\x00\x03" + b"\x0bexample.org" + b"\x01\xbb"
OK_IPV6 = b"\x05\x00\x00\x04" + b"\x20\x01\x0d\xb8" + b"\x00" * 11 + b"\x07" + b"\x04\x38"
OK_NOWHERE = b"\x05\x00\x00\x01" + b"\x00\x00\x00\x00" + b"\x00\x00"

ENDPOINTS = [
    (Endpoint("192.0.2.1", 443), ASK_IPV4),
    (Endpoint("example.org", 443), ASK_NAME),
    (Endpoint("2001:db8::5", 443), ASK_IPV6),
]
BOUND = [
    (OK_IPV4, Endpoint("192.0.2.7", 1080)),
    (OK_NAME, Endpoint("example.org", 443)),
    (OK_IPV6, Endpoint("2001:db8::7", 1080)),
    (OK_NOWHERE, Endpoint("0.0.0.0", 0)),
]


def login():
    return v5.authenticate(b"alice", b"secret")


# ---------------------------------------------------------------- the client's half


@pytest.mark.parametrize(("destination", "request_"), ENDPOINTS)
def test_connect_without_credentials(destination, request_):
    bound, sent, rest = play(v5.connect(destination), PICK_NONE + OK_IPV4 + b"SSH-2.0-server")
    assert bound == Endpoint("192.0.2.7", 1080)
    assert sent == [OFFER_NONE, request_]
    assert rest == b"SSH-2.0-server"


def test_connect_with_credentials():
    dialogue = v5.connect(Endpoint("example.org", 443), b"alice", b"secret")
    bound, sent, rest = play(dialogue, PICK_PASSWORD + WELCOME + OK_NAME + b"220 ready")
    assert bound == Endpoint("example.org", 443)
    assert sent == [OFFER_BOTH, CREDENTIALS, ASK_NAME]
    assert rest == b"220 ready"


@pytest.mark.parametrize("cut", range(len(PICK_PASSWORD + WELCOME + OK_NAME)))
def test_the_proxy_hangs_up_anywhere(cut):
    dialogue = v5.connect(Endpoint("example.org", 443), b"alice", b"secret")
    refused(ProxyClosed, dialogue, (PICK_PASSWORD + WELCOME + OK_NAME)[:cut])


def test_a_password_is_not_sent_to_a_proxy_that_asks_for_none():
    assert play(login(), PICK_NONE).sent == [OFFER_BOTH]


def test_a_missing_password_is_an_empty_one():
    assert (
        play(v5.authenticate(b"alice", None), PICK_PASSWORD + WELCOME).sent[1]
        == b"\x01" + b"\x05alice" + b"\x00"
    )


def test_no_acceptable_method_without_a_username_says_that_one_is_needed():
    err, sent, _ = refused(NoCommonMethod, v5.authenticate(None, None), PICK_NOTHING)
    assert "no username was given" in str(err)
    assert sent == [OFFER_NONE]
    assert err.errno == errno.EACCES


def test_no_acceptable_method_with_a_username():
    err, _, _ = refused(NoCommonMethod, login(), PICK_NOTHING)
    assert "none of our authentication methods" in str(err)
    assert isinstance(to_oserror(err), PermissionError)


@pytest.mark.parametrize("method", [0x01, 0x03, 0x80, 0xFE])
def test_a_method_that_was_not_offered_is_a_protocol_error(method):
    err, sent, _ = refused(ProtocolError, login(), bytes([5, method]))
    assert f"method {method}, never offered" in str(err)
    assert sent == [OFFER_BOTH]


def test_a_password_is_not_given_to_a_proxy_that_was_not_offered_one():
    refused(ProtocolError, v5.authenticate(None, None), PICK_PASSWORD)


@pytest.mark.parametrize("status", [1, 2, 0xFF])
def test_every_status_but_0_is_a_refused_password(status):
    err, _, _ = refused(AuthenticationFailed, login(), PICK_PASSWORD + bytes([1, status]))
    assert "refused the username or the password" in str(err)
    assert "secret" not in str(err)


def test_the_version_of_a_password_answer_does_not_matter():
    play(login(), PICK_PASSWORD + b"\x05\x00")


@pytest.mark.parametrize(
    ("answer", "guess"),
    [
        (b"HTTP/1.1 400 Bad Request", "an HTTP server"),
        (b"<html>", "an HTTP server"),
        (b"SSH-2.0-OpenSSH_9.2", "an SSH server"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "a TLS server"),
        (b"\x16\x03\x01\x00\x2a\x02\x00", "a TLS server"),
        (b"\x00\x5b\x00\x00\x00\x00\x00\x00", "a SOCKS4 server"),
        (b"\x04\x5b", "version 4"),
        (b"220 mail.example.org", "starts with b'22'"),
    ],
)
def test_what_is_not_socks_is_guessed_aloud(answer, guess):
    err, sent, _ = refused(ProtocolError, v5.connect(Endpoint("example.org", 443)), answer)
    assert guess in str(err)
    assert err.errno == errno.EPROTO
    # Neither the destination nor a password goes to a server that does not speak SOCKS.
    assert sent == [OFFER_NONE]


@pytest.mark.parametrize(("reply", "bound"), BOUND)
def test_a_reply_leaves_what_follows(reply, bound):
    assert play(v5.read_reply(), reply + b"SSH-2.0-server") == (bound, [], b"SSH-2.0-server")


@pytest.mark.parametrize(("reply", "cut"), [(reply, cut) for reply, _ in BOUND for cut in range(len(reply))])
def test_a_reply_is_cut_off_anywhere(reply, cut):
    refused(ProxyClosed, v5.read_reply(), reply[:cut])


def test_a_bound_name_may_be_empty_or_as_long_as_it_gets():
    empty = b"\x05\x00\x00\x03" + b"\x00" + b"\x00\x00"
    assert play(v5.read_reply(), empty + b"!") == (Endpoint("", 0), [], b"!")
    long = b"\x05\x00\x00\x03" + b"\xff" + b"n" * 255 + b"\x00\x00"
    assert play(v5.read_reply(), long + b"!") == (Endpoint("n" * 255, 0), [], b"!")


@pytest.mark.parametrize(
    ("code", "text", "number", "error"),
    [
        (1, "general failure", errno.ECONNREFUSED, ConnectionRefusedError),
        (2, "rules", errno.EACCES, PermissionError),
        (3, "network unreachable", errno.ENETUNREACH, OSError),
        (4, "host unreachable", errno.EHOSTUNREACH, OSError),
        (5, "connection refused", errno.ECONNREFUSED, ConnectionRefusedError),
        (6, "TTL expired", errno.ETIMEDOUT, TimeoutError),
        (7, "command not supported", errno.EOPNOTSUPP, OSError),
        (8, "address type not supported", errno.EAFNOSUPPORT, OSError),
        (9, "unassigned reply code 9", errno.ECONNREFUSED, ConnectionRefusedError),
        (0xFF, "unassigned reply code 255", errno.ECONNREFUSED, ConnectionRefusedError),
    ],
)
def test_every_reply_code_has_its_errno(code, text, number, error):
    # Two bytes are enough: some servers close without sending the rest of a refusal.
    err, _, _ = refused(Rejected, v5.read_reply(), bytes([5, code]))
    assert (err.code, err.errno) == (code, number)
    assert type(to_oserror(err)) is error
    assert text in str(err)


@pytest.mark.parametrize("version", [0, 1, 4, 6, ord("H")])
def test_a_reply_of_another_version_is_a_protocol_error(version):
    err, _, _ = refused(ProtocolError, v5.read_reply(), bytes([version]) + OK_IPV4[1:])
    assert f"got version {version}" in str(err)


@pytest.mark.parametrize(
    "reply",
    [
        b"\x05\x00\x00\x00" + b"\x00" * 6,
        b"\x05\x00\x00\x02" + b"\x00" * 6,
        b"\x05\x00\x00\x05" + b"\x00" * 6,
        b"\x05\x00\x00\xff" + b"\x00" * 6,
        b"\x05\x00\x00\x03" + b"\x03a\x00b" + b"\x00\x00",
    ],
)
def test_an_impossible_address_in_a_reply_is_no_refusal(reply):
    """The proxy said "succeeded": a refusal with reply 8 would blame the program's address."""
    refused(ProtocolError, v5.read_reply(), reply)


# Of Tor: the same messages, with the answer in the place of BND.ADDR.
ASK_RESOLVE = b"\x05\xf0\x00\x03" + b"\x0bexample.org" + b"\x00\x00"
ASK_PTR_IPV4 = b"\x05\xf1\x00\x01" + b"\xc0\x00\x02\x07" + b"\x00\x00"
ASK_PTR_IPV6 = b"\x05\xf1\x00\x04" + b"\x20\x01\x0d\xb8" + b"\x00" * 11 + b"\x07" + b"\x00\x00"


@pytest.mark.parametrize(("reply", "found"), [(OK_IPV4, "192.0.2.7"), (OK_IPV6, "2001:db8::7")])
def test_a_name_is_resolved(reply, found):
    answer, sent, rest = play(v5.resolve("example.org"), PICK_NONE + reply + b"!")
    assert answer.host == found
    assert sent == [OFFER_NONE, ASK_RESOLVE]
    assert rest == b"!"


@pytest.mark.parametrize(
    ("address", "request_"), [("192.0.2.7", ASK_PTR_IPV4), ("2001:db8::7", ASK_PTR_IPV6)]
)
def test_the_name_of_an_address_is_asked_for(address, request_):
    dialogue = v5.resolve_ptr(address, b"alice", b"secret")
    answer, sent, _ = play(dialogue, PICK_PASSWORD + WELCOME + OK_NAME)
    assert answer.host == "example.org"
    assert sent == [OFFER_BOTH, CREDENTIALS, request_]


def test_a_name_that_the_proxy_cannot_resolve():
    err, _, _ = refused(Rejected, v5.resolve("example.org"), PICK_NONE + b"\x05\x04")
    assert err.errno == errno.EHOSTUNREACH


def test_an_answer_to_another_question_is_a_protocol_error():
    refused(ProtocolError, v5.resolve("example.org"), PICK_NONE + OK_NAME)
    refused(ProtocolError, v5.resolve_ptr("192.0.2.7"), PICK_NONE + OK_IPV4)
    refused(
        ProtocolError, v5.resolve_ptr("192.0.2.7"), PICK_NONE + b"\x05\x00\x00\x03" + b"\x00" + b"\x00\x00"
    )


@pytest.mark.parametrize("length", [1, 2, 63, 254, 255])
def test_names_of_every_length_fit(length):
    name = "n" * length
    assert v5.pack_request(v5.CONNECT, Endpoint(name, 1)) == (
        b"\x05\x01\x00\x03" + bytes([length]) + name.encode() + b"\x00\x01"
    )


@pytest.mark.parametrize("name", ["", "n" * 256, "n" * 1000, "a\0b", "\0", "bücher.example", "\udcff"])
def test_what_is_no_name_is_not_sent(name):
    err, sent, _ = refused(Unencodable, v5.connect(Endpoint(name, 80)), b"")
    assert err.errno == errno.EINVAL
    assert sent == []


@pytest.mark.parametrize(
    ("username", "password"), [(b"", b"x"), (b"u" * 256, b"x"), (b"u", b"p" * 256), (b"", b"")]
)
def test_credentials_that_do_not_fit_are_not_sent(username, password):
    err, sent, _ = refused(Unencodable, v5.authenticate(username, password), b"")
    assert err.errno == errno.EINVAL
    assert sent == []


def test_the_longest_credentials_fit():
    assert v5.pack_credentials(b"u" * 255, b"p" * 255) == (
        b"\x01" + b"\xff" + b"u" * 255 + b"\xff" + b"p" * 255
    )


def test_credentials_are_bytes_and_not_text():
    assert v5.pack_credentials(b"\xc3\xbc\x00", b"\xff") == b"\x01" + b"\x03\xc3\xbc\x00" + b"\x01\xff"


# ---------------------------------------------------------------- the server's half


@pytest.mark.parametrize(
    ("greeting", "methods"),
    [
        (OFFER_NONE, b"\x00"),
        (OFFER_BOTH, b"\x00\x02"),
        (b"\x05\x00", b""),
        (b"\x05\xff" + b"\x80" * 255, b"\x80" * 255),
    ],
)
def test_a_greeting_leaves_what_follows(greeting, methods):
    assert play(v5.receive_methods(), greeting[1:] + ASK_IPV4) == (methods, [], ASK_IPV4)


@pytest.mark.parametrize("cut", range(1, len(OFFER_BOTH)))
def test_a_greeting_is_cut_off_anywhere(cut):
    refused(ProxyClosed, v5.receive_methods(), OFFER_BOTH[1:cut])


@pytest.mark.parametrize(
    ("credentials", "parts"),
    [
        (CREDENTIALS, (b"alice", b"secret")),
        (b"\x01" + b"\x01u" + b"\x00", (b"u", b"")),
        (b"\x01" + b"\x00" + b"\x00", (b"", b"")),
        (b"\x01" + b"\xff" + b"u" * 255 + b"\xff" + b"p" * 255, (b"u" * 255, b"p" * 255)),
    ],
)
def test_credentials_leave_what_follows(credentials, parts):
    assert play(v5.receive_credentials(), credentials + ASK_IPV4) == (parts, [], ASK_IPV4)


@pytest.mark.parametrize("cut", range(len(CREDENTIALS)))
def test_credentials_are_cut_off_anywhere(cut):
    refused(ProxyClosed, v5.receive_credentials(), CREDENTIALS[:cut])


@pytest.mark.parametrize("version", [0, 2, 5])
def test_credentials_of_another_version_are_a_protocol_error(version):
    refused(ProtocolError, v5.receive_credentials(), bytes([version]) + CREDENTIALS[1:])


@pytest.mark.parametrize(("destination", "request_"), ENDPOINTS)
def test_a_request_leaves_what_follows(destination, request_):
    asked, _, rest = play(v5.receive_request(), request_ + b"GET / HTTP/1.1")
    assert asked == (v5.CONNECT, destination)
    assert rest == b"GET / HTTP/1.1"


@pytest.mark.parametrize(
    ("request_", "cut"), [(request, cut) for _, request in ENDPOINTS for cut in range(len(request))]
)
def test_a_request_is_cut_off_anywhere(request_, cut):
    refused(ProxyClosed, v5.receive_request(), request_[:cut])


@pytest.mark.parametrize("command", [0, 1, 2, 3, 4, 0xF0, 0xFF])
def test_the_command_is_the_servers_affair(command):
    assert play(v5.receive_request(), bytes([5, command]) + ASK_IPV4[2:]).result[0] == command


@pytest.mark.parametrize("length", [1, 255])
def test_a_request_with_a_name_of_every_length(length):
    request = b"\x05\x01\x00\x03" + bytes([length]) + b"n" * length + b"\x00\x50"
    assert play(v5.receive_request(), request + b"!") == ((1, Endpoint("n" * length, 80)), [], b"!")


@pytest.mark.parametrize(
    ("address", "code", "number"),
    [
        (b"\x00", 8, errno.EAFNOSUPPORT),
        (b"\x02", 8, errno.EAFNOSUPPORT),
        (b"\xff", 8, errno.EAFNOSUPPORT),
        (b"\x03" + b"\x00", 1, errno.EINVAL),
        (b"\x03" + b"\x0e127.0.0.1\x00.org", 1, errno.EINVAL),
        (b"\x03" + b"\x01\x00", 1, errno.EINVAL),
    ],
)
def test_a_request_for_no_address_is_rejected_with_a_reply_code(address, code, number):
    err, _, _ = refused(Rejected, v5.receive_request(), b"\x05\x01\x00" + address + b"\x00\x50")
    assert (err.code, err.errno) == (code, number)


def test_bytes_in_a_name_that_are_not_ascii_stay_visible():
    request = b"\x05\x01\x00\x03" + b"\x04\xffabc" + b"\x00\x50"
    assert play(v5.receive_request(), request).result == (1, Endpoint("\\xffabc", 80))


@pytest.mark.parametrize("version", [0, 1, 4, 6])
def test_a_request_of_another_version_is_a_protocol_error(version):
    refused(ProtocolError, v5.receive_request(), bytes([version]) + ASK_IPV4[1:])


@pytest.mark.parametrize(("reply", "bound"), BOUND)
def test_a_reply_is_packed_as_it_is_read(reply, bound):
    assert v5.pack_reply(v5.SUCCEEDED, bound) == reply


def test_a_refusal_carries_an_address_that_means_nothing():
    assert v5.pack_reply(v5.HOST_UNREACHABLE) == b"\x05\x04\x00\x01" + b"\x00\x00\x00\x00" + b"\x00\x00"


def test_the_small_answers():
    assert v5.select_method(v5.NO_AUTHENTICATION) == PICK_NONE
    assert v5.select_method(v5.NO_ACCEPTABLE_METHODS) == PICK_NOTHING
    assert v5.answer_credentials(True) == WELCOME
    assert v5.answer_credentials(False) == WRONG


# ---------------------------------------------------------------- fuzz


@given(endpoints(), st.binary())
def test_endpoints_survive(endpoint, after):
    packed = v5.pack_endpoint(endpoint)
    read, _, rest = play(v5.read_endpoint(packed[0]), packed[1:] + after)
    assert v5.pack_endpoint(read) == packed
    assert rest == after


@given(texts.filter(bool), texts, st.binary())
def test_credentials_survive(username, password, after):
    message = v5.pack_credentials(username, password)
    assert play(v5.receive_credentials(), message + after) == ((username, password), [], after)


@pytest.mark.parametrize(
    "dialogue",
    [
        lambda: v5.connect(Endpoint("example.org", 443)),
        lambda: v5.connect(Endpoint("example.org", 443), b"alice", b"secret"),
        v5.read_reply,
        v5.receive_methods,
        v5.receive_credentials,
        v5.receive_request,
    ],
)
@given(
    data=noise(
        PICK_NONE,
        PICK_PASSWORD,
        PICK_PASSWORD + WELCOME,
        PICK_NONE + b"\x05\x00\x00",
        b"\x01",
        b"\x05\x01\x00",
    )
)
def test_noise_is_understood_or_refused(dialogue, data):
    """Nothing but a ``SocksError`` comes out of it, and nothing is read that is not used."""
    try:
        _, _, rest = play(dialogue(), data)
    except SocksError as err:
        assert err.errno
    else:
        # The same without what followed gives the same: so that was not looked at.
        taken = data[: len(data) - len(rest)]
        assert play(dialogue(), taken).rest == b""
        assert data == taken + rest


@pytest.mark.parametrize(
    ("code", "number"),
    [
        (0xF0, errno.EHOSTUNREACH),
        (0xF1, errno.EHOSTUNREACH),
        (0xF2, errno.EHOSTUNREACH),
        (0xF3, errno.EHOSTUNREACH),
        (0xF4, errno.EACCES),
        (0xF5, errno.EACCES),
        (0xF6, errno.EHOSTUNREACH),
        (0xF7, errno.ETIMEDOUT),
    ],
)
def test_tors_replies_about_onion_services_have_names(code, number):
    answer = b"\x05\x00" + bytes([5, code]) + b"\x00\x01" + bytes(6)
    err, _, _ = refused(Rejected, v5.connect(Endpoint("x.onion", 80)), answer)
    assert err.errno == number
    assert str(err).startswith("onion service: ") and str(err).endswith(f"(Tor's {code:X})")


def test_a_hop_that_has_said_nothing_is_told_from_one_that_went_on_to_be_silent():
    for answer, unheard in ((b"", True), (b"HTTP/1.1", True), (b"\x05\x02", False), (b"\x05\x00", False)):
        kind = ProtocolError if answer[:1] == b"H" else ProxyClosed
        err, _, _ = refused(kind, v5.connect(Endpoint("x.example", 80), b"u", b"p"), answer)
        assert (err.stage == UNHEARD) == unheard
