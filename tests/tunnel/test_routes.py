from __future__ import annotations

import errno
import socket

import pytest

from pywrap.config.settings import Proxy
from pywrap.socks.wire import Endpoint
from pywrap.tunnel import routes
from pywrap.tunnel.routes import address_of


@pytest.mark.parametrize("host", ["198.51.100.1", "2001:db8::1", "example.org", "10.0.0.1", "0x0a000001"])
def test_everything_goes_through_the_chain(world, host):
    assert world().kind(host) == "tunnel"


@pytest.mark.parametrize("host", ["198.51.100.1", "2001:db8::1", "example.org"])
@pytest.mark.parametrize(
    ("udp", "expected"), [("associate", "tunnel"), ("direct", "direct"), ("block", "refuse")]
)
def test_datagrams_go_as_udp_says(world, host, udp, expected):
    it = world(udp=udp, rules=["*:53 work", "192.0.2.5 direct", "192.0.2.6 block"])
    for port in (53, 80):
        assert it.kind(host, port, datagram=True) == expected
        assert it.kind(host, port) == "tunnel"
    # Rules that do not mean a chain have the last word.
    assert it.kind("192.0.2.5", datagram=True) == "direct"
    assert it.kind("192.0.2.6", datagram=True) == "refuse"


def test_a_blocked_datagram_is_eperm_and_names_the_setting(world):
    verdict = world(udp="block").routes.verdict("198.51.100.1", 80, datagram=True)
    assert verdict.errno == errno.EPERM
    assert verdict.reason == "198.51.100.1:80 refused: UDP is blocked (--udp)"


@pytest.mark.parametrize("host", "224.0.0.1 239.255.255.255 255.255.255.255 <broadcast> ff02::1".split())
def test_no_proxy_is_given_a_datagram_for_many(world, host):
    for settings in ({}, {"udp": "direct"}, {"rules": ["* work"]}):
        verdict = world(**settings).routes.verdict(host, 80, datagram=True)
        assert (verdict.kind, verdict.errno) == ("refuse", errno.EPERM)
        assert "multicast and broadcast" in verdict.reason
    assert world(direct=["0.0.0.0/0", "::/0"]).kind(host, datagram=True) == "direct"


@pytest.mark.parametrize("host", ["223.255.255.255", "240.0.0.1", "fe00::1", "255.255.255.254"])
def test_other_addresses_are_for_one(world, host):
    assert world().kind(host, datagram=True) == "tunnel"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.8.9.10", "127.1", "2130706433", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "", "0"],
)
@pytest.mark.parametrize(
    ("loopback", "expected"), [("direct", "direct"), ("proxy", "tunnel"), ("deny", "refuse")]
)
def test_loopback_in_all_its_spellings(world, host, loopback, expected):
    assert world(loopback=loopback).kind(host) == expected


def test_denied_loopback_is_eperm(world):
    assert world(loopback="deny").routes.verdict("127.0.0.1", 80).errno == errno.EPERM


@pytest.mark.parametrize("datagram", [False, True])
def test_a_name_server_on_loopback_is_not_direct(world, datagram):
    assert world().kind("127.0.0.53", 53, datagram=datagram) == "refuse"
    assert world(direct=["127.0.0.53:53"]).kind("127.0.0.53", 53, datagram=datagram) == "direct"
    assert world(dns="local").kind("127.0.0.53", 53, datagram=datagram) == "direct"
    assert world(loopback="proxy").kind("127.0.0.53", 53) == "tunnel"


def test_the_first_hop_is_direct_at_its_port_only_and_for_streams_only(world):
    assert world().kind("192.0.2.99", 1080) == "direct"
    assert world().kind("::ffff:192.0.2.99", 1080) == "direct"
    assert world().kind("192.0.2.99", 80) == "tunnel"
    assert world().kind("192.0.2.99", 1080, datagram=True) == "tunnel"
    assert world(rules=["* block"]).kind("192.0.2.99", 1080) == "direct"
    loopback = world(chain=[Proxy("socks5h", "127.0.0.1", 9050)], loopback="deny")
    assert loopback.kind("127.0.0.1", 9050) == "direct"


