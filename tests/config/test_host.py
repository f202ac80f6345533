import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.config.host import is_address, parse_host, parse_network, parse_port
from pywrap.errors import ConfigError


@pytest.mark.parametrize(
    "text, host",
    [
        ("127.0.0.1", "127.0.0.1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.1"),
        ("localhost", "localhost"),
        ("Proxy.Example", "proxy.example"),
        ("proxy.example.", "proxy.example."),
        ("my_proxy-1", "my_proxy-1"),
        ("3proxy", "3proxy"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("bücher。example", "xn--bcher-kva.example"),
        # Full-width digits: IDNA maps them, and what comes out is an address.
        ("１２７.0.0.1", "127.0.0.1"),
        ("a" * 63 + ".example", "a" * 63 + ".example"),
    ],
)
def test_hosts_get_one_spelling(text, host):
    assert parse_host(text) == host
    assert parse_host(host) == host


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "not a host name: ``"),
        (".", "not a host name: `.`"),
        ("a..b", "not a host name: `a..b`"),
        ("a b", "not a host name: `a b`"),
        ("a\0b", "not a host name: `a\0b`"),
        ("a%20b", "not a host name: `a%20b`"),
        ("*.example", "not a host name: `*.example`"),
        ("bü..cher", "not a host name: `bü..cher`"),
        ("\udcff", "not a host name: `\udcff`"),
        ("a" * 64, f"not a host name: `{'a' * 64}`"),
        ("a." * 127 + "a", "host name of more than 253 characters: `a.a.a.a.a.a.a.a.a.a....`"),
        ("127.1", "not an IPv4 address: `127.1`"),
        ("2130706433", "not an IPv4 address: `2130706433`"),
        ("0x7f.0.0.0x1", "not an IPv4 address: `0x7f.0.0.0x1`"),
        ("010.0.0.1", "not an IPv4 address: `010.0.0.1`"),
        ("256.0.0.1", "not an IPv4 address: `256.0.0.1`"),
        ("127.0.0.1.", "not an IPv4 address: `127.0.0.1.`"),
        (":", "not an IPv6 address: `:`"),
        ("1::2::3", "not an IPv6 address: `1::2::3`"),
        ("[::1]", "not an IPv6 address: `[::1]`"),
        ("fe80::1%eth0", "IPv6 zones are not supported: `fe80::1%eth0`"),
    ],
)
def test_what_is_no_host(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_host(text)
    assert str(caught.value) == message


@given(st.text())
def test_any_text_is_a_host_or_an_error(text):
    try:
        host = parse_host(text)
    except ConfigError:
        return
    assert host.isascii() and host == host.lower() and parse_host(host) == host


@given(st.ip_addresses())
def test_addresses_are_those_of_ipaddress(address):
    for text in (str(address), address.exploded):
        assert is_address(text)
        assert ipaddress.ip_address(parse_host(text)) == address


@given(st.ip_addresses(), st.data())
def test_networks_are_those_of_ipaddress(address, data):
    length = data.draw(st.integers(0, address.max_prefixlen))
    network = ipaddress.ip_network((address, length), strict=False)
    assert ipaddress.ip_network(parse_network(str(address), str(length))) == network
    if address.version == 4:
        assert parse_network(str(address), str(network.netmask)) == str(network)


@pytest.mark.parametrize("text, port", [("1", 1), ("1080", 1080), ("65535", 65535), ("0080", 80)])
def test_ports(text, port):
    assert parse_port(text) == port


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "+1", "1e3", "http", "１"])
def test_what_is_no_port(text):
    assert parse_port(text) is None


@given(st.lists(st.one_of(st.integers(0, 300).map(str), st.text("0123456789 x", max_size=4)), max_size=5))
def test_an_ipv4_address_is_what_the_c_library_reads_as_one(parts):
    text = ".".join(parts)
    try:
        packed = socket.inet_pton(socket.AF_INET, text)
    except OSError:
        assert not is_address(text)
    else:
        assert is_address(text)
        assert parse_network(text) == f"{socket.inet_ntop(socket.AF_INET, packed)}/32"
