"""_socket.socket, and the libraries that build on it."""

from __future__ import annotations

import socket
import sys

import pytest

from tests.support.child import kernel, source_of
from tests.support.inside import PATIENCE, outcome, say
from tests.support.run import program, pysocksify, run


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_monkey_patched_programs_are_tunnelled(proxy, http_server, library):
    command = pysocksify("-x", proxy.url(), "--loopback", "proxy")
    said = run(*command, *program(f"fetch_{library}.py"), http_server.url("/")).json
    assert said["bodies"] == ["hello from the destination\n"]
    assert said["socket"].startswith(library)
    assert proxy.asked == [("CONNECT", http_server.host, http_server.port)] * 10


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_and_their_names_go_to_the_proxy(proxy, library):
    command = pysocksify("-x", proxy.url())
    ran = run(*command, *program(f"fetch_{library}.py"), "http://nowhere.invalid/", status=1)
    assert "[Errno 113]" in ran.err
    assert set(proxy.asked) == {("CONNECT", "nowhere.invalid", 80)}


def test_a_hanging_connection_does_not_block_gevent(hanging):
    said = run(*pysocksify("-x", hanging), *program("tick_gevent.py"), "192.0.2.1", 80, 1).json
    assert said["outcome"] == "TimeoutError"
    assert said["longest"] < 0.5 * said["took"]


def test_modules_that_use_epoll_are_imported_after_gevent_has_removed_it(proxy):
    def program():
        from gevent import monkey

        monkey.patch_all()
        import asyncio
        import multiprocessing.reduction
        import select

        say(epoll=hasattr(select, "epoll"), imported=[asyncio.__name__, multiprocessing.__name__])

    said = kernel(proxy.url(), program)
    assert said == run(sys.executable, "-c", source_of(program)).json
    assert said == {"epoll": False, "imported": ["asyncio", "multiprocessing"]}


def test_the_raw_class_is_tunnelled(proxy, echo_server):
    def program(host, port):
        import _socket

        sock = _socket.socket()
        sock.settimeout(PATIENCE)
        sock.connect((host, port))
        sock.sendall(b"hello")
        named = outcome(_socket.socket().connect, ("nowhere.invalid", 80))[1]
        say(peer=sock.getpeername(), echoed=sock.recv(5).decode(), named=named)

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said == {"peer": [echo_server.host, echo_server.port], "echoed": "hello", "named": "EHOSTUNREACH"}
    assert proxy.asked[1] == ("CONNECT", "nowhere.invalid", 80)


def test_objects_count_as_before(proxy):
    def program():
        import _socket

        class Own(_socket.socket):
            __slots__ = ("__weakref__",)

        left, right = _socket.socketpair()
        sock, own = socket.socket(), Own()
        say(
            pair=isinstance(left, _socket.socket),
            sock=isinstance(sock, _socket.socket),
            sub=issubclass(socket.socket, _socket.socket),
            type=isinstance(sock, socket.SocketType),
            own=isinstance(own, _socket.socket),
            not_own=isinstance(sock, Own),
            name=str(_socket.socket),
            closed=[own.close(), own.fileno()],
        )
        left.close(), right.close()

    said = kernel(
        proxy.url(),
        program,
    )
    assert said == {
        "pair": True,
        "sock": True,
        "sub": True,
        "type": True,
        "own": True,
        "not_own": False,
        "name": "<class '_socket.socket'>",
        "closed": [None, -1],
    }


def test_nothing_can_be_set_in_the_class_as_without_us(proxy):
    def program():
        import _socket

        class Own(_socket.socket):
            pass

        Own.mine = "set"
        told = []
        for attempt in (
            lambda: setattr(_socket.socket, "mine", 1),
            lambda: setattr(_socket.socket, "connect", None),
            lambda: delattr(_socket.socket, "mine"),
        ):
            try:
                attempt()
            except TypeError as err:
                told.append(str(err))
        del Own.mine
        say(told=told, own=hasattr(Own, "mine"))

    said = kernel(proxy.url(), program)
    assert said == run(sys.executable, "-c", source_of(program)).json
    assert len(said["told"]) == 3
