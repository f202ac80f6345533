"""RFC 1961's messages, with a security context that can be read."""

from __future__ import annotations

import pytest

from pywrap.errors import AuthenticationFailed, ProtocolError, ProxyClosed
from pywrap.socks.gssapi import (
    CONFIDENTIALITY,
    INTEGRITY,
    NONE,
    SELECTIVE,
    Encapsulation,
    accept,
    initiate,
    pack,
)
from tests.support.play import converse, play, refused

ALL = (NONE, INTEGRITY, CONFIDENTIALITY, SELECTIVE)


class Context:
    """Needs one token each way; wraps with a letter for what kind it is."""

    peer = b"alice@TEST"

    def __init__(self, first=b"", bad=b""):
        self._tokens = [first] if first else []
        self._bad = bad
        self.is_complete = False

    def step(self, token):
        if not token:
            return b"hello"
        if token == self._bad:
            raise AuthenticationFailed("no")
        self.is_complete = True
        return b"welcome" if token == b"hello" else b""

    def wrap(self, data, secret):
        return (b"S" if secret else b"I") + data

    def unwrap(self, token):
        if token[:1] not in (b"S", b"I"):
            raise ProtocolError("broken")
        return token[1:], token[:1] == b"S"


HELLO = b"\x01\x01" + b"\x00\x05" + b"hello"
WELCOME = b"\x01\x01" + b"\x00\x07" + b"welcome"


def level(number, wrapped=b"I"):
    return b"\x01\x02" + (1 + len(wrapped)).to_bytes(2, "big") + wrapped + bytes([number])


@pytest.mark.parametrize("number", ALL)
def test_the_messages(number):
    said = HELLO + level(number)
    assert play(accept(Context(), ALL), said + b"rest") == (number, [WELCOME, level(number)], b"rest")
    said = WELCOME + level(number)
    assert play(initiate(Context(), number), said + b"rest") == (number, [HELLO, level(number)], b"rest")


@pytest.mark.parametrize("piece", [1, 3, 1000])
def test_both_ends_understand_each_other(piece):
    assert converse(initiate(Context(), 2), accept(Context(), ALL), piece) == (2, 2)


def test_the_octet_of_nec_is_not_wrapped():
    said = HELLO + level(NONE, b"")
    assert play(accept(Context(), ALL), said) == (NONE, [WELCOME, level(NONE, b"")], b"")


@pytest.mark.parametrize("cut", range(len(HELLO + level(2))))
def test_a_client_hangs_up_anywhere(cut):
    refused(ProxyClosed, accept(Context(), ALL), (HELLO + level(2))[:cut])


@pytest.mark.parametrize(
    "said, error, last",
    [
        (b"\x01\x01" + b"\x00\x03" + b"bad", AuthenticationFailed, b"\x01\xff"),
        (HELLO + level(1), AuthenticationFailed, b"\x01\xff"),
        (HELLO + level(9), AuthenticationFailed, b"\x01\xff"),
        (HELLO + b"\x01\x02" + b"\x00\x03" + b"I\x02\x02", AuthenticationFailed, b"\x01\xff"),
        (HELLO + b"\x01\xff", AuthenticationFailed, WELCOME),
        (b"\x01\xff", AuthenticationFailed, None),
        (b"\x02\x01\x00\x00", ProtocolError, None),
        (b"\x01\x03\x00\x00", ProtocolError, None),
    ],
)
def test_what_a_server_refuses(said, error, last):
    _, sent, _ = refused(error, accept(Context(bad=b"bad"), (CONFIDENTIALITY,)), said)
    assert sent[-1:] == ([last] if last else [])


@pytest.mark.parametrize("said", [WELCOME + level(1), b"\x01\xff", WELCOME + b"\x01\xff"])
def test_a_client_does_not_take_less_than_it_asked_for(said):
    refused(AuthenticationFailed, initiate(Context(), CONFIDENTIALITY), said)


def test_everything_after_it_is_in_messages():
    sender, receiver = Encapsulation(Context(), CONFIDENTIALITY), Encapsulation(Context(), CONFIDENTIALITY)
    assert sender.encode(b"data") == b"\x01\x03" + b"\x00\x05" + b"Sdata"
    data = bytes(range(256)) * 1000
    message = sender.encode(data)
    got = b"".join(receiver.decode(message[start : start + 777]) for start in range(0, len(message), 777))
    assert got == data
    assert receiver.decode(sender.encode(b"a") + sender.encode(b"b")[:3]) == b"a"


@pytest.mark.parametrize(
    "agreed, message",
    [
        (CONFIDENTIALITY, pack(3, b"Iplain")),
        (CONFIDENTIALITY, pack(2, b"Sdata")),
        (INTEGRITY, pack(3, b"broken")),
        (INTEGRITY, b"GET / HTTP/1.1\r\n"),
    ],
)
def test_messages_that_are_not_taken(agreed, message):
    with pytest.raises(ProtocolError):
        Encapsulation(Context(), agreed).decode(message)


@pytest.mark.parametrize("agreed, wrapped", [(INTEGRITY, b"I"), (SELECTIVE, b"S")])
def test_what_is_not_secret_is_said_so(agreed, wrapped):
    codec = Encapsulation(Context(), agreed)
    assert codec.encode_one(b"x") == pack(3, wrapped + b"x")
    assert codec.decode_one(pack(3, b"Iplain")) == b"plain"
    with pytest.raises(ProtocolError):
        codec.decode_one(pack(3, b"Iplain") + b"more")
