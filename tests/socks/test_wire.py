"""The parts that messages are made of."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.socks.wire import Endpoint, Recv, Send, packed, unpacked, with_plain_address


def test_a_send_is_its_bytes_and_a_recv_its_size():
    assert Send(b"\x05\x01\x00") == b"\x05\x01\x00"
    assert Recv(4) == 4
    assert not isinstance(Recv(4), Send)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", b"\x7f\x00\x00\x01"),
        ("0.0.0.0", b"\x00\x00\x00\x00"),
        ("::", b"\x00" * 16),
        ("::1", b"\x00" * 15 + b"\x01"),
        ("2001:db8::5", b"\x20\x01\x0d\xb8" + b"\x00" * 11 + b"\x05"),
        ("::ffff:192.0.2.1", b"\x00" * 10 + b"\xff\xff" + b"\xc0\x00\x02\x01"),
    ],
)
def test_literals_become_their_bytes_and_come_back(host, address):
    assert packed(host) == address
    assert unpacked(address) == host


@pytest.mark.parametrize(
    "name",
    [
        "example.org",
        "localhost",
        "",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "127.1",
        "0x7f000001",
        "1.2.3.4 ",
        ":",
    ],
)
def test_what_is_not_a_whole_literal_is_a_name(name):
    assert packed(name) is None


@pytest.mark.parametrize("name", ["127.0.0.1\0", "::1\0.example.org", "\udc80", "::\udc80"])
def test_names_that_inet_pton_chokes_on_are_names(name):
    assert packed(name) is None


def test_the_zone_of_a_link_local_address_is_left_out():
    """``%eth0`` means an interface of this machine: no message has room for it."""
    assert packed("fe80::1%eth0") == packed("fe80::1")


@given(st.ip_addresses())
def test_every_address_survives(address):
    assert packed(str(address)) == address.packed
    assert ipaddress.ip_address(unpacked(address.packed)) == address


@given(st.text())
def test_any_text_is_4_bytes_or_16_or_a_name(text):
    address = packed(text)
    assert address is None or len(address) in (4, 16)


def test_endpoints_are_written_as_urls_write_them():
    assert str(Endpoint("example.org", 443)) == "example.org:443"
    assert str(Endpoint("192.0.2.1", 80)) == "192.0.2.1:80"
    assert str(Endpoint("2001:db8::5", 80)) == "[2001:db8::5]:80"


@pytest.mark.parametrize(
    "host, address",
    [
        ("[::1]", "::1"),
        ("127.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("0177.0.0.1", "127.0.0.1"),
        ("2130706433", "127.0.0.1"),
        ("0", "0.0.0.0"),
        ("::ffff:7f00:1", "::ffff:127.0.0.1"),
        ("0:0:0:0:0:FFFF:127.0.0.1", "::ffff:127.0.0.1"),
        ("[::ffff:7f00:1]", "::ffff:127.0.0.1"),
        ("::ffff:7f00:1%lo", "::ffff:127.0.0.1"),
        ("FE80:0::1%eth0", "fe80::1%eth0"),
    ],
)
def test_an_address_in_another_spelling_is_that_address(host, address):
    assert with_plain_address(Endpoint(host, 80)) == Endpoint(address, 80)


@pytest.mark.parametrize(
    "host",
    [
        "example.org",
        "1.de",
        "0x",
        "0xg",
        "256.1",
        "1.2.3.4.5",
        "127.1 x",
        "127.0.0.1.",
        "[x]",
        "[1]",
        "1::2",
        "",
    ],
)
def test_what_spells_no_address_stays_what_it_is(host):
    assert with_plain_address(Endpoint(host, 80)) == Endpoint(host, 80)
