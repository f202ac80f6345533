"""A socket whose packets are to go by other hosts: refused, since they would leave for these."""

from __future__ import annotations

import pytest

from pywrap.intercept.source_routes import _has_route
from tests.support.child import talk
from tests.support.datagrams import udp_echo
from tests.support.inside import echo, outcome, say
from tests.support.servers import reference_server

LOOSE = bytes([131, 7, 4, 203, 0, 113, 9])
TIMESTAMP = bytes([68, 8, 5, 0, 0, 0, 0, 0])


@pytest.fixture
def proxy():
    with reference_server() as server:
        yield server


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (LOOSE, True),
        (bytes([137]) + LOOSE[1:], True),
        (bytes([1, 1, 1]) + LOOSE, True),
        (TIMESTAMP + LOOSE, True),
        (TIMESTAMP, False),
        (bytes(4) + LOOSE, False),
        (b"", False),
        (bytes([68]), False),
        (bytes([68, 0]) + LOOSE, False),
    ],
)
def test_a_source_route_is_found_among_other_options(options, found):
    assert _has_route(options) == found


def test_a_datagram_with_a_source_route_is_refused_and_no_other(proxy):
    def program(host, port):
        import socket

        route = [(socket.IPPROTO_IP, 7, LOOSE + bytes(1))]
        headers = [(socket.IPPROTO_IPV6, kind, bytes(8)) for kind in (57, 5)]
        sock = socket.socket(type=socket.SOCK_DGRAM)
        refused = [outcome(sock.sendmsg, [b"first"], route, 0, (host, port))]
        sock.sendto(b"hello", (host, port))
        said = [sock.recv(100).decode()]
        refused.append(outcome(sock.sendmsg, [b"of a flow"], iter(route), 0, (host, port)))
        sock.connect((host, port))
        refused += [outcome(sock.sendmsg, [b"connected"], each) for each in (route, headers[:1], headers[1:])]
        sock.sendmsg(
            [b"with a", b" type of service"], [(socket.IPPROTO_IP, socket.IP_TOS, bytes([16, 0, 0, 0]))]
        )
        said.append(sock.recv(100).decode())
        say(refused=[each[:2] for each in refused], said=said)

    with udp_echo() as peer:
        said = talk(proxy, program, peer.host, peer.port)
    assert said == {
        "refused": [["PermissionError", "EPERM"]] * 5,
        "said": ["hello", "with a type of service"],
    }


def test_source_routes_are_refused_and_nothing_else_is(proxy, echo_server):
    def program(host, port):
        import socket

        sock = socket.socket()
        ipv6 = socket.socket(socket.AF_INET6)
        routing_header = bytes([0, 2, 2, 1]) + bytes(4) + socket.inet_pton(socket.AF_INET6, "2001:db8::9")
        refused = [
            outcome(sock.setsockopt, socket.IPPROTO_IP, socket.IP_OPTIONS, LOOSE + bytes(1)),
            outcome(ipv6.setsockopt, socket.IPPROTO_IP, socket.IP_OPTIONS, bytearray(LOOSE + bytes(1))),
            outcome(ipv6.setsockopt, socket.IPPROTO_IPV6, socket.IPV6_RTHDR, routing_header),
        ]
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, b"")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 57)
        ipv6.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RTHDR, b"")
        sock.connect((host, port))
        say(refused=[each[:2] for each in refused], echoed=echo(sock))

    said = talk(proxy, program, echo_server.host, echo_server.port)
    assert said == {"refused": [["PermissionError", "EPERM"]] * 3, "echoed": "hello"}
