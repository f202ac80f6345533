"""Logins by which Tor keeps the streams of one process apart from all others."""

from __future__ import annotations

from pywrap.config.settings import Chain, Proxy
from pywrap.tunnel.isolation import isolated

TOR = Proxy("socks5h", "127.0.0.1", 9050)
WITH_LOGIN = Proxy("socks5h", "127.0.0.1", 9050, b"alice", b"secret")
OTHERS = (Proxy("socks4a", "127.0.0.1", 1080), Proxy("http", "127.0.0.1", 8080), WITH_LOGIN)


def test_a_socks5_proxy_without_a_login_gets_one():
    (chain,) = isolated([Chain((TOR,), name="tor")])
    (hop,) = chain.proxies
    assert (hop.host, hop.port, chain.name) == (TOR.host, TOR.port, "tor")
    assert hop.username.startswith(b"pysocksify-") and hop.password


def test_no_other_run_has_that_login():
    first, second = (isolated([Chain((TOR,))])[0].proxies[0] for _ in range(2))
    assert first.password != second.password


def test_all_chains_of_a_run_share_it():
    one, other = isolated([Chain((TOR,)), Chain((TOR, *OTHERS), name="other")])
    assert one.proxies[0] == other.proxies[0]


def test_other_protocols_and_logins_of_the_user_are_left_alone():
    assert isolated([Chain(OTHERS)]) == [Chain(OTHERS)]
