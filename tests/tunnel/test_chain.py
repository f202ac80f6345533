"""Chains as dialogues: what is sent to which hop, and what an error says."""

from __future__ import annotations

import errno

import pytest

from pywrap.config.settings import Proxy
from pywrap.errors import UNHEARD, ProxyClosed, Rejected, SocksError, Unencodable
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint
from pywrap.tunnel.chain import handshake
from tests.support.play import play

ONE = Proxy("socks5h", "192.0.2.1", 1080)
TWO = Proxy("socks4a", "two.example", 1081, b"me")
THREE = Proxy("socks5h", "three.example", 1082, b"user", b"pass")
TARGET = Endpoint("example.org", 443)

OK_5 = b"\x05\x00" + b"\x05\x00\x00\x01" + b"\x00\x00\x00\x00" + b"\x00\x00"
OK_5_WITH_PASSWORD = b"\x05\x02" + b"\x01\x00" + b"\x05\x00\x00\x01" + b"\x0a\x00\x00\x07" + b"\x1f\x90"
OK_4 = b"\x00\x5a" + b"\x00\x00" + b"\x00\x00\x00\x00"


def failure(chain, heard):
    with pytest.raises(SocksError) as caught:
        play(handshake(chain, TARGET), heard)
    return caught.value


def test_each_hop_is_asked_for_the_next_and_the_last_for_the_destination():
    bound, sent, rest = play(
        handshake((ONE, TWO, THREE), TARGET), OK_5 + OK_4 + OK_5_WITH_PASSWORD + b"SSH-2.0"
    )
    assert b"".join(sent) == (
        b"\x05\x01\x00"
        + (b"\x05\x01\x00\x03" + b"\x0btwo.example" + b"\x04\x39")
        + (b"\x04\x01" + b"\x04\x3a" + b"\x00\x00\x00\x01" + b"me\x00" + b"three.example\x00")
        + (b"\x05\x02\x00\x02" + b"\x01\x04user\x04pass")
        + (b"\x05\x01\x00\x03" + b"\x0bexample.org" + b"\x01\xbb")
    )
    assert bound == Endpoint("10.0.0.7", 8080)
    assert rest == b"SSH-2.0"


def test_a_refusal_names_the_hop_the_reply_and_what_was_asked():
    err = failure((ONE, TWO, THREE), OK_5 + OK_4 + b"\x05\x02" + b"\x01\x00" + b"\x05\x05")
    assert isinstance(err, Rejected)
    assert err.errno == errno.ECONNREFUSED
    assert str(err) == (
        "hop 3 of 3, proxy three.example:1082: connection refused (asked for example.org:443)"
    )


def test_a_refusal_in_the_middle_is_about_the_next_hop():
    err = failure((ONE, TWO, THREE), OK_5 + b"\x00\x5b")
    assert str(err) == (
        "hop 2 of 3, proxy two.example:1081: rejected or failed, as without 4a every name is: try socks5h"
        + " (asked for three.example:1082)"
    )


@pytest.mark.parametrize(
    ("host", "hint"),
    [
        (
            "example.org",
            "; `--dns tcp://HOST` or `--dns local` give it addresses instead of names; "
            "i2pd says so of names that are not below .i2p",
        ),
        ("example.onion", "; a name that has no address: only Tor reaches it"),
        ("2001:db8::1", "; an IPv6 address: `--dns remote` gives it names instead"),
        ("192.0.2.7", "; an IPv4 address: `--dns remote` gives it names instead"),
    ],
)
def test_a_kind_of_address_that_the_last_hop_does_not_know_comes_with_a_hint(host, hint):
    with pytest.raises(Rejected) as caught:
        play(handshake((ONE,), Endpoint(host, 443)), b"\x05\x00" + b"\x05\x08")
    asked = f"[{host}]:443" if ":" in host else f"{host}:443"
    assert str(caught.value) == (
        f"proxy 192.0.2.1:1080: address type not supported by the proxy (asked for {asked}{hint})"
    )
    # A hop is not looked up by --dns, and UDP is asked for without an address.
    assert "--dns" not in str(failure((ONE, TWO), b"\x05\x00" + b"\x05\x08"))
    with pytest.raises(Rejected) as caught:
        play(handshake((ONE,), TARGET, v5.UDP_ASSOCIATE), b"\x05\x00" + b"\x05\x08")
    assert "--dns" not in str(caught.value)


