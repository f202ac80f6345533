"""HTTP CONNECT against servers that others wrote."""

from __future__ import annotations

import socket

import pytest

from pywrap.errors import AuthenticationFailed, Rejected, to_oserror
from pywrap.socks import http
from pywrap.socks.wire import Endpoint
from tests.support import destinations
from tests.support.play import echoes


@pytest.fixture(params=["tinyproxy", "proxy_py"])
def peer(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["tinyproxy_with_password", "proxy_py_with_password"])
def peer_with_password(request):
    return request.getfixturevalue(request.param)


def test_to_an_ipv4_address(peer, reach, echo_server):
    assert echoes(reach(peer, http.connect(Endpoint("127.0.0.1", echo_server.port))))
    assert len(echo_server.seen) == 1


def test_to_an_ipv6_address(tinyproxy, reach):
    # proxy.py takes the brackets for a part of the address (2.4.10).
    with destinations.echo_server("::1") as echo_server:
        assert echoes(reach(tinyproxy, http.connect(Endpoint("::1", echo_server.port))))


def test_to_a_name(peer, reach):
    address = socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)[0][4][0]
    with destinations.echo_server(address) as echo_server:
        assert echoes(reach(peer, http.connect(Endpoint("localhost", echo_server.port))))


def test_a_server_that_speaks_first_loses_nothing(peer, reach, greeting_server):
    for _ in range(20):
        sock = reach(peer, http.connect(Endpoint("127.0.0.1", greeting_server.port)))
        assert sock.recv(len(destinations.BANNER), socket.MSG_WAITALL) == destinations.BANNER


def test_a_refused_connection(peer, reach, refusing_port):
    with pytest.raises(Rejected) as caught:
        reach(peer, http.connect(Endpoint("127.0.0.1", refusing_port)))
    assert isinstance(to_oserror(caught.value), ConnectionRefusedError)


def test_a_password(peer_with_password, reach, echo_server):
    here = Endpoint("127.0.0.1", echo_server.port)
    assert echoes(reach(peer_with_password, http.connect(here, b"alice", b"secret")))


@pytest.mark.parametrize("login", [(b"alice", b"wrong"), (b"bob", b"secret"), ()])
def test_a_wrong_password(login, peer_with_password, reach, echo_server):
    with pytest.raises((AuthenticationFailed, Rejected)) as caught:
        reach(peer_with_password, http.connect(Endpoint("127.0.0.1", echo_server.port), *login))
    assert isinstance(to_oserror(caught.value), PermissionError)
    assert echo_server.seen == []
