"""The socket that a program gets back when its tunnel failed."""

from __future__ import annotations

import os
import resource
import socket
from contextlib import contextmanager

import pytest

from pywrap.intercept.own_socket import Own
from pywrap.intercept.tcp.unconnected import unconnected


@contextmanager
def no_descriptor():
    """None can be opened."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    first = os.dup(0)
    os.close(first)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def connected():
    with socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as sock:
            yield sock


def test_it_has_the_options_and_the_mode_and_no_peer(connected):
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setblocking(False)
    with unconnected(connected) as fresh:
        assert fresh is not connected
        assert fresh.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert not os.get_blocking(fresh.fileno())
        with pytest.raises(OSError, match="not connected"):
            fresh.getpeername()


def test_it_can_be_connected_again(connected):
    with socket.create_server(("127.0.0.1", 0)) as second, unconnected(connected) as fresh:
        fresh.settimeout(30)
        fresh.connect(second.getsockname())
        assert fresh.getpeername() == second.getsockname()


def test_without_a_descriptor_nothing_can_be_written_into_the_old_one(connected):
    with no_descriptor():
        assert unconnected(connected) is connected
    with pytest.raises(BrokenPipeError):
        connected.send(b"into a handshake")


def test_without_a_descriptor_a_socket_that_was_never_connected_stays_as_it_is():
    with socket.socket() as sock, no_descriptor():
        assert unconnected(sock) is sock


def test_what_the_program_has_closed_is_not_touched_without_a_descriptor():
    ours = Own()
    os.close(ours.fileno())
    read, write = os.pipe()
    os.dup2(read, ours.fileno())
    with no_descriptor():
        assert unconnected(ours) is ours
    fd = ours.fileno()
    ours.close()
    # The pipe has that number now, and is open.
    os.close(fd)
    os.close(read) if read != fd else None
    os.close(write)
