from __future__ import annotations

import socket

import pytest

from tests.support.datagrams import udp_echo
from tests.support.servers import reference_server


@pytest.fixture
def proxy():
    with reference_server() as server:
        yield server


@pytest.fixture
def hanging(blackhole_proxy):
    """The URL of a proxy that takes a connection and never answers."""
    return f"socks5h://{blackhole_proxy.host}:{blackhole_proxy.port}"


@pytest.fixture
def proxy_6():
    """A proxy that has only an IPv6 address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with reference_server(listen=[("::1", 0)]) as server:
        yield server


@pytest.fixture
def echo():
    """A peer that sends every datagram back."""
    with udp_echo() as echo:
        yield echo
