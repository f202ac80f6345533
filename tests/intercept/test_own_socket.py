"""Sockets of ours, whose descriptors the program may close or reuse."""

from __future__ import annotations

import os

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
