"""aiodns and pycares of the newest releases: what they say, and that they ask no name server themselves."""

from __future__ import annotations

import sys

import pytest

from tests.support.child import source_of
from tests.support.destinations import HELLO, ONLY_THE_PROXY_KNOWS
from tests.support.naming_proxy import naming_proxy
from tests.support.run import program, pysocksify, run


@pytest.fixture
def proxy():
    with naming_proxy({ONLY_THE_PROXY_KNOWS: "127.0.0.1"}) as proxy:
        yield proxy


def through(proxy, *options):
    return pysocksify("-x", proxy.url(), "--loopback", "proxy", *options)


def test_a_name_is_left_to_the_proxy(trace, proxy):
    ran, seen = trace(*through(proxy), *program("names_aiodns.py"), "elsewhere.test", "198.18.0.1")
    said = ran.json
    assert said["getaddrinfo"] == [[2, "198.18.0.1", 80]]
    assert said["gethostbyname"] == ["198.18.0.1"]
    assert said["getnameinfo"] == {"node": "elsewhere.test", "service": "http"}
    assert said["gethostbyaddr"] == {"name": "elsewhere.test", "aliases": [], "addresses": ["198.18.0.1"]}
    record = {
        "name": "elsewhere.test",
        "type": 1,
        "record_class": 1,
        "ttl": 60,
        "data": {"addr": "198.18.0.1"},
    }
    assert said["A"]["answer"] == [record]
    assert said["old A"] == [{"host": "198.18.0.1", "ttl": 60}]
    assert ":" in said["AAAA"]["answer"][0]["data"]["addr"]
    assert said["MX"] == ["DNSError", 5, "DNS server does not implement requested operation"]
    assert said["bad"][:2] == ["DNSError", 4]
    assert seen.destinations == set(), str(seen)


def test_a_name_server_behind_the_chain_is_asked(dnsmasq, trace):
    words = "both.example", "192.0.2.7"
    with naming_proxy({"ns.test": "127.0.0.1"}) as proxy:
        command = through(proxy, "--dns", f"tcp://ns.test:{dnsmasq.port}")
        ran, seen = trace(*command, *program("names_aiodns.py"), *words)
    said = ran.json
    assert sorted(row[1] for row in said["getaddrinfo"]) == ["192.0.2.7", "2001:db8::7"]
    assert said["getnameinfo"]["node"] == "both.example"
    assert said["AAAA"]["answer"][0]["data"] == {"addr": "2001:db8::7"}
    assert seen.destinations == {(proxy.host, proxy.port)}, str(seen)


def test_aiohttp_looks_up_by_it(trace, proxy, https_server):
    url = https_server.url(host=ONLY_THE_PROXY_KNOWS)
    ran, seen = trace(*through(proxy), *program("fetch_aiohttp.py"), url, https_server.ca_pem)
    assert ran.json == {"status": 200, "body": HELLO.decode()}
    assert seen.destinations == {(proxy.host, proxy.port)}, str(seen)


def undone():
    import pycares

    before = pycares.Channel
    import pywrap

    pywrap.install("socks5h://192.0.2.99:1080")
    during = pycares.Channel
    made = during()
    pywrap.uninstall()
    assert pycares.Channel is before is not during and issubclass(during, before)
    made.close()
    print("done")


def test_uninstall_leaves_no_trace():
    assert run(sys.executable, "-c", source_of(undone)).out == "done\n"
