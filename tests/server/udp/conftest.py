"""Sockets for datagrams."""

import socket

import pytest

from tests.support.servers import PATIENCE


@pytest.fixture
def udp():
    socks = []

    def bound(host="127.0.0.1"):
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        socks.append(sock)
        sock.settimeout(PATIENCE)
        try:
            sock.bind((host, 0))
        except OSError:
            pytest.skip("no IPv6 on this machine")
        return sock

    yield bound
    for sock in socks:
        sock.close()
