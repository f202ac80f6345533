"""A channel: which address of the program's a datagram from the relay comes from."""

from __future__ import annotations

import _socket

import pytest

from pywrap.intercept.udp import channel as channels
from pywrap.intercept.udp.channel import Channel, relay_address
from pywrap.socks.datagram import pack_header
from pywrap.socks.wire import Endpoint

NAME = Endpoint("example.org", 53)
PLACEHOLDER = ("198.18.0.1", 53)
LITERAL = Endpoint("192.0.2.1", 53)
OTHER = Endpoint("192.0.2.2", 53)


class Association:
    """Through one proxy: nothing stands before the header."""

    prefix = b""

    def unwrap(self, data: bytes) -> int:
        return 0


def channel(ipv6: bool = False, *destinations: tuple[Endpoint, tuple[object, ...]]) -> Channel:
    """A channel that the program has sent to ``destinations`` by."""
    made = Channel("", ipv6, is_from_beyond=lambda endpoint: endpoint.host != "127.0.0.1")
    made.association = Association()  # type: ignore[assignment]
    for destination, address in destinations:
        made.expect(destination, pack_header(destination), address)
    return made


def received(by: Channel, source: Endpoint, payload: bytes = b"x", **how: object) -> object:
    return by.unwrap(pack_header(source) + payload, how.pop("peer", None), **how)  # type: ignore[arg-type]


def test_an_answer_comes_from_the_address_that_was_sent_to():
    by = channel(False, (LITERAL, ("192.0.2.1", 53)))
    assert received(by, LITERAL) == (b"x", ("192.0.2.1", 53))


def test_an_answer_from_the_port_of_a_name_comes_from_the_name():
    by = channel(False, (NAME, PLACEHOLDER))
    assert received(by, LITERAL) == (b"x", PLACEHOLDER)
    # A name may have more addresses than one, and only the proxy knows them.
    assert received(by, OTHER) == (b"x", PLACEHOLDER)


def test_a_literal_that_was_not_sent_to_is_itself():
    by = channel(False, (LITERAL, ("192.0.2.1", 53)))
    assert received(by, OTHER) == (b"x", ("192.0.2.2", 53))


def test_an_address_that_cannot_be_beyond_the_chain_is_no_source():
    assert received(channel(), Endpoint("127.0.0.1", 53)) is None


def test_a_connected_socket_takes_datagrams_of_its_peer_alone():
    by = channel(False, (LITERAL, ("192.0.2.1", 53)))
    assert received(by, LITERAL, peer=("192.0.2.1", 53)) == (b"x", ("192.0.2.1", 53))
    assert received(by, OTHER, peer=("192.0.2.1", 53)) is None


def test_two_names_at_one_port_need_two_channels():
    by = channel(False, (NAME, PLACEHOLDER))
    other = Endpoint("example.net", 53)
    assert by.takes(NAME, pack_header(NAME), PLACEHOLDER)
    assert not by.takes(other, pack_header(other), ("198.18.0.2", 53))
    assert not by.takes(LITERAL, pack_header(LITERAL), ("192.0.2.1", 53))
    assert by.takes(Endpoint("example.net", 54), b"", ("198.18.0.2", 54))


@pytest.mark.parametrize("host", ["192.0.2.1", "::ffff:192.0.2.1"])
def test_a_source_is_written_in_the_family_of_the_program(host):
    assert received(channel(True), Endpoint("192.0.2.1", 53)) == (b"x", ("::ffff:192.0.2.1", 53, 0, 0))
    mapped = b"\0\0\0\4" + _socket.inet_pton(_socket.AF_INET6, "::ffff:192.0.2.1") + b"\0\x35x"
    assert channel(False).unwrap(mapped, None) == (b"x", ("192.0.2.1", 53))


def test_an_ipv4_socket_has_no_ipv6_sources():
    assert received(channel(False), Endpoint("2001:db8::1", 53)) is None
    assert received(channel(True), Endpoint("2001:db8::1", 53)) == (b"x", ("2001:db8::1", 53, 0, 0))


def test_fragments_are_put_together_and_peeking_does_not_use_them_up():
    by = channel()
    first, last = (b"\0\0" + number + pack_header(LITERAL)[3:] + data for number, data in PARTS)
    assert by.unwrap(first, None) is None
    whole = (b"abcd", ("192.0.2.1", 53))
    assert by.unwrap(last, None, peek=True) == whole
    assert by.unwrap(last, None) == whole


PARTS = ((b"\x01", b"ab"), (b"\x82", b"cd"))


@pytest.mark.parametrize("data", [b"", b"\0\0\0", b"\0\0\0\x09rest", b"\0\0\0\1\xc0\0"])
def test_what_is_no_datagram_of_a_relay_is_dropped(data):
    assert channel().unwrap(data, None) is None


def test_without_an_association_nothing_is_taken():
    assert Channel("", False, lambda _: True).unwrap(pack_header(LITERAL) + b"x", None) is None


def test_sources_are_forgotten_before_there_are_too_many(monkeypatch):
    monkeypatch.setattr(channels, "_SOURCES", 8)
    by = channel(False, (LITERAL, ("192.0.2.1", 53)))
    for number in range(100):
        assert received(by, Endpoint(f"198.51.100.{number}", 53)) is not None
        assert len(by._answers) <= 8


def test_the_address_of_a_relay_is_written_in_the_family_of_the_socket():
    relay = Endpoint("192.0.2.1", 1080)
    assert relay_address(relay, _socket.AF_INET) == ("192.0.2.1", 1080)
    assert relay_address(relay, _socket.AF_INET6) == ("::ffff:192.0.2.1", 1080, 0, 0)
