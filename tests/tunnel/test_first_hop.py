"""A socket for the first hop: of its family, at the port that the program's has."""

from __future__ import annotations

import socket

import pytest

from pywrap.tunnel.first_hop import ProxyAddress, socket_for


@pytest.fixture
def proxies():
    """One with an address of each family, by that."""
    with socket.create_server(("127.0.0.1", 0)) as four:
        try:
            six = socket.create_server(("::1", 0), family=socket.AF_INET6)
        except OSError:
            pytest.skip("no IPv6 on this machine")
        with six:
            yield {
                4: ProxyAddress(socket.AF_INET, four.getsockname()),
                6: ProxyAddress(socket.AF_INET6, six.getsockname()),
            }


BOUND = {
    "not": (socket.AF_INET6, None, None),
    "any": (socket.AF_INET6, "::", None),
    "any, IPv6 alone": (socket.AF_INET6, "::", 1),
    "any, both": (socket.AF_INET6, "::", 0),
    "loopback": (socket.AF_INET6, "::1", None),
    "mapped": (socket.AF_INET6, "::ffff:127.0.0.1", 0),
    "IPv4": (socket.AF_INET, "0.0.0.0", None),
    "IPv4 loopback": (socket.AF_INET, "127.0.0.1", None),
}

# A socket with a mapped address reaches no IPv6 proxy: the kernel says so.
CASES = [(proxy, bound) for proxy in (4, 6) for bound in BOUND if (proxy, bound) != (6, "mapped")]


def free_port():
    """A port that neither family uses: by itself, the kernel looks at the one that asks."""
    while True:
        with socket.socket(socket.AF_INET6) as six, socket.socket() as four:
            six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            six.bind(("::", 0))
            try:
                four.bind(("0.0.0.0", six.getsockname()[1]))
            except OSError:
                continue
            return four.getsockname()[1]


@pytest.mark.parametrize("reuse", [0, 1])
@pytest.mark.parametrize("proxy, bound", CASES)
def test_it_connects_and_keeps_its_port(proxies, proxy, bound, reuse):
    family, host, v6_only = BOUND[bound]
    with socket.socket(family) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        if v6_only is not None:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6_only)
        if host is not None:
            sock.bind((host, free_port()))
        port = sock.getsockname()[1]
        fitting, sockaddr = socket_for(sock, proxies[proxy])
        try:
            fitting.connect(sockaddr)
            assert port in (0, fitting.getsockname()[1])
            assert fitting.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR) == reuse
            assert (fitting is sock) == (sock.family == proxies[proxy].family or bound in SAME)
        finally:
            fitting.close()


# An IPv6 socket that can reach an IPv4 proxy as it is.
SAME = ("not", "any", "any, both", "mapped")
