"""Which destinations a rule takes."""

from __future__ import annotations

import pytest

from pywrap.config.matching import Destinations, Network
from pywrap.config.settings import Rule
from pywrap.socks.wire import packed


@pytest.mark.parametrize(
    ("network", "first", "last", "before", "behind"),
    [
        ("10.0.0.0/8", "10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
        ("192.0.2.128/25", "192.0.2.128", "192.0.2.255", "192.0.2.127", "192.0.3.0"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.7", "192.0.2.6", "192.0.2.8"),
        (
            "2001:db8::/33",
            "2001:db8::",
            "2001:db8:7fff:ffff:ffff:ffff:ffff:ffff",
            "2001:db7::",
            "2001:db8:8000::",
        ),
        ("::1", "::1", "::1", "::", "::2"),
    ],
)
def test_a_network_ends_where_it_ends(network, first, last, before, behind):
    takes = Network(network).takes
    assert takes(packed(first)) and takes(packed(last))
    assert not takes(packed(before)) and not takes(packed(behind))


def test_a_network_takes_no_address_of_the_other_family():
    assert Network("0.0.0.0/0").takes(packed("192.0.2.1"))
    assert not Network("0.0.0.0/0").takes(packed("::1"))
    assert not Network("::/0").takes(packed("192.0.2.1"))


@pytest.mark.parametrize(
    ("pattern", "taken", "not_taken"),
    [
        ("a.example", ["a.example"], ["example", "b.a.example", "xa.example"]),
        ("*.example", ["a.example", "b.a.example"], ["example", "aexample", "a.example.org"]),
        ("", ["a.example", "localhost"], []),
    ],
)
def test_names(pattern, taken, not_taken):
    rule = Destinations(Rule("", pattern))
    assert [rule.takes_name(name) for name in taken] == [True] * len(taken)
    assert [rule.takes_name(name) for name in not_taken] == [False] * len(not_taken)


def test_a_rule_for_a_network_takes_no_name_and_the_other_way_round():
    by_network, by_name = Destinations(Rule("10.0.0.0/8")), Destinations(Rule("", "a.example"))
    assert by_network.is_for_addresses and not by_network.takes_name("a.example")
    assert not by_name.is_for_addresses and by_name.takes_address(packed("10.0.0.1")) is False


def test_a_rule_for_everything_takes_all_of_it():
    rule = Destinations(Rule())
    assert rule.is_for_everything and rule.takes_all_ports
    assert rule.takes_address(packed("::1")) and rule.takes_name("a.example")
    assert rule.takes_port(0, datagram=False) and rule.takes_port(65535, datagram=True)


@pytest.mark.parametrize(
    ("first", "last", "taken"), [(80, 0, {80}), (80, 82, {80, 81, 82}), (1, 65535, {79, 80, 81, 82, 83})]
)
def test_ports(first, last, taken):
    rule = Destinations(Rule("10.0.0.0/8", "", first, last))
    assert {port for port in range(79, 84) if rule.takes_port(port, datagram=False)} == taken
    assert not rule.takes_all_ports


@pytest.mark.parametrize(("protocol", "streams", "datagrams"), [("tcp", True, False), ("udp", False, True)])
def test_a_protocol(protocol, streams, datagrams):
    rule = Destinations(Rule("10.0.0.0/8", protocol=protocol))
    assert (rule.takes_port(80, datagram=False), rule.takes_port(80, datagram=True)) == (streams, datagrams)
    assert rule.takes_datagrams == datagrams
    assert not rule.takes_all_ports
