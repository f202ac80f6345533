import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.config.direct import HINT, parse_direct, parse_directs, parse_localnet
from pywrap.config.settings import Direct
from pywrap.errors import ConfigError


@pytest.mark.parametrize(
    "text, direct",
    [
        ("10.0.0.0/8", Direct("10.0.0.0/8")),
        ("10.0.0.0/255.0.0.0", Direct("10.0.0.0/8")),
        ("0.0.0.0/0.0.0.0", Direct("0.0.0.0/0")),
        # One's own address with a mask names one's network.
        ("192.168.1.77/24", Direct("192.168.1.0/24")),
        ("10.0.0.5", Direct("10.0.0.5/32")),
        ("10.0.0.5:5432", Direct("10.0.0.5/32", port=5432)),
        ("10.0.0.0/8:443", Direct("10.0.0.0/8", port=443)),
        ("fd00::/8", Direct("fd00::/8")),
        ("FD00:0::1/8", Direct("fd00::/8")),
        ("::1", Direct("::1/128")),
        ("[::1]", Direct("::1/128")),
        ("[::1]:80", Direct("::1/128", port=80)),
        ("[fd00::/8]:443", Direct("fd00::/8", port=443)),
        ("::/0", Direct("::/0")),
        ("host.example", Direct(name="host.example")),
        ("Host.Example.", Direct(name="host.example")),
        ("host.example:443", Direct(name="host.example", port=443)),
        ("*.corp.example", Direct(name="*.corp.example")),
        ("*.CORP.example:80", Direct(name="*.corp.example", port=80)),
        ("*.bücher.example", Direct(name="*.xn--bcher-kva.example")),
    ],
)
def test_destinations_get_one_spelling(text, direct):
    assert parse_direct(text) == direct
    assert parse_direct(str(direct)) == direct


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", ""),
        (":80", ""),
        ("*", " (a star stands only for the beginning, as in `*.corp.example`)"),
        ("*corp", " (a star stands only for the beginning, as in `*.corp.example`)"),
        ("a.*.b", " (a star stands only for the beginning, as in `*.corp.example`)"),
        ("*.*.b", " (a star stands only for the beginning, as in `*.corp.example`)"),
        ("*.", ""),
        ("*.10.0.0.1", " (a star stands only before names)"),
        ("*.::1", " (a star stands only before names)"),
        (".corp.example", " (all names below it are `*.corp.example`)"),
        ("10.0.0.0/33", " (not a netmask: `33`)"),
        ("10.0.0.0/", " (not a netmask: ``)"),
        ("10.0.0.0/-1", " (not a netmask: `-1`)"),
        ("10.0.0.0/255.0.255.0", " (not a netmask: `255.0.255.0`)"),
        ("10.0.0.0/0.255.255.255", " (not a netmask: `0.255.255.255`)"),
        ("10.0.0.0/8/8", " (not a netmask: `8/8`)"),
        ("fd00::/129", " (not a netmask: `129`)"),
        ("fd00::/255.0.0.0", " (not a netmask: `255.0.0.0`)"),
        ("host.example/8", " (not an address: `host.example`)"),
        ("10.0.0/8", " (not an address: `10.0.0`)"),
        ("10.1", " (not an IPv4 address: `10.1`)"),
        ("10.0.0.0/8:0", " (not a port: `0`)"),
        ("10.0.0.0/8:65536", " (not a port: `65536`)"),
        ("host.example:", " (not a port: ``)"),
        ("10.0.0.0:80/8", " (not a port: `80/8`)"),
        ("[fd00::]/8", " (wrong brackets)"),
        ("[fd00::", " (wrong brackets)"),
        ("[fd00::]443", " (wrong brackets)"),
        ("fd00:::", " (not an IPv6 address: `fd00:::`)"),
        ("fe80::1%eth0", " (IPv6 zones are not supported: `fe80::1%eth0`)"),
        ("http://host.example", " (not a port: `//host.example`)"),
        ("a b", " (not a host name: `a b`)"),
    ],
)
def test_what_is_no_destination(text, reason):
    with pytest.raises(ConfigError) as caught:
        parse_direct(text)
    assert str(caught.value) == f"not a network, address or name: `{text}`{reason}"
    assert caught.value.hint == HINT


@given(st.text())
def test_any_text_is_a_destination_or_an_error(text):
    try:
        direct = parse_direct(text)
    except ConfigError:
        return
    assert parse_direct(str(direct)) == direct


def test_list_is_separated_by_commas():
    assert parse_directs("10.0.0.0/8,*.corp") == (Direct("10.0.0.0/8"), Direct(name="*.corp"))


@pytest.mark.parametrize("text", ["", ",", "10.0.0.0/8,", "10.0.0.0/8,,*.corp"])
def test_list_has_no_empty_places(text):
    with pytest.raises(ConfigError) as caught:
        parse_directs(text)
    assert str(caught.value) == "not a network, address or name: ``"


@pytest.mark.parametrize(
    "text, direct",
    [
        ("192.168.1.0:80/255.255.255.0", Direct("192.168.1.0/24", port=80)),
        ("192.168.100.0/255.255.255.0", Direct("192.168.100.0/24")),
        ("0.0.0.0:80/0.0.0.0", Direct("0.0.0.0/0", port=80)),
        ("10.0.0.0/8", Direct("10.0.0.0/8")),
        ("[::]:80/0", Direct("::/0", port=80)),
        ("[fe80::]:80/10", Direct("fe80::/10", port=80)),
        ("[fe80::]/10", Direct("fe80::/10")),
        ("::1/128", Direct("::1/128")),
    ],
)
def test_localnet_has_the_port_before_the_mask(text, direct):
    assert parse_localnet(text) == direct
