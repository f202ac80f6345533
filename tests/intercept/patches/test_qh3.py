"""qh3 of the newest release, and niquests' HTTP/3 by it: datagrams reach for the relay alone."""

from __future__ import annotations

import pytest

from tests.support import datagram_servers
from tests.support.destinations import HELLO, ONLY_THE_PROXY_KNOWS
from tests.support.put_back import check_put_back
from tests.support.run import program, pysocksify
from tests.support.servers import reference_server

BODY = HELLO.decode()


@pytest.fixture
def relay(monkeypatch):
    """A proxy whose relays are not where destinations are, and which knows a name."""
    import _socket

    real = _socket.getaddrinfo

    def getaddrinfo(host, *rest):
        return real(b"127.0.0.1" if host == ONLY_THE_PROXY_KNOWS.encode() else host, *rest)

    monkeypatch.setattr("pywrap.server.tcp.dial._socket.getaddrinfo", getaddrinfo)
    with reference_server(listen=[("127.0.0.2", 0)]) as proxy:
        yield proxy


def check_datagrams(seen, proxy):
    assert {host for host, _ in seen.destinations} == {proxy.host}, str(seen)
    assert {(found.call, found.port == proxy.port) for found in seen.reached} <= {
        ("connect", True),
        ("sendto", False),
        ("sendmsg", False),
    }, str(seen)


@pytest.mark.parametrize("dns", ["remote", "tor"])
@pytest.mark.parametrize("host", [ONLY_THE_PROXY_KNOWS, "127.0.0.1"])
def test_its_client_reaches_for_the_relay_alone(host, dns, trace, relay):
    command = pysocksify("-x", relay.url(), "--loopback", "proxy", "--dns", dns)
    with datagram_servers.http3_server() as server:
        words = host, server.port, "localhost", server.ca_pem, 100_000, "qh3"
        ran, seen = trace(*command, *program("udp_http3.py"), *words)
        assert ran.json == {"status": 200, "body": BODY, "bytes": 100_000}, str(ran)
        assert server.port in {port for _, port in relay.udp_peers}
    check_datagrams(seen, relay)


@pytest.mark.parametrize("dns", ["remote", "tor"])
def test_niquests_reaches_for_the_relay_alone(dns, trace, relay):
    command = pysocksify("-x", relay.url(), "--loopback", "proxy", "--dns", dns)
    with datagram_servers.http3_server(ONLY_THE_PROXY_KNOWS) as server:
        words = ONLY_THE_PROXY_KNOWS, server.port, server.ca_pem
        ran, seen = trace(*command, *program("fetch_niquests_http3.py"), *words)
        assert ran.json == dict.fromkeys(("blocking", "asyncio"), [200, BODY, 30]), str(ran)
    check_datagrams(seen, relay)


def test_uninstall_leaves_no_trace():
    check_put_back("qh3.asyncio._transport:_UdpSocketState")
