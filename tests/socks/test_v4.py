"""SOCKS4 and 4a messages, byte for byte."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.errors import ProtocolError, ProxyClosed, Rejected, SocksError, Unencodable, to_oserror
from pywrap.socks import v4
from pywrap.socks.wire import Endpoint
from tests.support.play import play, refused
from tests.support.strategies import endpoints, ipv4, ipv6, names, noise, userids

# +----+----+----+----+----+----+----+----+----+----+....+----+
# | VN | CD | DSTPORT |      DSTIP        | USERID       |NULL|
# +----+----+----+----+----+----+----+----+----+----+....+----+
ASK = b"\x04\x01" + b"\x01\xbb" + b"\xc0\x00\x02\x01" + b"\x00"
ASK_AS_ALICE = b"\x04\x01" + b"\x01\xbb" + b"\xc0\x00\x02\x01" + b"alice\x00"
# 4a: an impossible address, and the name behind the user id.
ASK_NAME = b"\x04\x01" + b"\x01\xbb" + b"\x00\x00\x00\x01" + b"alice\x00" + b"example.org\x00"

# +----+----+----+----+----+----+----+----+
# | VN | CD | DSTPORT |      DSTIP        |
# +----+----+----+----+----+----+----+----+
OK = b"\x00\x5a" + b"\x04\x38" + b"\xc0\x00\x02\x07"
OK_NOWHERE = b"\x00\x5a" + b"\x00\x00" + b"\x00\x00\x00\x00"

REQUESTS = [
    (Endpoint("192.0.2.1", 443), b"", ASK),
    (Endpoint("192.0.2.1", 443), b"alice", ASK_AS_ALICE),
    (Endpoint("example.org", 443), b"alice", ASK_NAME),
]


# ---------------------------------------------------------------- the client's half


@pytest.mark.parametrize(("destination", "userid", "request_"), REQUESTS)
def test_connect(destination, userid, request_):
    bound, sent, rest = play(v4.connect(destination, userid), OK + b"SSH-2.0-server")
    assert bound == Endpoint("192.0.2.7", 1080)
    assert sent == [request_]
    assert rest == b"SSH-2.0-server"


def test_no_user_id_is_an_empty_one():
    assert play(v4.connect(Endpoint("192.0.2.1", 443)), OK).sent == [ASK]


def test_a_name_is_resolved():
    answer, sent, rest = play(v4.resolve("example.org", b"alice"), OK + b"!")
    assert answer.host == "192.0.2.7"
    assert sent == [b"\x04\xf0" + b"\x00\x00" + b"\x00\x00\x00\x01" + b"alice\x00" + b"example.org\x00"]
    assert rest == b"!"


@pytest.mark.parametrize("cut", range(len(OK)))
def test_the_proxy_hangs_up_anywhere(cut):
    refused(ProxyClosed, v4.connect(Endpoint("192.0.2.1", 443)), OK[:cut])


def test_a_reply_may_say_nothing_of_the_address():
    assert play(v4.read_reply(), OK_NOWHERE + b"!") == (Endpoint("0.0.0.0", 0), [], b"!")


@pytest.mark.parametrize(
    ("code", "text", "number", "error"),
    [
        (91, "rejected or failed", errno.ECONNREFUSED, ConnectionRefusedError),
        (92, "cannot reach our identd", errno.EACCES, PermissionError),
        (93, "another user", errno.EACCES, PermissionError),
        (0, "unassigned reply code 0", errno.ECONNREFUSED, ConnectionRefusedError),
        (89, "unassigned reply code 89", errno.ECONNREFUSED, ConnectionRefusedError),
        (94, "unassigned reply code 94", errno.ECONNREFUSED, ConnectionRefusedError),
        (255, "unassigned reply code 255", errno.ECONNREFUSED, ConnectionRefusedError),
    ],
)
def test_every_reply_code_has_its_errno(code, text, number, error):
    # Two bytes are enough, as with SOCKS5: what follows a refusal says nothing.
    err, _, _ = refused(Rejected, v4.read_reply(), bytes([0, code]))
    assert (err.code, err.errno) == (code, number)
    assert type(to_oserror(err)) is error
    assert text in str(err)


@pytest.mark.parametrize(
    ("answer", "guess"),
    [
        (b"HTTP/1.1 400 Bad Request", "an HTTP server"),
        (b"SSH-2.0-OpenSSH_9.2", "an SSH server"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "a TLS server"),
        (b"\x05\xff", "version 5"),
        (b"\x04\x5a" + OK[2:], "version 4"),
        (b"220 mail.example.org", "starts with b'22'"),
    ],
)
def test_what_is_not_socks4_is_guessed_aloud(answer, guess):
    err, _, _ = refused(ProtocolError, v4.connect(Endpoint("192.0.2.1", 443)), answer)
    assert guess in str(err)
    assert "SOCKS4" in str(err)
    assert err.errno == errno.EPROTO


def test_without_4a_a_name_is_not_sent():
    err, sent, _ = refused(Unencodable, v4.connect(Endpoint("example.org", 443), names=False), b"")
    assert "socks4a" in str(err)
    assert sent == []


def test_ipv6_is_not_sent():
    err, sent, _ = refused(Unencodable, v4.connect(Endpoint("2001:db8::5", 443)), b"")
    assert "IPv6" in str(err)
    assert err.errno == errno.EAFNOSUPPORT
    assert sent == []


@pytest.mark.parametrize("last", [1, 2, 255])
def test_an_address_that_would_announce_a_name_is_not_sent(last):
    _, sent, _ = refused(Unencodable, v4.connect(Endpoint(f"0.0.0.{last}", 443)), b"")
    assert sent == []


def test_address_0_announces_no_name():
    assert v4.pack_request(v4.CONNECT, Endpoint("0.0.0.0", 443), b"") == (
        b"\x04\x01" + b"\x01\xbb" + b"\x00\x00\x00\x00" + b"\x00"
    )


@pytest.mark.parametrize("length", [1, 255])
def test_names_of_every_length_fit(length):
    assert v4.pack_request(v4.CONNECT, Endpoint("n" * length, 80), b"") == (
        b"\x04\x01" + b"\x00\x50" + b"\x00\x00\x00\x01" + b"\x00" + b"n" * length + b"\x00"
    )


@pytest.mark.parametrize("name", ["", "n" * 256, "a\0b", "bücher.example"])
def test_what_is_no_name_is_not_sent(name):
    err, sent, _ = refused(Unencodable, v4.connect(Endpoint(name, 80)), b"")
    assert err.errno == errno.EINVAL
    assert sent == []


@pytest.mark.parametrize("userid", [b"u" * 256, b"a\0b", b"\0"])
def test_a_user_id_that_does_not_fit_is_not_sent(userid):
    err, sent, _ = refused(Unencodable, v4.connect(Endpoint("192.0.2.1", 80), userid), b"")
    assert err.errno == errno.EINVAL
    assert sent == []


def test_the_longest_user_id_fits():
    assert v4.pack_request(v4.BIND, Endpoint("192.0.2.1", 80), b"u" * 255) == (
        b"\x04\x02" + b"\x00\x50" + b"\xc0\x00\x02\x01" + b"u" * 255 + b"\x00"
    )


# ---------------------------------------------------------------- the server's half


@pytest.mark.parametrize(("destination", "userid", "request_"), REQUESTS)
def test_a_request_leaves_what_follows(destination, userid, request_):
    asked, sent, rest = play(v4.receive_request(), request_[1:] + b"GET / HTTP/1.1")
    assert asked == (v4.CONNECT, destination, userid)
    assert sent == []
    assert rest == b"GET / HTTP/1.1"


@pytest.mark.parametrize(
    ("request_", "cut"), [(request, cut) for _, _, request in REQUESTS for cut in range(1, len(request))]
)
def test_a_request_is_cut_off_anywhere(request_, cut):
    refused(ProxyClosed, v4.receive_request(), request_[1:cut])


def test_a_request_for_address_0_has_no_name():
    request = b"\x01" + b"\x01\xbb" + b"\x00\x00\x00\x00" + b"\x00"
    assert play(v4.receive_request(), request + b"name\x00") == (
        (1, Endpoint("0.0.0.0", 443), b""),
        [],
        b"name\x00",
    )


@pytest.mark.parametrize("last", [1, 7, 255])
def test_any_impossible_address_announces_a_name(last):
    request = b"\x01" + b"\x00\x50" + bytes([0, 0, 0, last]) + b"\x00" + b"example.org\x00"
    assert play(v4.receive_request(), request).result == (1, Endpoint("example.org", 80), b"")


@pytest.mark.parametrize("length", [0, 1, 255])
def test_texts_of_every_length_are_read(length):
    request = b"\x01" + b"\x00\x50" + b"\x00\x00\x00\x01" + b"u" * length + b"\x00" + b"n" * 255 + b"\x00"
    assert play(v4.receive_request(), request + b"!") == (
        (1, Endpoint("n" * 255, 80), b"u" * length),
        [],
        b"!",
    )


@pytest.mark.parametrize("texts", [b"u" * 256, b"\x00" + b"n" * 256])
def test_a_text_without_end_is_not_collected_for_ever(texts):
    request = b"\x01" + b"\x00\x50" + b"\x00\x00\x00\x01" + texts
    err, _, rest = refused(Rejected, v4.receive_request(), request + b"more")
    assert err.code == v4.REJECTED
    assert rest == b"more"


def test_a_request_for_an_empty_name_is_rejected():
    request = b"\x01" + b"\x00\x50" + b"\x00\x00\x00\x01" + b"\x00" + b"\x00"
    err, _, _ = refused(Rejected, v4.receive_request(), request)
    assert err.code == v4.REJECTED


def test_bytes_in_a_name_that_are_not_ascii_stay_visible():
    request = b"\x01" + b"\x00\x50" + b"\x00\x00\x00\x01" + b"\x00" + b"\xffabc\x00"
    assert play(v4.receive_request(), request).result[1] == Endpoint("\\xffabc", 80)


@pytest.mark.parametrize("host", ["2001:db8::7", "example.org"])
def test_a_reply_has_no_room_for_anything_but_ipv4(host):
    assert v4.pack_reply(v4.GRANTED, Endpoint(host, 1080)) == (
        b"\x00\x5a" + b"\x04\x38" + b"\x00\x00\x00\x00"
    )


def test_replies():
    assert v4.pack_reply(v4.GRANTED, Endpoint("192.0.2.7", 1080)) == OK
    assert v4.pack_reply(v4.REJECTED) == b"\x00\x5b" + b"\x00\x00" + b"\x00\x00\x00\x00"


# ---------------------------------------------------------------- fuzz

# 0.0.0.x is the one kind of address that SOCKS4 cannot carry.
sendable = endpoints(ipv4.filter(lambda host: not host.startswith("0.0.0.")), names)


@given(sendable, userids, st.binary())
def test_requests_survive(destination, userid, after):
    request = v4.pack_request(v4.CONNECT, destination, userid)
    assert play(v4.receive_request(), request[1:] + after) == ((1, destination, userid), [], after)


@given(endpoints(ipv6), st.booleans())
def test_no_ipv6_address_slips_through(destination, with_names):
    with pytest.raises(Unencodable):
        v4.pack_request(v4.CONNECT, destination, b"", with_names)


@given(endpoints(ipv4), st.binary())
def test_replies_survive(bound, after):
    assert play(v4.read_reply(), v4.pack_reply(v4.GRANTED, bound) + after) == (bound, [], after)


@pytest.mark.parametrize("dialogue", [v4.read_reply, v4.receive_request])
@given(data=noise(b"\x00\x5a", b"\x01\x00\x50" + b"\x00\x00\x00\x01"))
def test_noise_is_understood_or_refused(dialogue, data):
    """Nothing but a ``SocksError`` comes out of it, and nothing is read that is not used."""
    try:
        _, _, rest = play(dialogue(), data)
    except SocksError as err:
        assert err.errno
    else:
        taken = data[: len(data) - len(rest)]
        assert play(dialogue(), taken).rest == b""
        assert data == taken + rest


def test_a_proxy_without_4a_refuses_every_name():
    # Dante 1.4.2 takes the announcement of a name for an address to connect to.
    for host, hint in (("example.org", True), ("192.0.2.1", False)):
        err, _, _ = refused(Rejected, v4.connect(Endpoint(host, 80)), b"\x00\x5b" + bytes(6))
        assert str(err).endswith("try socks5h") == hint
        assert err.errno == errno.ECONNREFUSED
