"""Servers that go through other proxies: clients that ask them, and sockets that they are asked to bind."""

import socket

from pywrap.config.route_rules import parse_route
from pywrap.config.url import parse_proxy
from pywrap.server.upstream import Upstream
from tests.support.raw_sockets import receive
from tests.support.servers import PATIENCE


def through(*urls, routes=()):
    """The way of a server through the chain of ``urls``, but for ``routes``."""
    rules = [rule for route in routes for rule in parse_route(route.split())]
    return Upstream([parse_proxy(url) for url in urls], rules)


def ask(client, server, destination, command=1):
    """Send SOCKS5 ``command`` for ``destination``, packed; return the socket and the reply code."""
    sock = client.connect(server)
    sock.sendall(b"\x05\x01\x00" + bytes([5, command, 0]) + destination)
    assert receive(sock, 2) == b"\x05\x00"
    return sock, receive(sock, 4)[1]


def name(text, port):
    """``text`` and ``port`` as a destination in a SOCKS5 request (RFC 1928, section 4)."""
    return b"\x03" + bytes([len(text)]) + text.encode() + port.to_bytes(2, "big")


def visit(place):
    """A connection to ``place`` from 127.0.0.1."""
    return socket.create_connection(place, PATIENCE, ("127.0.0.1", 0))


def listening(sock, version=5):
    """The address and port of the first reply to a BIND on ``sock``, in SOCKS ``version``."""
    if version == 4:
        reply = receive(sock, 8)
        assert reply[:2] == b"\0\x5a"
        return socket.inet_ntoa(reply[4:]), int.from_bytes(reply[2:4], "big")
    reply = receive(sock, 10)
    assert reply[:4] == b"\x05\0\0\x01"
    return socket.inet_ntoa(reply[4:8]), int.from_bytes(reply[8:], "big")
