"""What connect() says of a socket that has been connected before."""

import errno
import socket

import pytest

from pywrap.intercept.registry import SocketRegistry
from pywrap.intercept.socket_inodes import inode
from pywrap.intercept.tcp.connected_errno import known_error


@pytest.fixture
def registry():
    return SocketRegistry()


@pytest.fixture
def sock():
    with socket.socket() as sock:
        yield sock


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_a_fresh_socket_may_connect(registry, sock):
    assert known_error(registry, sock) == 0


def test_a_connected_one_is_connected(registry, sock, listener):
    sock.connect(listener.getsockname())
    assert known_error(registry, sock) == errno.EISCONN


def test_one_that_listens_is_connected_as_the_kernel_says_it(registry, listener):
    assert known_error(registry, listener) == errno.EISCONN


def test_one_that_was_refused_may_try_again(registry, sock, listener):
    place = listener.getsockname()
    listener.close()
    assert sock.connect_ex(place) == errno.ECONNREFUSED
    assert known_error(registry, sock) == 0


def test_one_that_another_thread_connects_is_connecting(registry, sock):
    registry.connecting.add(inode(sock.fileno()))
    assert known_error(registry, sock) == errno.EALREADY