def test_a_first_hop_with_a_name_is_direct_where_it_resolves_to(world):
    it = world(chain=[Proxy("socks5h", "proxy.example", 1080)])
    assert it.routes.resolves_here("Proxy.Example")
    it.routes.remember("proxy.example", ["192.0.2.50"])
    assert it.kind("192.0.2.50", 1080) == "direct"
    assert it.kind("192.0.2.50", 80) == "tunnel"


@pytest.mark.parametrize(
    ("rule", "inside", "outside"),
    [
        ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
        ("10.1.2.3", "10.1.2.3", "10.1.2.4"),
        ("10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"),
        ("fd00::/8", "fd12::1", "fe00::1"),
        ("2001:db8::1", "2001:db8:0::1", "2001:db8::2"),
        ("0.0.0.0/0", "198.51.100.1", "2001:db8::1"),
        ("*.corp.example", "www.corp.example", "corp.example"),
        ("*.corp.example", "WWW.CORP.EXAMPLE.", "wwwcorp.example"),
        ("host.example", "Host.Example", "a.host.example"),
    ],
)
def test_direct_networks_and_names(world, rule, inside, outside):
    it = world(direct=[rule])
    assert it.kind(inside) == "direct"
    assert it.kind(inside, datagram=True) == "direct"
    assert it.kind(outside) == "tunnel"


def test_a_direct_rule_with_a_port_is_for_that_port(world):
    it = world(direct=["10.0.0.0/8:443", "*.corp.example:22"])
    assert [it.kind("10.0.0.1", port) for port in (443, 80)] == ["direct", "tunnel"]
    assert [it.kind("a.corp.example", port) for port in (22, 80)] == ["direct", "tunnel"]


def test_what_a_direct_name_resolves_to_is_direct_at_the_rules_port(world):
    it = world(direct=["*.corp.example:22", "any.example"])
    it.routes.remember("a.corp.example", ["198.51.100.1", "2001:db8::1"])
    it.routes.remember("any.example", ["198.51.100.2"])
    it.routes.remember("other.example", ["198.51.100.3"])
    assert [it.kind("198.51.100.1", port) for port in (22, 80)] == ["direct", "tunnel"]
    assert it.kind("2001:db8::1", 22) == "direct"
    assert it.kind("198.51.100.2", 80) == "direct"
    assert it.kind("198.51.100.3", 80) == "tunnel"


def test_the_first_rule_that_matches_decides(world):
    it = world(
        rules=["10.1.0.0/16 block", "tcp 10.0.0.0/8:80-89 work", "udp 10.0.0.0/8 direct", "*:25 block"]
    )

    def decided(host: str, port: int, datagram: bool = False) -> tuple[str, str]:
        verdict = it.routes.verdict(host, port, datagram=datagram)
        return verdict.kind, verdict.chain

    assert decided("10.1.0.1", 80) == ("refuse", "")
    assert [decided("10.2.0.1", port) for port in (79, 80, 89, 90)] == [
        *(("tunnel", ""), ("tunnel", "work"), ("tunnel", "work"), ("tunnel", ""))
    ]
    assert decided("10.2.0.1", 80, datagram=True) == ("direct", "")
    assert decided("10.2.0.1", 25, datagram=True) == ("direct", "")
    for host in ("10.2.0.1", "198.51.100.1", "2001:db8::1", "a.example"):
        assert decided(host, 25) == ("refuse", "")


@pytest.mark.parametrize("rule", ["* block", "* work", "tcp *:80 block"])
def test_everything_does_not_mean_this_machine(world, rule):
    for host in ("127.0.0.1", "::1", "localhost"):
        assert world(rules=[rule]).kind(host) == "direct"
        assert world(rules=[rule, "127.0.0.0/8 work", "::1 work"]).kind(host) == "tunnel"
        assert world(rules=[rule], loopback="deny").kind(host) == "refuse"
        # Unless it is one destination among others.
        verdict = world(rules=[rule], loopback="proxy").routes.verdict(host, 80)
        assert (verdict.kind, verdict.chain) == (("tunnel", "work") if rule == "* work" else ("refuse", ""))


