from __future__ import annotations

import os
import socket

from pywrap.launch.watch.proc_sockets import Socket, sockets_of, tables_of


def own():
    return sockets_of(os.getpid(), tables_of(os.getpid()))


def test_a_connection_is_seen_from_both_ends_and_its_listener_too():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client, server.accept()[0]:
            mine = client.getsockname()[1]
            found = own()
    assert Socket("tcp", "connected", "127.0.0.1", mine, "127.0.0.1", port) in found
    assert Socket("tcp", "connected", "127.0.0.1", port, "127.0.0.1", mine) in found
    assert Socket("tcp", "listening", "127.0.0.1", port) in found


def test_datagram_sockets_have_a_peer_or_none():
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        other.connect(("127.0.0.1", port))
        mine = other.getsockname()[1]
        found = own()
    assert Socket("udp", "open", "127.0.0.1", port) in found
    assert Socket("udp", "connected", "127.0.0.1", mine, "127.0.0.1", port) in found


def test_ipv4_on_an_ipv6_socket_is_ipv4():
    with socket.socket(socket.AF_INET6) as server:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        server.bind(("::ffff:127.0.0.1", 0))
        server.listen()
        assert Socket("tcp", "listening", "127.0.0.1", server.getsockname()[1]) in own()
