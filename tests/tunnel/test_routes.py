from __future__ import annotations

import errno
import socket
import threading
from pathlib import Path

import pytest

from pywrap.config.direct import parse_direct
from pywrap.config.settings import Proxy, Settings
from pywrap.socks.wire import Endpoint
from pywrap.tunnel.dial import FirstHop
from pywrap.tunnel.names import Hosts, Names
from pywrap.tunnel.routes import Routes, address_of

PROXY = Proxy("socks5h", "192.0.2.99", 1080)


class World:
    """Routes with what they ask."""

    def __init__(self, hosts: Path, settings: Settings) -> None:
        self.names = Names(threading.Lock)
        self.routes = Routes(
            settings, FirstHop(settings.chain[0], no_resolver), self.names, Hosts(str(hosts))
        )

    def kind(self, host: str, port: int = 80, **how: bool) -> str:
        return self.routes.verdict(host, port, **how).kind


def no_resolver(*args: object) -> list[object]:
    raise AssertionError(f"asked the resolver: {args}")


@pytest.fixture
def world(tmp_path):
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n192.0.2.7 db.example\n::1 six.example\n")

    def make(chain=(PROXY,), direct=(), **settings):
        rules = tuple(parse_direct(text) for text in direct)
        return World(tmp_path / "hosts", Settings(chain=tuple(chain), direct=rules, **settings))

    return make


@pytest.mark.parametrize("host", ["198.51.100.1", "2001:db8::1", "example.org", "10.0.0.1", "0x0a000001"])
def test_everything_goes_through_the_chain(world, host):
    assert world().kind(host) == "tunnel"


@pytest.mark.parametrize("host", "198.51.100.1 2001:db8::1 example.org 255.255.255.255 224.0.0.1".split())
def test_no_datagram_leaves(world, host):
    verdict = world().routes.verdict(host, 53, datagram=True)
    assert (verdict.kind, verdict.errno) == ("refuse", errno.EPERM)
    assert host in verdict.reason and "UDP" in verdict.reason


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
    assert world().kind("192.0.2.99", 1080, datagram=True) == "refuse"
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


def test_a_placeholder_is_its_name(world):
    it = world(direct=["*.corp.example"])
    for ipv6 in (False, True):
        placeholder = it.names.placeholder("example.org", ipv6)
        assert it.routes.verdict(placeholder, 443).destination == Endpoint("example.org", 443)
    assert it.kind(it.names.placeholder("www.corp.example")) == "direct"


def test_a_placeholder_that_nobody_here_made_is_refused_in_words(world):
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