def test_names_of_etc_hosts_keep_their_rules(world):
    it = world(rules=["db.example work"])
    for host in ("DB.example", "192.0.2.7"):
        verdict = it.routes.verdict(host, 80)
        assert (verdict.chain, verdict.destination) == ("work", Endpoint("192.0.2.7", 80))


def test_a_block_is_eperm_and_names_the_rule(world):
    verdict = world(rules=["tcp *.ads:1-9 block"]).routes.verdict("a.ads", 9)
    assert verdict.errno == errno.EPERM
    assert verdict.reason == "a.ads:9 refused: blocked (`route tcp *.ads:1-9 block`)"


def test_names_go_to_their_chain(world):
    it = world(rules=["*.corp work", "a.example proxy", "*.example work"])
    chains = {name: it.routes.verdict(name, 80).chain for name in ("x.corp", "a.example", "b.example", "c")}
    assert chains == {"x.corp": "work", "a.example": "", "b.example": "work", "c": ""}
    assert it.routes.verdict(it.names.placeholder("x.corp"), 80).chain == "work"
    # No rule is about addresses.
    assert it.routes.verdict("198.51.100.1", 80).chain == ""


def test_the_first_hops_of_all_chains_are_direct(world):
    it = world(loopback="deny", rules=["* work"])
    assert it.routes.resolves_here("work.example")
    it.routes.remember("work.example", ["127.0.0.9", "::1"])
    assert [it.kind(host, 1080) for host in ("127.0.0.9", "::1", "192.0.2.99")] == ["direct"] * 3
    assert it.kind("127.0.0.9", 1081) == "refuse"


def test_the_relay_of_a_first_hop_is_direct_for_a_program_that_uses_that_hop_itself(world):
    it = world(rules=["udp 192.0.2.99:5000 block"])

    def kinds(*ports):
        return [it.routes.verdict("192.0.2.99", port, datagram=True).kind for port in ports]

    assert kinds(40000, 5000) == ["tunnel", "refuse"]
    assert it.kind("192.0.2.99", 1081) == "tunnel"
    assert kinds(40000) == ["tunnel"]
    assert it.kind("192.0.2.99", 1080) == "direct"
    assert kinds(40000) == ["tunnel"]
    for port in (1081, 1080):
        it.routes.used_directly(Endpoint("192.0.2.99", port))
    # Not its name server, which would ask outside.
    assert kinds(40000, 5000, 53) == ["direct", "refuse", "tunnel"]
    assert it.routes.verdict("192.0.2.98", 40000, datagram=True).kind == "tunnel"


@pytest.mark.parametrize(
    ("rules", "name", "expected"),
    [
        (["*.corp direct"], "a.corp", True),
        (["*.corp:22 direct"], "a.corp", True),
        (["* direct"], "a.corp", True),
        (["10.0.0.0/8 direct"], "a.corp", False),
        (["a.corp work", "*.corp direct"], "a.corp", False),
        (["a.corp work", "*.corp direct"], "b.corp", True),
        (["a.corp:80 work", "*.corp direct"], "a.corp", True),
        (["udp a.corp work", "*.corp direct"], "a.corp", True),
        (["* block", "*.corp direct"], "a.corp", False),
    ],
)
def test_only_names_that_can_be_direct_are_resolved_here(world, rules, name, expected):
    assert world(rules=rules).routes.resolves_here(name) is expected


@pytest.mark.parametrize(
    ("rules", "name", "expected"),
    [
        (["*.ads block"], "X.Ads.", True),
        (["*.ads block"], "ads", False),
        (["*.ads:80 block"], "x.ads", False),
        (["udp *.ads block"], "x.ads", False),
        (["x.ads work", "*.ads block"], "x.ads", False),
        (["10.0.0.0/8 block"], "x.ads", False),
        (["* block"], "x.ads", True),
    ],
)
def test_a_name_is_blocked_when_no_port_of_it_is_not(world, rules, name, expected):
    assert world(rules=rules).routes.is_blocked(name) is expected


