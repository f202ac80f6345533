"""Programs that patch sockets themselves see what they would see without us."""

from __future__ import annotations

import sys

import pytest

from tests.support import destinations
from tests.support.datagrams import udp_echo
from tests.support.run import PROGRAMS, pysocksify, run
from tests.support.servers import reference_server

PROGRAM = PROGRAMS / "patch_sockets.py"


@pytest.fixture
def proxy():
    with reference_server() as server:
        yield server


@pytest.fixture
def port():
    """Of an echo server of each protocol, on 127.0.0.1."""
    with destinations.echo_server() as server, udp_echo(port=server.port):
        yield server.port


@pytest.mark.parametrize(
    ("how", "connections"),
    [
        *(("mocks", 1), ("subclasses", 4), ("guard", 2), ("own_getaddrinfo", 1)),
        *(("replaced_by_pysocks", 1), ("green", 1)),
    ],
)
def test_it_sees_what_it_would_see_without_us(proxy, port, how, connections):
    command = (sys.executable, PROGRAM, how, "127.0.0.1", port)
    plain = run(*command).json
    ours = run(*pysocksify("-x", proxy.url(), "--loopback", "proxy"), *command).json
    assert ours == plain
    assert len(proxy.asked) == connections
