"""dnspython and pymongo of the newest releases: what they would ask this network for is asked elsewhere."""

from __future__ import annotations

import sys

import pytest

from tests.support import datagram_servers
from tests.support.child import source_of
from tests.support.naming_proxy import naming_proxy
from tests.support.run import program, pysocksify, run
from tests.support.servers import reference_server

HOWS = pytest.mark.parametrize("how", ["blocking", "asyncio", "trio"])

# Seconds: dnspython waits for 5 and more where no answer comes.
AT_ONCE = 4.0


@pytest.fixture
def proxy():
    with naming_proxy({"ns.test": "127.0.0.1"}) as proxy:
        yield proxy


def through(proxy, *options):
    return pysocksify("-x", proxy.url(), "--loopback", "proxy", *options)


@HOWS
def test_with_names_left_to_the_proxy_addresses_are_placeholders(how, trace, proxy):
    ran, seen = trace(*through(proxy), *program("names_dnspython.py"), "elsewhere.test", "198.18.0.1", how)
    said = ran.json
    assert said["A"] == ["198.18.0.1"]
    assert len(said["AAAA"]) == 1 and ":" in said["AAAA"][0]
    assert said["PTR"] == ["elsewhere.test."]
    error, text = said["MX"]
    assert error == "NoNameservers"
    assert "MX records of elsewhere.test are nowhere to be asked for (--dns tcp://HOST)" in text
    assert said["took"] < AT_ONCE
    assert proxy.asked == []
    assert seen.destinations == set(), str(seen)


@HOWS
def test_with_a_name_server_behind_the_chain_it_is_asked_for_everything(how, dnsmasq, trace, proxy):
    command = through(proxy, "--dns", f"tcp://ns.test:{dnsmasq.port}")
    ran, seen = trace(*command, *program("names_dnspython.py"), "both.example", "192.0.2.7", how)
    said = ran.json
    assert said["A"] == ["192.0.2.7"] and said["AAAA"] == ["2001:db8::7"]
    assert said["PTR"] == ["both.example."]
    assert said["MX"] == ["10 mail.example."]
    assert said["missing"][0] == "NXDOMAIN"
    assert {*proxy.asked} == {("CONNECT", "ns.test", dnsmasq.port)}
    assert seen.destinations == {(proxy.host, proxy.port)}, str(seen)


def test_pymongo_finds_the_servers_of_a_cluster(dnsmasq, trace, proxy):
    command = through(proxy, "--dns", f"tcp://ns.test:{dnsmasq.port}")
    ran, seen = trace(*command, *program("names_pymongo.py"), "cluster.test.example")
    assert ran.json["servers"] == [["one.test.example", 27017], ["two.test.example", 27018]], str(ran)
    assert seen.destinations == {(proxy.host, proxy.port)}, str(seen)


def test_pymongo_is_told_at_once_that_there_is_no_way_to_ask(trace, proxy):
    ran, seen = trace(*through(proxy), *program("names_pymongo.py"), "cluster.test.example")
    assert ran.json["error"] == "ConfigurationError"
    assert "SRV records of _mongodb._tcp.cluster.test.example are nowhere to be asked for" in ran.json["text"]
    assert ran.json["took"] < AT_ONCE
    assert seen.destinations == set(), str(seen)


def named():
    import sys

    import dns.resolver

    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = ["127.0.0.1"], int(sys.argv[1])
    print(resolver.resolve("example.test", "A", tcp=False)[0])


def test_a_name_server_that_the_program_names_is_a_destination():
    zone = datagram_servers.Zone()
    with datagram_servers.answering(zone) as server, reference_server() as relay:
        ran = run(*through(relay), sys.executable, "-c", source_of(named), server.port)
        assert ran.out == f"{zone.address}\n"
        assert relay.udp_peers == [("127.0.0.1", server.port)]


def undone():
    import dns.resolver

    before = dns.resolver.BaseResolver.read_resolv_conf
    import pywrap

    pywrap.install("socks5h://192.0.2.99:1080")
    assert dns.resolver.BaseResolver.read_resolv_conf is not before
    ours = dns.resolver.Resolver()
    assert ours.nameservers[0].kind() == "Do53"
    pywrap.uninstall()
    assert dns.resolver.BaseResolver.read_resolv_conf is before
    print("done")


def test_uninstall_leaves_no_trace():
    assert run(sys.executable, "-c", source_of(undone)).out == "done\n"


def test_in_a_confinement_it_is_told_as_much(proxy):
    command = pysocksify("-x", proxy.url(), "--confine", "on")
    ran = run(
        *command, *program("names_dnspython.py"), "elsewhere.test", "198.18.0.1", "blocking", status=None
    )
    if "cannot be confined" in ran.err:
        pytest.skip(ran.err)
    assert len(ran.json["A"]) == 1 and ran.json["MX"][0] == "NoNameservers", str(ran)
    assert ran.json["took"] < AT_ONCE