def test_a_rewrite_comes_before_the_rules(world):
    it = world(
        dnat=["192.0.2.1 10.0.0.3:443", "192.0.2.1:80 192.0.2.2", "192.0.2.4 fd00::4"],
        rules=["192.0.2.2 work", "10.0.0.0/8 direct", "192.0.2.1 block"],
    )
    verdict = it.routes.verdict("192.0.2.1", 80)
    assert (verdict.kind, verdict.chain, verdict.destination) == ("tunnel", "work", Endpoint("192.0.2.2", 80))
    verdict = it.routes.verdict("192.0.2.1", 81)
    assert (verdict.kind, verdict.literal, verdict.destination) == (
        *("direct", "10.0.0.3", Endpoint("10.0.0.3", 443)),
    )
    assert it.routes.verdict("::ffff:192.0.2.1", 81, ipv6=True).literal == "::ffff:10.0.0.3"
    assert it.routes.verdict("192.0.2.4", 5).destination == Endpoint("fd00::4", 5)
    assert it.routes.verdict("192.0.2.3", 80).destination == Endpoint("192.0.2.3", 80)


def test_a_placeholder_is_its_name(world):
    it = world(direct=["*.corp.example"])
    for ipv6 in (False, True):
        placeholder = it.names.placeholder("example.org", ipv6)
        assert it.routes.verdict(placeholder, 443).destination == Endpoint("example.org", 443)
    assert it.kind(it.names.placeholder("www.corp.example")) == "direct"


def test_a_placeholder_that_was_not_made_here_is_refused_in_words(world):
    verdict = world().routes.verdict("198.18.5.5", 80)
    assert (verdict.kind, verdict.errno) == ("refuse", errno.EHOSTUNREACH)
    assert "placeholder" in verdict.reason


def test_names_of_etc_hosts_go_by_their_address(world):
    it = world(direct=["192.0.2.7"])
    verdict = it.routes.verdict("DB.example", 80)
    assert (verdict.kind, verdict.literal, verdict.destination) == (
        "direct",
        "192.0.2.7",
        Endpoint("192.0.2.7", 80),
    )
    assert it.routes.verdict("six.example", 80, ipv6=True).literal == "::1"
    # Of the other family only: it is a name like others.
    assert it.kind("six.example", 80, ipv6=False) == "tunnel"


def test_a_scope_means_nothing_to_a_proxy(world):
    assert world().routes.verdict("fe80::1%lo", 80).errno == errno.EHOSTUNREACH
    assert world(direct=["fe80::/10"]).kind("fe80::1%lo") == "direct"


def test_mapped_addresses_are_asked_for_as_ipv4(world):
    destination = world().routes.verdict("::ffff:198.51.100.1", 80, ipv6=True).destination
    assert destination == Endpoint("198.51.100.1", 80)


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("", "0.0.0.0"),
        ("<broadcast>", "255.255.255.255"),
        ("127.1", "127.0.0.1"),
        ("0x7f.1", "127.0.0.1"),
        ("017700000001", "127.0.0.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_what_the_c_library_takes_for_a_literal(text, literal):
    family = socket.AF_INET6 if ":" in literal else socket.AF_INET
    assert address_of(text) == socket.inet_pton(family, literal)


@pytest.mark.parametrize("text", ["192.0.2.1 x", *"example.org 1.example 1.2.3.4.5 localhost ٣ -1 a".split()])
def test_what_is_a_name(text):
    assert address_of(text) is None


def test_only_so_many_names_are_remembered(world, monkeypatch):
    monkeypatch.setattr(routes, "MOST", 4)
    it = world(rules=["*.corp block"])
    assert it.routes.by_name and not world(rules=["10.0.0.0/8 block"]).routes.by_name
    for number in (1, 2, 3, 4, 1, 5):
        it.routes.remember("a.corp", [f"192.0.2.{number}"])
    # Those that were asked for last.
    assert [number for number in range(1, 6) if it.kind(f"192.0.2.{number}") == "refuse"] == [1, 5]


def test_what_is_direct_has_a_reason(world):
    it = world(direct=["10.0.0.0/8"], rules=["*:53 work"])
    reasons = [
        it.routes.verdict(host, 1080).reason for host in ("192.0.2.99", "10.0.0.1", "127.0.0.1", "b.example")
    ]
    assert reasons == ["the first proxy", "route 10.0.0.0/8 direct", "this machine", ""]
    assert world(udp="direct").routes.verdict("192.0.2.1", 9, datagram=True).reason == "--udp direct"
