"""The last descriptors are kept for refusals."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from pywrap.relay import descriptor_reserve
from pywrap.relay.descriptor_reserve import is_reserved, open_socket


@pytest.fixture
def limit(monkeypatch):
    def limit(count):
        monkeypatch.setattr(descriptor_reserve, "getrlimit", lambda _: (count, count))

    return limit


@pytest.mark.parametrize(
    ("count", "first"),
    [(1024, 1008), (64, 48), (40, 30), (8, 6)],
    ids=["16 of many", "a quarter of 64", "a quarter of 40", "a quarter of 8"],
)
def test_sixteen_or_a_quarter(limit, count, first):
    limit(count)
    assert not is_reserved(first - 1)
    assert is_reserved(first)


def test_no_limit_has_no_reserve(limit):
    limit(-1)
    assert not is_reserved(1 << 20)


def test_a_socket_never_waits_and_is_not_inherited():
    sock = open_socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        assert not os.get_inheritable(sock.fileno())
        with pytest.raises(BlockingIOError):
            sock.recv(1)
    finally:
        sock.close()


def test_no_socket_is_made_of_the_reserve(limit):
    limit(4)
    with pytest.raises(OSError) as caught:
        open_socket(socket.AF_INET, socket.SOCK_STREAM)
    assert caught.value.errno == errno.EMFILE
