"""Sockets of ours, whose descriptors the program may close or reuse."""

from __future__ import annotations

import os
import socket

import pytest

from pywrap.intercept.own_socket import Own
from pywrap.tunnel.first_hop import is_lost


@pytest.fixture
def ours():
    sock = Own()
    yield sock
    sock.close()


def test_the_tunnel_finds_out_that_the_program_has_closed_our_descriptor(ours):
    assert not is_lost(ours)
    os.close(ours.fileno())
    assert is_lost(ours)


def test_the_tunnel_finds_out_that_our_descriptor_is_another_file_now(ours):
    read, write = os.pipe()
    os.dup2(read, ours.fileno())
    os.close(read)
    os.close(write)
    assert is_lost(ours)
    number = ours.fileno()
    ours.close()
    os.close(number)


@pytest.fixture(params=[5.0, 0.0])
def default_timeout(request):
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(request.param)
    yield
    socket.setdefaulttimeout(before)


@pytest.mark.parametrize("blocking", [True, False])
def test_the_default_timeout_of_the_program_is_none_of_ours(default_timeout, blocking):
    kind = socket.SOCK_STREAM if blocking else socket.SOCK_STREAM | socket.SOCK_NONBLOCK
    sock = Own(socket.AF_INET, kind)
    assert (sock.gettimeout(), os.get_blocking(sock.fileno())) == (None if blocking else 0, blocking)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_descriptor_keeps_its_mode_whatever_the_default_timeout_is(default_timeout, blocking):
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(blocking)
        for ours in Own.duplicate(near, 0), Own(near.family, near.type, 0, os.dup(near.fileno())):
            assert ours.gettimeout() == (None if blocking else 0)
        assert os.get_blocking(near.fileno()) == blocking
