"""Socket addresses as bytes: as the kernel has them, and back."""

import ctypes
import socket

import pytest

from pywrap.server.udp.sockaddr import length_of, pack_sockaddr, unpack_sockaddr

ADDRESSES = [
    (socket.AF_INET, ("192.0.2.1", 53)),
    (socket.AF_INET6, ("2001:db8::1", 65535, 0, 0)),
    (socket.AF_INET6, ("fe80::1", 1, 0, 7)),
]


@pytest.mark.parametrize(("family", "address"), ADDRESSES)
def test_there_and_back(family, address):
    data = pack_sockaddr(family, address)
    assert len(data) == length_of(family)
    assert unpack_sockaddr(data) == (family, address)


def test_an_address_without_flow_and_zone_has_zeros():
    assert pack_sockaddr(socket.AF_INET6, ("::1", 80)) == pack_sockaddr(socket.AF_INET6, ("::1", 80, 0, 0))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_is_what_the_kernel_writes(host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.bind((host, 0))
        except OSError:
            pytest.skip("no IPv6 on this machine")
        written = (ctypes.c_char * 28)()
        length = ctypes.c_uint(28)
        assert ctypes.CDLL(None).getsockname(sock.fileno(), written, ctypes.byref(length)) == 0
        assert pack_sockaddr(family, sock.getsockname()) == written[: length.value]
