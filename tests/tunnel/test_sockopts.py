"""The socket that takes another one's place: what was set on that is set on it."""

from __future__ import annotations

import _socket
import socket
from contextlib import ExitStack

import pytest

from pywrap.tunnel.first_hop import clone_socket

IP, IPV6, SOCKET, TCP = _socket.IPPROTO_IP, _socket.IPPROTO_IPV6, _socket.SOL_SOCKET, _socket.IPPROTO_TCP

# Level, number (of the kernel's headers: Python has no names for most), a value that is not the default.
OF_SOCKETS = {
    "SO_REUSEADDR": (SOCKET, 2, 1),
    "SO_DONTROUTE": (SOCKET, 5, 1),
    "SO_BROADCAST": (SOCKET, 6, 1),
    "SO_RCVLOWAT": (SOCKET, 18, 7),
    "SO_TIMESTAMPNS": (SOCKET, 35, 1),
    "SO_TIMESTAMPING": (SOCKET, 37, 1 << 4 | 1 << 3),
    "SO_RXQ_OVFL": (SOCKET, 40, 1),
    "SO_MAX_PACING_RATE": (SOCKET, 47, 100_000),
}
OF_IPV4 = {
    "IP_TOS": (IP, 1, 0x28),
    "IP_TTL": (IP, 2, 33),
    "IP_PKTINFO": (IP, 8, 1),
    "IP_MTU_DISCOVER": (IP, 10, 2),
    "IP_RECVERR": (IP, 11, 1),
    "IP_RECVTTL": (IP, 12, 1),
    "IP_RECVTOS": (IP, 13, 1),
    "IP_MULTICAST_LOOP": (IP, 34, 0),
}
OF_IPV6 = {
    "IPV6_UNICAST_HOPS": (IPV6, 16, 55),
    "IPV6_MULTICAST_LOOP": (IPV6, 19, 0),
    "IPV6_MTU_DISCOVER": (IPV6, 23, 2),
    "IPV6_RECVERR": (IPV6, 25, 1),
    "IPV6_V6ONLY": (IPV6, 26, 1),
    "IPV6_RECVPKTINFO": (IPV6, 49, 1),
    "IPV6_RECVTCLASS": (IPV6, 66, 1),
    "IPV6_TCLASS": (IPV6, 67, 0x28),
}
OF_DATAGRAMS = {"SO_TIMESTAMP": (SOCKET, 29, 1), "IP_MULTICAST_TTL": (IP, 33, 7)}
OF_STREAMS = {
    "TCP_NODELAY": (TCP, 1, 1),
    "TCP_CORK": (TCP, 3, 1),
    "TCP_SYNCNT": (TCP, 7, 2),
    "TCP_NOTSENT_LOWAT": (TCP, 25, 16384),
}

KINDS = {
    "udp": (_socket.AF_INET, _socket.SOCK_DGRAM, OF_SOCKETS | OF_IPV4 | OF_DATAGRAMS),
    "udp6": (_socket.AF_INET6, _socket.SOCK_DGRAM, OF_SOCKETS | OF_IPV4 | OF_IPV6 | OF_DATAGRAMS),
    "tcp": (_socket.AF_INET, _socket.SOCK_STREAM, OF_SOCKETS | OF_IPV4 | OF_STREAMS),
    "tcp6": (_socket.AF_INET6, _socket.SOCK_STREAM, OF_SOCKETS | OF_IPV4 | OF_IPV6 | OF_STREAMS),
}


@pytest.fixture
def made():
    """``made(family, type)``: a socket that is closed at the end."""
    with ExitStack() as stack:

        def make(family, kind):
            try:
                return stack.enter_context(_ByWith(family, kind))
            except OSError:
                pytest.skip("no IPv6 on this machine")

        yield make


class _ByWith(_socket.socket):
    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def values(sock, options):
    return {name: sock.getsockopt(level, number) for name, (level, number, _) in options.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_is_taken_over(kind, made):
    family, type_, options = KINDS[kind]
    old = made(family, type_)
    wanted = {}
    for name, (level, number, value) in options.items():
        # One after the other: some hide each other (SO_TIMESTAMP, SO_TIMESTAMPNS).
        assert old.getsockopt(level, number) != value, name
        old.setsockopt(level, number, value)
        with clone_socket(old, family) as fresh:
            assert fresh.getsockopt(level, number) == value, name
    wanted = values(old, options)
    with clone_socket(old, family) as fresh:
        assert values(fresh, options) == wanted


def test_the_priority_is_not_that_of_the_type_of_service(made):
    old = made(_socket.AF_INET, _socket.SOCK_DGRAM)
    old.setsockopt(IP, _socket.IP_TOS, 0x28)
    old.setsockopt(SOCKET, _socket.SO_PRIORITY, 3)
    with clone_socket(old, _socket.AF_INET) as fresh:
        assert fresh.getsockopt(IP, _socket.IP_TOS) == 0x28
        assert fresh.getsockopt(SOCKET, _socket.SO_PRIORITY) == 3


@pytest.mark.parametrize("type_", [_socket.SOCK_DGRAM, _socket.SOCK_STREAM])
def test_what_leaves_an_ipv6_socket_is_as_the_ipv4_one_wanted_it(type_, made):
    made(_socket.AF_INET6, type_)
    old = made(_socket.AF_INET, type_)
    options = OF_SOCKETS | OF_IPV4
    for level, number, value in options.values():
        old.setsockopt(level, number, value)
    with clone_socket(old, _socket.AF_INET6) as fresh:
        # Of IPv4: for mapped addresses.
        assert values(fresh, options) == values(old, options)
        assert fresh.getsockopt(IPV6, _socket.IPV6_TCLASS) == 0x28
        assert fresh.getsockopt(IPV6, _socket.IPV6_UNICAST_HOPS) == 33
        assert fresh.getsockopt(IPV6, 23) == 2  # IPV6_MTU_DISCOVER
        assert fresh.getsockopt(IPV6, _socket.IPV6_RECVPKTINFO) == 0


def test_what_a_connection_has_changed_by_itself_is_not_taken_over(made):
    with socket.create_server(("127.0.0.1", 0)) as server:
        old = made(_socket.AF_INET, _socket.SOCK_STREAM)
        old.connect(server.getsockname())
        plain = made(_socket.AF_INET, _socket.SOCK_STREAM)
        with clone_socket(old, _socket.AF_INET) as fresh:
            for number in (2, 10, 12):  # TCP_MAXSEG, TCP_WINDOW_CLAMP, TCP_QUICKACK
                assert fresh.getsockopt(TCP, number) == plain.getsockopt(TCP, number)


@pytest.mark.parametrize("option, bit", [(_socket.SO_SNDBUF, 1), (_socket.SO_RCVBUF, 2)])
def test_buffers_grow_by_themselves_unless_the_program_has_set_them(option, bit):
    locked = 72  # SO_BUF_LOCK
    with socket.create_server(("127.0.0.1", 0)) as server:
        # Connected: the kernel has made its buffers larger.
        with socket.create_connection(server.getsockname()) as old:
            with clone_socket(old, _socket.AF_INET) as fresh:
                assert fresh.getsockopt(SOCKET, locked) == 0
            old.setsockopt(SOCKET, option, 20000)
            with clone_socket(old, _socket.AF_INET6) as fresh:
                assert fresh.getsockopt(SOCKET, locked) == bit
                assert fresh.getsockopt(SOCKET, option) == 40000
