"""Which destination --check has proxies connect to: our own listener, or one that the user names."""

from __future__ import annotations

import contextlib
import socket

import pytest

from pywrap.config.settings import Proxy
from pywrap.errors import ConfigError
from pywrap.launch import check
from pywrap.launch.check import destination
from pywrap.launch.check.report import ABSENT, NO, UNKNOWN, YES
from pywrap.socks.wire import Endpoint
from tests.support import destinations
from tests.support.examined import (
    PATIENT,
    TCP,
    examined,
    url_of,
    verdicts,
)
from tests.support.servers import reference_server


def test_a_proxy_elsewhere_is_asked_for_itself(monkeypatch):
    monkeypatch.setattr(destination, "_is_loopback", lambda host: False)
    with reference_server() as server:
        told = examined(server.url())
        asked = [(host, port) for command, host, port in server.asked if command == "CONNECT"]
    assert asked == [(host, server.port) for host in ("127.0.0.1", "localhost", "::1", "127.0.0.1")]
    # It listens on 127.0.0.1 alone, which says nothing about its IPv6.
    assert verdicts(told).items() >= {**TCP, "ipv6": UNKNOWN, "pipelining": YES}.items()


def test_a_socks4_proxy_elsewhere_is_asked_for_itself(monkeypatch):
    monkeypatch.setattr(destination, "_is_loopback", lambda host: False)
    with reference_server() as server:
        told = examined(server.url(scheme="socks4"))
    assert verdicts(told).items() >= {"connect": YES, "names": ABSENT, "pipelining": YES}.items()


def test_a_proxy_elsewhere_that_refuses_itself_is_asked_for_us(monkeypatch, dante):
    monkeypatch.setattr(destination, "_is_loopback", lambda host: False)
    told = examined(url_of(dante))
    assert verdicts(told).items() >= {"connect": YES, "udp": YES, "bind": YES, "pipelining": YES}.items()


@pytest.mark.parametrize(
    "proxy, address, loopback",
    [
        ("localhost", "127.0.0.1", True),
        ("127.8.0.1", "127.8.0.1", True),
        ("::1", "::1", True),
        ("proxy.test", "127.0.0.1", True),
        ("proxy.test", "192.0.2.1", False),
        ("2001:db8::1", "2001:db8::1", False),
    ],
)
def test_our_listener_is_for_proxies_on_this_machine(proxy, address, loopback):
    with destination.Listener() as listener:
        found = destination.destinations((Proxy("socks5h", proxy),), address, None, listener)
        assert found.here == loopback
        assert (found.plain.endpoint.port == listener.port) == loopback


def test_our_listener_is_not_for_a_chain_that_leaves_this_machine():
    path = (Proxy("socks5h", "proxy.test"), Proxy("socks5h", "127.0.0.1"))
    with destination.Listener() as listener:
        found = destination.destinations(path, "127.0.0.1", None, listener)
    assert found.plain.endpoint == Endpoint("127.0.0.1", 1080)


def test_our_listener_is_silent_to_strangers():
    with destination.Listener() as listener, socket.create_connection(("127.0.0.1", listener.port)) as sock:
        sock.settimeout(PATIENT)
        sock.sendall(b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(100) == b""


def test_the_users_own_destination(refusing_port):
    with reference_server() as server, destinations.greeting_server() as target:
        told = examined(server.url(), target=Endpoint(target.host, target.port))
        assert told["works"]
        told = examined(server.url(), target=Endpoint("127.0.0.1", refusing_port))
    assert told["connect"]["verdict"] == NO
    assert told["error"] == f"connection refused (asked for 127.0.0.1:{refusing_port})"


@pytest.mark.parametrize(
    "text, endpoint",
    [
        ("Example.org:443", Endpoint("example.org", 443)),
        ("192.0.2.1:80", Endpoint("192.0.2.1", 80)),
        ("[2001:DB8::1]:443", Endpoint("2001:db8::1", 443)),
    ],
)
def test_target(text, endpoint):
    assert check.parse_target(text) == endpoint


@pytest.mark.parametrize(
    "text", ["", "host", "host:", "host:0", "host:http", ":80", "2001:db8::1:443", "[h]:1"]
)
def test_not_a_target(text):
    with pytest.raises(ConfigError):
        check.parse_target(text)
