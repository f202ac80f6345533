"""What the audit hook refuses, of calls that have not come through the patches."""

from __future__ import annotations

import errno
import socket

import pytest

from pywrap.config.settings import Chain, Proxy, Settings
from pywrap.intercept import audit
from pywrap.intercept.registry import SocketRegistry
from pywrap.intercept.runtime import Runtime

PROXY = Proxy("socks5h", "192.0.2.9", 1080)


def runtime(**settings):
    return Runtime(Settings(chains=(Chain(proxies=(PROXY,)),), **settings), SocketRegistry())


@pytest.fixture
def stream():
    with socket.socket() as sock:
        yield sock


@pytest.fixture
def datagram():
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        yield sock


def refused(by, event, *args):
    """Why, or "" when it passes."""
    try:
        audit.check(by, event, args)
    except PermissionError as err:
        assert err.errno == errno.EPERM
        return err.strerror
    return ""


def test_a_destination_that_needs_the_proxy_is_refused(stream, datagram):
    why = "pysocksify refused: 192.0.2.1:80 would be reached directly, past the proxy"
    assert refused(runtime(), "socket.connect", stream, ("192.0.2.1", 80)) == why
    for event in "socket.sendto", "socket.sendmsg", "socket.connect":
        assert refused(runtime(), event, datagram, ("192.0.2.1", 80)) == why


def test_a_direct_destination_passes(stream, datagram):
    for sock in stream, datagram:
        assert refused(runtime(), "socket.connect", sock, ("127.0.0.1", 80)) == ""


def test_the_first_hop_passes_for_streams_alone(stream, datagram):
    hop = PROXY.host, PROXY.port
    assert refused(runtime(), "socket.connect", stream, hop) == ""
    assert refused(runtime(), "socket.sendto", datagram, hop) != ""


def test_what_names_no_destination_passes(stream):
    # sendmsg() of a connected socket; and what never leaves the machine.
    assert refused(runtime(), "socket.sendmsg", stream, None) == ""
    with socket.socket(socket.AF_UNIX) as local:
        assert refused(runtime(), "socket.connect", local, "/nowhere") == ""


def test_an_address_that_cannot_be_read_is_refused(stream):
    why = refused(runtime(), "socket.connect", stream, ("192.0.2.1",))
    assert why == "pysocksify refused: cannot tell where ('192.0.2.1',) is"


@pytest.mark.parametrize("event", ["socket.getaddrinfo", "socket.gethostbyname"])
def test_names_are_not_for_the_local_resolver(event):
    why = "pysocksify refused: the local resolver would be asked for example.org"
    assert refused(runtime(), event, "example.org", 80, 0, 0, 0) == why
    for host in "192.0.2.1", "::1", None, "":
        assert refused(runtime(), event, host) == ""
    assert refused(runtime(dns="local"), event, "example.org") == ""


@pytest.mark.parametrize("event", ["socket.gethostbyaddr", "socket.getnameinfo"])
def test_names_of_addresses_are_not_for_the_local_resolver(event):
    assert refused(runtime(), event, "192.0.2.1") != ""
    assert refused(runtime(dns="local"), event, "192.0.2.1") == ""


def test_sockets_below_ip_are_refused():
    why = "pysocksify refused: AF_PACKET sockets bypass every proxy"
    assert refused(runtime(), "socket.__new__", None, 17, socket.SOCK_RAW, 0) == why
