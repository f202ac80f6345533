"""--dns tcp:// and local: names as a name server beyond the chain knows them, or the resolver outside.

On the machine's own loopback, through the reference server, as the user of the tests.
"""

import json
import sys
from pathlib import Path

import pytest

from tests.support.name_server import name_server
from tests.support.run import pysocksify, run
from tests.support.servers import reference_server

INSIDE = Path(__file__).parent / "inside.py"
A, AAAA, TXT = 1, 28, 16
RECORDS = (
    *("both.example 60 A 127.0.0.77", "both.example 60 AAAA 2001:db8::7", "both.example 60 TXT hello"),
    "www.example 60 CNAME both.example.",
)


@pytest.fixture(autouse=True)
def possible():
    ran = run(*pysocksify("--confine", "on", "-x", "socks5h://192.0.2.99"), "true", status=None)
    if ran.status:
        pytest.skip(ran.err)


def inside(server, dns, name, *arguments):
    command = pysocksify("--confine", "on", "--loopback", "proxy", "--dns", dns, "-x", server.url())
    words = (sys.executable, "-I", "-S", INSIDE, name, json.dumps(arguments))
    return run(*command, *words).json


@pytest.fixture
def zone():
    with name_server(*RECORDS) as server:
        yield server, server.setting


def test_all_records_are_those_of_the_name_server(zone):
    names, dns = zone
    with reference_server() as proxy:
        for kind in (A, AAAA, TXT):
            assert inside(proxy, dns, "query", "8.8.8.8", "both.example", kind) == [True, 0, False, 1]
        assert inside(proxy, dns, "resolve", "www.example") == ["127.0.0.77", "2001:db8::7"]
        assert inside(proxy, dns, "query", "8.8.8.8", "none.example", A)[1] == 3
        assert {host for _, host, _ in proxy.asked} == {"127.0.0.1"}


def test_of_the_resolver_outside():
    with reference_server() as proxy:
        assert inside(proxy, "local", "resolve", "localhost", 2) == ["127.0.0.1"]
        assert proxy.asked == []


def test_a_name_server_that_is_not_there_is_a_failure_and_no_hang(refusing_port):
    with reference_server() as proxy:
        dns = f"tcp://127.0.0.1:{refusing_port}"
        assert inside(proxy, dns, "query", "8.8.8.8", "both.example", A)[1] == 2
