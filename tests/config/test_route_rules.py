import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.config.route_rules import (
    HINT,
    format_rewrite,
    format_route,
    parse_directs,
    parse_localnet,
    parse_rewrite,
    parse_route,
    parse_rule,
)
from pywrap.config.settings import Rewrite, Rule
from pywrap.errors import ConfigError
from tests.support.rules import direct


@pytest.mark.parametrize(
    "text, rule",
    [
        ("10.0.0.0/8", direct("10.0.0.0/8")),
        ("10.0.0.0/255.0.0.0", direct("10.0.0.0/8")),
        ("0.0.0.0/0.0.0.0", direct("0.0.0.0/0")),
        # One's own address with a mask names one's network.
        ("192.168.1.77/24", direct("192.168.1.0/24")),
        ("10.0.0.5", direct("10.0.0.5/32")),
        ("10.0.0.5:5432", direct("10.0.0.5/32", port=5432)),
        ("10.0.0.0/8:443", direct("10.0.0.0/8", port=443)),
        ("fd00::/8", direct("fd00::/8")),
        ("FD00:0::1/8", direct("fd00::/8")),
        ("::1", direct("::1/128")),
        ("[::1]", direct("::1/128")),
        ("[::1]:80", direct("::1/128", port=80)),
        ("[fd00::/8]:443", direct("fd00::/8", port=443)),
        ("::/0", direct("::/0")),
        ("host.example", direct(name="host.example")),
        ("Host.Example.", direct(name="host.example")),
        ("host.example:443", direct(name="host.example", port=443)),
        ("*.corp.example", direct(name="*.corp.example")),
        ("*.CORP.example:80", direct(name="*.corp.example", port=80)),
        ("*.bücher.example", direct(name="*.xn--bcher-kva.example")),
    ],
)
def test_destinations_get_one_spelling(text, rule):
    assert parse_rule(text, "direct") == rule
    assert parse_rule(str(rule), "direct") == rule


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", ""),
        (":80", ""),
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
        parse_rule(text, "direct")
    assert str(caught.value) == f"not a network, address or name: `{text}`{reason}"
    assert caught.value.hint == HINT


@given(st.text())
def test_any_text_is_a_destination_or_an_error(text):
    try:
        rule = parse_rule(text, "direct")
    except ConfigError:
        return
    assert parse_rule(str(rule), "direct") == rule


def test_list_is_separated_by_commas():
    assert parse_directs("10.0.0.0/8,*.corp") == (direct("10.0.0.0/8"), direct(name="*.corp"))


@pytest.mark.parametrize("text", ["", ",", "10.0.0.0/8,", "10.0.0.0/8,,*.corp"])
def test_list_has_no_empty_places(text):
    with pytest.raises(ConfigError) as caught:
        parse_directs(text)
    assert str(caught.value) == "not a network, address or name: ``"


@pytest.mark.parametrize(
    "text, rule",
    [
        ("192.168.1.0:80/255.255.255.0", direct("192.168.1.0/24", port=80)),
        ("192.168.100.0/255.255.255.0", direct("192.168.100.0/24")),
        ("0.0.0.0:80/0.0.0.0", direct("0.0.0.0/0", port=80)),
        ("10.0.0.0/8", direct("10.0.0.0/8")),
        ("[::]:80/0", direct("::/0", port=80)),
        ("[fe80::]:80/10", direct("fe80::/10", port=80)),
        ("[fe80::]/10", direct("fe80::/10")),
        ("::1/128", direct("::1/128")),
    ],
)
def test_localnet_has_the_port_before_the_mask(text, rule):
    assert parse_localnet(text) == rule


def test_everything_is_no_exception():
    with pytest.raises(ConfigError) as caught:
        parse_directs("10.0.0.0/8,*:443")
    assert str(caught.value) == "no proxy for anything: `*:443`"
    assert caught.value.hint == "if so, write `route *:443 direct`"


# ---------------------------------------------------------------- routes


