"""TLS and Kerberos in the URL of a proxy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.config.settings import PROTECTIONS, Kerberos, Proxy, Tls
from pywrap.config.url import format_proxy, parse_proxy  # type: ignore[attr-defined]
from pywrap.errors import ConfigError
from tests.support.strategies import proxy_hosts

files = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1) | st.just("")


over_tls = st.none() | st.builds(
    Tls, proxy_hosts | st.just(""), files, st.sampled_from(["", "0a" * 32]), files
)


with_kerberos = st.none() | st.builds(
    Kerberos, st.sampled_from(["", "socks/h"]), st.sampled_from(PROTECTIONS)
)


@given(st.sampled_from(["socks5", "socks5h"]), proxy_hosts, over_tls, with_kerberos)
def test_what_secures_it_is_written_and_read_again(scheme, host, tls, kerberos):
    proxy = Proxy(scheme, host, 1080, None, None, tls, kerberos)
    assert parse_proxy(format_proxy(proxy)) == proxy


@pytest.mark.parametrize(
    "text, proxy",
    [
        ("https://h", Proxy("http", "h", 443, tls=Tls())),
        ("http+tls://h", Proxy("http", "h", 443, tls=Tls())),
        ("SOCKS5H+TLS://u:p@h", Proxy("socks5h", "h", 1080, b"u", b"p", Tls())),
        ("socks+tls://h/?ca=/a%20b", Proxy("socks5h", "h", tls=Tls(ca="/a b"))),
        ("raw+tls://h:9?name=n", Proxy("raw", "h", 9, tls=Tls("n"))),
        ("socks5+tls://h?pin=" + "AB:" * 31 + "cd", Proxy("socks5", "h", tls=Tls(pin="ab" * 31 + "cd"))),
        ("socks5://h?gssapi", Proxy("socks5", "h", kerberos=Kerberos())),
        (
            "socks5h+tls://h?gssapi=socks/x&protection=none&cert=c",
            Proxy("socks5h", "h", tls=Tls(certificate="c"), kerberos=Kerberos("socks/x", "none")),
        ),
    ],
)
def test_tls_and_kerberos(text, proxy):
    assert parse_proxy(text) == proxy


@pytest.mark.parametrize(
    "text, message",
    [
        ("socks5+tls://h?cafile=x", "unknown word behind the `?` of a proxy: `cafile`"),
        ("socks5://h?ca=x", "unknown word behind the `?` of a proxy: `ca`"),
        ("socks4+tls://h?gssapi", "unknown word behind the `?` of a proxy: `gssapi`"),
        ("socks5+tls://h?pin=12", "not the SHA-256 of a certificate: `12`"),
        ("socks5h://h?gssapi&protection=strong", "unknown protection: `strong`"),
        ("socks5h://h?protection=none", "`protection` without `gssapi` in the URL of a proxy"),
        ("socks5h://u:SECRET@h?gssapi", "a username besides Kerberos: `h:1080`"),
        (
            "socks5h://h?gssapi=socks@h",
            "proxy URL with more than a host and a port: `socks5h://h?gssapi=socks@h`",
        ),
    ],
)
def test_what_is_wrong_behind_the_question_mark(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_proxy(text)
    assert str(caught.value) == message
