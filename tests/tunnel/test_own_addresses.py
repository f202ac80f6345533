"""Which addresses are this machine's own, as its kernel says."""

import socket

import pytest

from pywrap.tunnel.own_addresses import is_own


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_is_own(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    assert is_own(socket.inet_pton(family, address), socket.socket)


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "198.51.100.7", "255.255.255.255", "2001:db8::1", "ff02::1"]
)
def test_others_are_not(address):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    assert not is_own(socket.inet_pton(family, address), socket.socket)


def test_nothing_is_own_where_the_kernel_cannot_be_asked():
    def no_socket(*_):
        raise OSError(24, "Too many open files")

    assert not is_own(bytes([127, 0, 0, 1]), no_socket)


def test_a_kernel_that_does_not_answer_is_not_waited_for():
    ours, other = socket.socketpair(type=socket.SOCK_DGRAM)
    with other:
        assert not is_own(bytes([127, 0, 0, 1]), lambda *_: ours)
    assert ours.fileno() == -1, "it is closed"