def test_a_single_proxy_is_not_numbered():
    assert str(failure((ONE,), b"\x05\x00" + b"\x05\x04")) == (
        "proxy 192.0.2.1:1080: host unreachable (asked for example.org:443)"
    )


@pytest.mark.parametrize("heard", [b"", b"\x05", b"HTTP/1.0 502 "])
def test_a_hop_that_was_not_heard_may_not_have_been_reached(heard):
    err = failure((ONE, THREE), OK_5 + heard)
    assert err.stage == UNHEARD and (err.failure.hop, err.failure.blamed) == (THREE, THREE)
    assert str(err).startswith("hop 2 of 2, proxy three.example:1082: ")
    assert str(err).endswith(
        "(asked for example.org:443; or hop 1 of 2, proxy 192.0.2.1:1080, granted a connection to it that it"
        + " does not have)"
    )


@pytest.mark.parametrize("heard", [b"\x05\x02", b"\x05\x02" + b"\x01\x00"])
def test_a_hop_that_was_heard_has_been_reached(heard):
    err = failure((ONE, THREE), OK_5 + heard)
    assert err.stage != UNHEARD
    assert str(err).endswith("(asked for example.org:443)")


def test_a_hop_that_hangs_up_is_named():
    dialogue = handshake((ONE, TWO), TARGET)
    next(dialogue)
    with pytest.raises(ProxyClosed, match="^hop 1 of 2, proxy 192.0.2.1:1080: gone"):
        dialogue.throw(ProxyClosed("gone"))


def test_the_password_is_in_no_message():
    for heard in (OK_5 + OK_4 + b"\x05\x02" + b"\x01\x01", OK_5 + OK_4 + b"HTTP"):
        assert "pass" not in str(failure((ONE, TWO, THREE), heard)).replace("password", "")


def test_what_a_hop_cannot_be_asked_for_is_its_error():
    plain = Proxy("socks4", "192.0.2.4", 1080)
    err = failure((ONE, plain), OK_5)
    assert isinstance(err, Unencodable)
    assert str(err).startswith("hop 2 of 2, proxy 192.0.2.4:1080: SOCKS4 carries no names: example.org")


NAME = b"\x05\x00" + b"\x05\x00\x00\x03" + b"\x0bexample.org" + b"\x00\x00"


def test_the_last_hop_looks_names_up():
    dialogue = handshake((ONE, TWO), Endpoint("example.org", 0), v5.RESOLVE)
    found, sent, _ = play(dialogue, OK_5 + b"\x00\x5a" + b"\x00\x00" + b"\xc0\x00\x02\x07")
    assert found.host == "192.0.2.7"
    assert sent[-1] == b"\x04\xf0" + b"\x00\x00" + b"\x00\x00\x00\x01" + b"me\x00" + b"example.org\x00"
    found, sent, _ = play(handshake((ONE,), Endpoint("192.0.2.7", 0), v5.RESOLVE_PTR), NAME)
    assert found.host == "example.org"
    assert sent[-1] == b"\x05\xf1\x00\x01" + b"\xc0\x00\x02\x07" + b"\x00\x00"


@pytest.mark.parametrize(
    ("scheme", "command", "text"),
    [
        ("http", v5.RESOLVE, "HTTP CONNECT has no RESOLVE (asked to resolve example.org)"),
        ("raw", v5.RESOLVE, "a raw hop has no RESOLVE (asked to resolve example.org)"),
        ("socks4a", v5.RESOLVE_PTR, "SOCKS4 has no RESOLVE_PTR (asked for the name of example.org)"),
        ("http", v5.UDP_ASSOCIATE, "HTTP CONNECT has no UDP (asked for UDP)"),
        ("raw", v5.BIND, "a raw hop has no BIND (asked to BIND for example.org:0)"),
    ],
)
def test_what_a_protocol_has_no_words_for(scheme, command, text):
    hop = Proxy(scheme, "192.0.2.4", 1080)
    with pytest.raises(Unencodable) as caught:
        play(handshake((hop,), Endpoint("example.org", 0), command), b"")
    assert str(caught.value) == f"proxy 192.0.2.4:1080: {text}"
    assert caught.value.errno == errno.EOPNOTSUPP
