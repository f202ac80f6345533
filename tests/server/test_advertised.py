"""Where a proxy is reached for what it has bound, whatever its reply says."""

import socket

import pytest

from pywrap.config.settings import Proxy
from pywrap.server.advertised import advertised, host_of
from pywrap.socks.wire import Endpoint

HOPS = (Proxy("socks5", "first.example", 1), Proxy("socks5", "second.example", 2))


@pytest.mark.parametrize(
    ("bound", "host", "found"),
    [
        # A public address is believed, also another one than the proxy is reached at.
        ("198.51.100.9", "203.0.113.1", "198.51.100.9"),
        ("10.0.0.9", "10.0.0.1", "10.0.0.9"),
        ("::ffff:198.51.100.9", "203.0.113.1", "198.51.100.9"),
        # No address at all.
        ("0.0.0.0", "203.0.113.1", "203.0.113.1"),
        ("::", "proxy.example", "proxy.example"),
        ("relay.example", "203.0.113.1", "203.0.113.1"),
        # One that fewer can reach than the proxy itself: behind a NAT, or its loopback.
        ("10.0.0.9", "203.0.113.1", "203.0.113.1"),
        ("127.0.0.1", "203.0.113.1", "203.0.113.1"),
        ("127.0.0.1", "10.0.0.1", "10.0.0.1"),
    ],
)
def test_an_address_that_leads_there(bound, host, found):
    assert advertised(Endpoint(bound, 4242), host) == Endpoint(found, 4242)


def test_the_first_hop_is_reached_at_the_address_of_the_connection():
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as connection:
            assert host_of(0, HOPS, connection) == "127.0.0.1"
            assert host_of(1, HOPS, connection) == "second.example"


def test_within_tls_the_first_hop_is_reached_by_its_name():
    class Secured:
        failure = ""

    assert host_of(0, HOPS, Secured()) == "first.example"
