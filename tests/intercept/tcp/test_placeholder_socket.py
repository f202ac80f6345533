"""What a program holds while its connection is opened."""

from __future__ import annotations

import os
import select
import socket

import pytest

from pywrap.intercept.hand_over import put
from pywrap.intercept.tcp.placeholder_socket import placeholder


@pytest.fixture
def ends():
    near, far = placeholder()
    yield near, far
    near.close()
    far.close()


def test_it_is_neither_readable_nor_writable(ends):
    near, _ = ends
    assert select.select([near], [near], [], 0) == ([], [], [])


def test_it_becomes_readable_when_its_other_end_is_closed(ends):
    near, far = ends
    far.close()
    assert select.select([near], [], [], 0)[0] == [near]


def test_it_costs_no_more_memory_than_the_kernels_minimum(ends):
    near, _ = ends
    # Linux doubles what is asked for, and has 4.5 KiB at the least (socket(7)).
    assert near.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 4608


@pytest.mark.parametrize("inheritable", [True, False])
def test_a_socket_takes_its_place_and_children_inherit_it_or_not_as_before(ends, inheritable):
    near, _ = ends
    os.set_inheritable(near.fileno(), inheritable)
    one, other = socket.socketpair()
    with one, other:
        put(one, near.fileno())
        other.send(b"hello")
        assert os.read(near.fileno(), 5) == b"hello"
        assert os.get_inheritable(near.fileno()) is inheritable


def test_a_descriptor_that_is_closed_stays_an_error(ends):
    near, _ = ends
    lost = socket.socket()
    lost.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        put(lost, near.fileno())
    assert select.select([near], [near], [], 0) == ([], [], [])