@pytest.mark.parametrize(
    "text, rules",
    [
        ("10.0.0.0/8 direct", (Rule("10.0.0.0/8", to="direct"),)),
        ("* block", (Rule(to="block"),)),
        ("*:25 block", (Rule(port=25, to="block"),)),
        ("tcp *.corp:8000-8999 work", (Rule("", "*.corp", 8000, 8999, "tcp", "work"),)),
        ("udp [fd00::/8]:1-65535 proxy", (Rule("fd00::/8", "", 1, 65535, "udp", ""),)),
        ("a:80-80 office-2", (Rule("", "a", 80, to="office-2"),)),
        ("10.0.0.0/8,a w", (Rule("10.0.0.0/8", to="w"), Rule(name="a", to="w"))),
        # A host of this name: the protocol comes before a destination.
        ("tcp direct", (Rule(name="tcp", to="direct"),)),
    ],
)
def test_routes(text, rules):
    assert parse_route(text.split()) == rules
    assert tuple(rule for route in map(format_route, rules) for rule in parse_route(route.split())) == rules


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "a route of 0 words: ``"),
        ("10.0.0.0/8", "a route of 1 word: `10.0.0.0/8`"),
        ("sctp *:25 block", "unknown protocol: `sctp`"),
        ("10.0.0.0/8, 10.8.0.0/16 work", "a route of 3 words: `10.0.0.0/8, 10.8.0.0/16 work`"),
        ("tcp 10.0.0.0/8", "not a name for a chain: `10.0.0.0/8`"),
        ("10.0.0.0/8 /", "not a name for a chain: `/`"),
        ("10.0.0.0/8 a,b", "not a name for a chain: `a,b`"),
        ("*:80- work", "not a network, address or name: `*:80-` (not a port: `80-`)"),
        ("*:-80 work", "not a network, address or name: `*:-80` (not a port: `-80`)"),
        (
            "*:90-80 work",
            "not a network, address or name: `*:90-80`"
            + " (a range of ports that ends before it begins: `90-80`)",
        ),
    ],
)
def test_what_is_no_route(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_route(text.split())
    assert str(caught.value) == message


def test_a_protocol_that_no_proxy_carries():
    with pytest.raises(ConfigError) as caught:
        parse_route(["sctp", "*:25", "block"])
    assert caught.value.hint == "known protocols: tcp, udp"
    with pytest.raises(ConfigError) as caught:
        parse_route(["TCP", "*:25", "block"])
    assert caught.value.hint == "did you mean `tcp`? Known protocols: tcp, udp"


# ---------------------------------------------------------------- rewrites


@pytest.mark.parametrize(
    "text, rewrite",
    [
        ("1.1.1.1:1234 1.1.1.2:443", Rewrite("1.1.1.1", 1234, "1.1.1.2", 443)),
        ("1.1.1.2:443 1.1.1.2", Rewrite("1.1.1.2", 443, "1.1.1.2", 0)),
        ("1.1.1.1 1.1.1.2:443", Rewrite("1.1.1.1", 0, "1.1.1.2", 443)),
        ("1.1.1.1 1.1.1.2", Rewrite("1.1.1.1", 0, "1.1.1.2", 0)),
        ("[FD00::0:1]:80 [::1]:81", Rewrite("fd00::1", 80, "::1", 81)),
        ("fd00::1 127.0.0.1", Rewrite("fd00::1", 0, "127.0.0.1", 0)),
    ],
)
def test_rewrites(text, rewrite):
    assert parse_rewrite(text.split()) == rewrite
    assert parse_rewrite(format_rewrite(rewrite).split()) == rewrite


@pytest.mark.parametrize(
    "text, message",
    [
        ("1.1.1.1", "`dnat` takes two addresses, not 1"),
        ("1.1.1.1 2 3", "`dnat` takes two addresses, not 3"),
        ("1.1.1.1 host.example", "not an address with a port or without: `host.example`"),
        ("1.1.1.1/32 1.1.1.2", "not an address with a port or without: `1.1.1.1/32`"),
        (
            "1.1.1.1:80-90 1.1.1.2",
            "not an address with a port or without: `1.1.1.1:80-90` (one port, not a range)",
        ),
        ("1.1.1.1 1.1.1.2:0", "not an address with a port or without: `1.1.1.2:0` (not a port: `0`)"),
    ],
)
def test_what_is_no_rewrite(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_rewrite(text.split())
    assert str(caught.value) == message
