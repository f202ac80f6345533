"""HTTP CONNECT, byte for byte."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.errors import (
    AuthenticationFailed,
    ProtocolError,
    ProxyClosed,
    Rejected,
    SocksError,
    Unencodable,
    to_oserror,
)
from pywrap.socks import http
from pywrap.socks.wire import Endpoint
from tests.support.play import Party, play, refused
from tests.support.strategies import noise

TARGET = Endpoint("example.org", 443)

ASK = b"CONNECT example.org:443 HTTP/1.1\r\n" + b"Host: example.org:443\r\n" + b"\r\n"
# "alice:secret" in base 64.
ASK_AS_ALICE = (
    b"CONNECT example.org:443 HTTP/1.1\r\n"
    + b"Host: example.org:443\r\n"
    + b"Proxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n"
    + b"\r\n"
)

SQUID = b"HTTP/1.1 200 Connection established\r\n" + b"\r\n"
TINYPROXY = b"HTTP/1.0 200 Connection established\r\n" + b"Proxy-agent: tinyproxy/1.11.1\r\n" + b"\r\n"

HEADS = [
    SQUID,
    TINYPROXY,
    b"HTTP/1.1 200\r\n" + b"\r\n",
    b"HTTP/1.1 200\n" + b"\n",
    b"HTTP/1.1 200 OK\n" + b"A: b\r\n" + b"\n",
    b"HTTP/1.1 200 OK\r\n" + b"A: b\n" + b"\r\n",
    b"HTTP/1.1 299 Anything\r\n" + b"Content-Length: 5\r\n" + b"\r\n",
    # Interim responses, any number of them (RFC 9110 section 15.2).
    b"HTTP/1.1 100 Continue\r\n" + b"\r\n" + SQUID,
    b"HTTP/1.1 103 Early Hints\r\n" + b"Link: </a>\r\n" + b"\r\n" + b"HTTP/1.1 199\n\n" + TINYPROXY,
    # A CR that ends no line.
    b"HTTP/1.1 200 OK\r\r\n" + b"A: \rb\n" + b"\r\n",
]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("after", [b"", b"SSH-2.0-server\r\n", b"\r\n\r\n", b"\n", b"H"])
def test_what_follows_the_head_is_left(head, after):
    bound, sent, rest = play(http.connect(TARGET), head + after)
    assert bound == Endpoint("0.0.0.0", 0)
    assert sent == [ASK]
    assert rest == after


@pytest.mark.parametrize("head", HEADS)
def test_a_head_one_byte_at_a_time(head):
    party = Party(http.connect(TARGET))
    party.hear(b"")
    for at in range(len(head)):
        assert not party.done
        party.hear(head[at : at + 1])
    assert party.done


@pytest.mark.parametrize(("head", "cut"), [(head, cut) for head in HEADS for cut in range(len(head))])
def test_the_proxy_hangs_up_anywhere(head, cut):
    refused(ProxyClosed, http.connect(TARGET), head[:cut])


@pytest.mark.parametrize(
    ("destination", "place"),
    [
        (Endpoint("192.0.2.1", 80), b"192.0.2.1:80"),
        (Endpoint("2001:db8::5", 443), b"[2001:db8::5]:443"),
        (Endpoint("fe80::1%eth0", 443), b"[fe80::1]:443"),
        (Endpoint("example.org", 65535), b"example.org:65535"),
    ],
)
def test_the_destination_as_a_url_has_it(destination, place):
    sent = play(http.connect(destination), SQUID).sent
    assert sent == [b"CONNECT " + place + b" HTTP/1.1\r\n" + b"Host: " + place + b"\r\n" + b"\r\n"]


def test_credentials_are_basic_authentication():
    assert play(http.connect(TARGET, b"alice", b"secret"), SQUID).sent == [ASK_AS_ALICE]
    (sent,) = play(http.connect(TARGET, b"\xc3\xbc" * 60), SQUID).sent
    assert sent.count(b"\n") == 4, "base 64 of any length is one line"


@pytest.mark.parametrize(
    "name",
    ["", "a b", "a\r\nX: y", "a\tb", "a\x7f", "a:80", "a/b", "a@b", "a?b", "a#b", "[a]", "bücher.example"],
)
def test_what_would_not_be_one_word_is_not_sent(name):
    err, sent, _ = refused(Unencodable, http.connect(Endpoint(name, 80)), b"")
    assert err.errno == errno.EINVAL
    assert sent == []


def test_a_username_with_a_colon_is_not_sent():
    _, sent, _ = refused(Unencodable, http.connect(TARGET, b"a:b", b"c"), b"")
    assert sent == []


@pytest.mark.parametrize(
    ("status", "number", "error", "text"),
    [
        (400, errno.ECONNREFUSED, ConnectionRefusedError, "HTTP status 400"),
        (401, errno.EACCES, PermissionError, "login"),
        (403, errno.EACCES, PermissionError, "not allowed by the proxy's rules (HTTP 403)"),
        (404, errno.EHOSTUNREACH, OSError, "host not found"),
        (405, errno.EOPNOTSUPP, OSError, "CONNECT not supported"),
        (500, errno.ECONNREFUSED, ConnectionRefusedError, "HTTP 500"),
        (502, errno.ECONNREFUSED, ConnectionRefusedError, "HTTP 502"),
        (503, errno.ECONNREFUSED, ConnectionRefusedError, "HTTP 503"),
        (504, errno.ETIMEDOUT, TimeoutError, "HTTP 504"),
        (302, errno.ECONNREFUSED, ConnectionRefusedError, "HTTP status 302"),
        (101, errno.ECONNREFUSED, ConnectionRefusedError, "HTTP status 101"),
    ],
)
def test_every_status_has_its_errno(status, number, error, text):
    err, _, _ = refused(Rejected, http.connect(TARGET), b"HTTP/1.1 %d Whatever\r\n" % status)
    assert (err.code, err.errno) == (status, number)
    assert type(to_oserror(err)) is error
    assert text in str(err)


@pytest.mark.parametrize(
    ("answer", "number", "text"),
    [
        # Squid 5.7.
        (
            b"HTTP/1.1 503 Service Unavailable\r\n"
            + b"Server: squid/5.7\r\n"
            + b"X-Squid-Error: ERR_CONNECT_FAIL 111\r\n"
            + b"\r\n",
            errno.ECONNREFUSED,
            "connection refused (HTTP 503, ERR_CONNECT_FAIL)",
        ),
        (
            b"HTTP/1.1 503 Service Unavailable\r\n" + b"x-squid-error:ERR_CONNECT_FAIL 101\r\n",
            errno.ENETUNREACH,
            "network unreachable (HTTP 503, ERR_CONNECT_FAIL)",
        ),
        (
            b"HTTP/1.1 503 Service Unavailable\n" + b"X-Squid-Error: ERR_CONNECT_FAIL 60\n" + b"\n",
            errno.ECONNREFUSED,
            "connection failed (HTTP 503, ERR_CONNECT_FAIL)",
        ),
        (
            b"HTTP/1.1 503 Service Unavailable\r\n" + b"X-Squid-Error: ERR_DNS_FAIL 0\r\n" + b"\r\n",
            errno.EHOSTUNREACH,
            "host not found by the proxy (HTTP 503, ERR_DNS_FAIL)",
        ),
        (
            b"HTTP/1.1 503 Service Unavailable\r\n" + b"X-Squid-Error: ERR_NEW 0\r\n" + b"\r\n",
            errno.ECONNREFUSED,
            "connection failed (HTTP 503)",
        ),
        # RFC 9209.
        (
            b"HTTP/1.1 502 Bad Gateway\r\n"
            + b"Proxy-Status: a.example; error=dns_error; rcode=NXDOMAIN\r\n\r\n",
            errno.EHOSTUNREACH,
            "host not found by the proxy (HTTP 502, dns_error)",
        ),
        (
            b"HTTP/1.1 502 Bad Gateway\r\n" + b"Proxy-Status: a;error=connection_refused, b\r\n\r\n",
            errno.ECONNREFUSED,
            "connection refused (HTTP 502, connection_refused)",
        ),
        # Ncat 7.93, of a port that refused.
        (b"HTTP/1.0 504 Gateway Timeout\r\n\r\n", errno.ECONNREFUSED, "connection failed (HTTP 504)"),
        # HAProxy.
        (
            b"HTTP/1.0 504 Gateway Time-out\r\n" + b"Cache-Control: no-cache\r\n\r\n",
            errno.ETIMEDOUT,
            "connection timed out (HTTP 504)",
        ),
    ],
)
def test_the_reason_is_in_the_head(answer, number, text):
    err, _, _ = refused(Rejected, http.connect(TARGET), answer)
    assert (err.errno, str(err)) == (number, text)


def test_a_refusal_without_an_end_stays_one():
    answer = b"HTTP/1.1 503 Service Unavailable\r\n" + b"X: y\r\n" * 4000
    err, _, _ = refused(Rejected, http.connect(TARGET), answer)
    assert str(err) == "connection failed (HTTP 503)"


def test_a_refusal_after_an_interim_response():
    answer = b"HTTP/1.1 102 Processing\r\n" + b"\r\n" + b"HTTP/1.1 403 Forbidden"
    err, _, _ = refused(Rejected, http.connect(TARGET), answer)
    assert err.code == 403


def test_what_follows_an_interim_response_is_a_head():
    answer = b"HTTP/1.1 100 Continue\r\n" + b"\r\n" + b"SSH-2.0-OpenSSH_9.2"
    err, _, _ = refused(ProtocolError, http.connect(TARGET), answer)
    assert str(err) == "not an HTTP proxy: it answers like an SSH server"


@pytest.mark.parametrize(
    ("login", "text"),
    [((), "no username was given"), ((b"alice", b"wrong"), "refused the username or the password")],
)
def test_407_is_about_the_login(login, text):
    err, _, _ = refused(AuthenticationFailed, http.connect(TARGET, *login), b"HTTP/1.1 407 Proxy Auth")
    assert err.errno == errno.EACCES
    assert text in str(err)
    assert "wrong" not in str(err)


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        (b"Proxy-Authenticate: NTLM\r\n", "asks for NTLM authentication, and only Basic"),
        (b"Via: a\r\nproxy-authenticate:Negotiate\r\n", "asks for Negotiate authentication, and only Basic"),
        (
            b"Proxy-Authenticate: Negotiate\r\nProxy-Authenticate: NTLM\r\n",
            "asks for Negotiate or NTLM authentication, and only Basic",
        ),
        (
            b'Proxy-Authenticate: Digest realm="Basic, a", nonce="x==", qop="auth,auth-int"\r\n',
            "asks for Digest authentication, and only Basic",
        ),
        (b'Proxy-Authenticate: Negotiate, BASIC realm="a"\r\n', "refused the username or the password"),
        (b"WWW-Authenticate: NTLM\r\n", "refused the username or the password"),
        (b"Proxy-Authenticate:\r\n", "refused the username or the password"),
        # The head is longer than any.
        (b"X: y\r\n" * http.LONGEST_HEAD, "refused the username or the password"),
    ],
)
@pytest.mark.parametrize("after", [b"\r\n", b"\r\n<html>", b""])
def test_407_is_about_what_the_proxy_asks_for(headers, after, text):
    answer = b"HTTP/1.1 407 Proxy Authentication Required\r\n" + headers + after
    err, _, rest = refused(AuthenticationFailed, http.connect(TARGET, b"alice", b"pw"), answer)
    assert text in str(err)


def test_401_is_about_a_login_that_was_given():
    err, _, _ = refused(
        AuthenticationFailed, http.connect(TARGET, b"alice", b"wrong"), b"HTTP/1.1 401 Unauthorized"
    )
    assert "refused the username or the password" in str(err)


@pytest.mark.parametrize(
    ("answer", "guess"),
    [
        (b"\x05\xff", "a SOCKS server"),
        (b"\x00\x5b", "a SOCKS server"),
        (b"SSH-2.0-OpenSSH_9.2", "an SSH server"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "a TLS server"),
        (b"220 mail.example.org", "starts with b'2'"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "starts with b'HTTP/2.0 200'"),
        (b"HTTP/1.1  200 OK\r\n\r\n", "starts with b'HTTP/1.1  20'"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "starts with b'HTTP/1.1 abc'"),
        (b"HELO mail.example.org\r\n", "starts with b'HELO mail.ex'"),
    ],
)
def test_what_is_not_http_is_guessed_aloud(answer, guess):
    err, _, _ = refused(ProtocolError, http.connect(TARGET), answer)
    assert "not an HTTP proxy" in str(err)
    assert guess in str(err)
    assert err.errno == errno.EPROTO


def test_a_head_without_end_is_given_up():
    endless = b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * http.LONGEST_HEAD
    err, _, rest = refused(ProtocolError, http.connect(TARGET), endless)
    assert "a head of more than" in str(err)
    assert len(endless) - len(rest) <= http.LONGEST_HEAD


def test_interim_responses_without_end_are_given_up():
    endless = (b"HTTP/1.1 100 Continue\r\n" + b"\r\n") * http.LONGEST_HEAD
    err, _, rest = refused(ProtocolError, http.connect(TARGET), endless)
    assert "a head of more than" in str(err)
    assert len(endless) - len(rest) <= http.LONGEST_HEAD + len(b"HTTP/1.1 100")


def test_the_assent_is_one():
    assert play(http.connect(TARGET), http.granting_reply() + b"!").rest == b"!"


lines = st.binary(min_size=1, max_size=40).filter(lambda line: b"\n" not in line and line != b"\r")


@given(st.lists(st.tuples(lines, st.sampled_from((b"\n", b"\r\n")))), st.sampled_from((b"\n", b"\r\n")))
def test_a_head_of_any_lines_leaves_what_follows(headers, empty):
    head = b"HTTP/1.1 200 OK\r\n" + b"".join(line + end for line, end in headers) + empty
    assert play(http.connect(TARGET), head + b"\r\n!\n\n").rest == b"\r\n!\n\n"


@given(noise(b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 502", b"H"))
def test_noise_is_understood_or_refused(data):
    try:
        _, _, rest = play(http.connect(TARGET), data)
    except SocksError as err:
        assert err.errno
    else:
        taken = data[: len(data) - len(rest)]
        assert play(http.connect(TARGET), taken).rest == b""
