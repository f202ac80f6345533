import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.config.settings import SCHEMES, Proxy
from pywrap.config.url import format_proxy, mask, parse_proxy  # type: ignore[attr-defined]
from pywrap.errors import ConfigError
from tests.support.strategies import proxy_hosts

TLS_HINT = "socks5h+tls://HOST:PORT; http+tls and the others likewise"
SCHEMES_HINT = "socks4, socks4a, socks5, socks5h, http, raw"


@pytest.mark.parametrize(
    "text, proxy",
    [
        ("socks4://127.0.0.1", Proxy("socks4", "127.0.0.1", 1080)),
        ("socks4a://user@127.0.0.1:9050", Proxy("socks4a", "127.0.0.1", 9050, b"user")),
        ("socks5://proxy.example", Proxy("socks5", "proxy.example", 1080)),
        ("socks5h://proxy.example:1", Proxy("socks5h", "proxy.example", 1)),
        # As GNOME, and Chromium, write and read it.
        ("socks://127.0.0.1:8080/", Proxy("socks5h", "127.0.0.1", 8080)),
        ("SOCKS5H://Proxy.Example/", Proxy("socks5h", "proxy.example", 1080)),
        ("socks5://[::1]", Proxy("socks5", "::1", 1080)),
        ("socks5://[0:0::1]:65535", Proxy("socks5", "::1", 65535)),
        ("socks5://bücher.example", Proxy("socks5", "xn--bcher-kva.example", 1080)),
        ("socks5://user:pass@h", Proxy("socks5", "h", 1080, b"user", b"pass")),
        ("socks5://user:pass@[::1]:9", Proxy("socks5", "::1", 9, b"user", b"pass")),
        ("socks5://user@h", Proxy("socks5", "h", 1080, b"user")),
        ("socks5://user:@h", Proxy("socks5", "h", 1080, b"user", b"")),
        ("socks5://@h", Proxy("socks5", "h", 1080)),
        ("socks5://us%65r:p%40%3a%2F%25@h", Proxy("socks5", "h", 1080, b"user", b"p@:/%")),
        (
            "socks5://j%C3%BCrgen:gr%C3%BC%C3%9F@h",
            Proxy("socks5", "h", 1080, b"j\xc3\xbcrgen", "grüß".encode()),
        ),
        ("socks5://jürgen:grüß@h", Proxy("socks5", "h", 1080, "jürgen".encode(), "grüß".encode())),
        # A byte of the command line that is not UTF-8, as Python hands it over.
        ("socks5://user:\udcff@h", Proxy("socks5", "h", 1080, b"user", b"\xff")),
        ("socks5://user:%00%ff@h", Proxy("socks5", "h", 1080, b"user", b"\0\xff")),
        # As curl: what is no escape is a per cent sign.
        ("socks5://user:100%@h", Proxy("socks5", "h", 1080, b"user", b"100%")),
        ("socks5://user:%zz%4@h", Proxy("socks5", "h", 1080, b"user", b"%zz%4")),
        ("socks5://user:p@ss:w@h:9", Proxy("socks5", "h", 9, b"user", b"p@ss:w")),
        (
            "socks5://" + "u" * 255 + ":" + "p" * 255 + "@h",
            Proxy("socks5", "h", 1080, b"u" * 255, b"p" * 255),
        ),
    ],
)
def test_forms_of_curl(text, proxy):
    assert parse_proxy(text) == proxy


@pytest.mark.parametrize(
    "text, message, hint",
    [
        (
            "127.0.0.1:1080",
            "proxy URL without a scheme: `127.0.0.1:1080`",
            "write one of these before it: socks4://, socks4a://, socks5://, socks5h://, http://, raw://",
        ),
        (
            "user:SECRET@h:1080",
            "proxy URL without a scheme: `user:***@h:1080`",
            "write one of these before it: socks4://, socks4a://, socks5://, socks5h://, http://, raw://",
        ),
        (
            "user:SECRET://x@h:1080",
            "proxy URL without a scheme: `user:***@h:1080`",
            "write one of these before it: socks4://, socks4a://, socks5://, socks5h://, http://, raw://",
        ),
        (
            "",
            "proxy URL without a scheme: ``",
            "write one of these before it: socks4://, socks4a://, socks5://, socks5h://, http://, raw://",
        ),
        (
            "https://us%3Aer:SECRET@h",
            "an HTTP username cannot contain a colon: `h:443`",
            "",
        ),
        (
            "http://us%3Aer:SECRET@h",
            "an HTTP username cannot contain a colon: `h:1080`",
            "",
        ),
        ("raw://user@h", "a raw hop is asked for nothing, so it has no username: `raw://user@h:1080`", ""),
        (
            "sock5://h",
            "unknown proxy scheme: `sock5`",
            f"did you mean `socks5`? Known schemes: {SCHEMES_HINT}",
        ),
        (
            "socks4A5://user:SECRET@h",
            "unknown proxy scheme: `socks4A5`",
            f"did you mean `socks4a`? Known schemes: {SCHEMES_HINT}",
        ),
        ("ftp://h", "unknown proxy scheme: `ftp`", f"known schemes: {SCHEMES_HINT}"),
        ("a+b://h", "unknown proxy scheme: `a+b`", f"known schemes: {SCHEMES_HINT}"),
        *(
            (
                f"{scheme}://user:SECRET@h:443",
                f"not how a proxy over TLS is written: `{shown}:***@h:443`",
                TLS_HINT,
            )
            for scheme, shown in [
                ("http+ssl", "http+ssl://user"),
                ("socks5s", "socks5s://user"),
                ("tls", "tls://user"),
                # No scheme by its letters, and nothing else: masked from the first colon on.
                ("socks5-tls", "socks5-tls"),
            ]
        ),
        ("socks5://", "proxy URL without a host", "write it as `socks5h://HOST:PORT`"),
        ("socks5://:1080", "proxy URL without a host", "write it as `socks5h://HOST:PORT`"),
        ("socks5://user:SECRET@", "proxy URL without a host", "write it as `socks5h://HOST:PORT`"),
        ("socks5://h:", "proxy port is not a number from 1 to 65535, after `h:`", ""),
        ("socks5://h:0", "proxy port is not a number from 1 to 65535, after `h:`", ""),
        ("socks5://h:65536", "proxy port is not a number from 1 to 65535, after `h:`", ""),
        ("socks5://h:-1", "proxy port is not a number from 1 to 65535, after `h:`", ""),
        ("socks5://user:SECRET", "proxy port is not a number from 1 to 65535, after `user:`", ""),
        (
            "socks5://user:SECRET:h:1080",
            "too many colons in a proxy URL",
            "it is written `socks5h://user:password@host:port`, an IPv6 address as `[::1]`",
        ),
        ("socks5://::1", "IPv6 address without brackets: `::1`", "write it as `[::1]`"),
        (
            "socks5://[::1",
            "wrong brackets in a proxy URL",
            "an IPv6 address is written `[::1]:1080`",
        ),
        (
            "socks5://[::1]1080",
            "wrong brackets in a proxy URL",
            "an IPv6 address is written `[::1]:1080`",
        ),
        ("socks5://[1:2]", "not an IPv6 address: `1:2`", ""),
        ("socks5://[h]:1080", "not an IPv6 address: `h`", ""),
        ("socks5://[fe80::1%25eth0]", "IPv6 zones are not supported: `fe80::1%25eth0`", ""),
        ("socks5://127.1", "not an IPv4 address: `127.1`", ""),
        ("socks5://a..b", "not a host name: `a..b`", ""),
        ("socks5://a%2eb", "not a host name: `a%2eb`", ""),
        (
            "socks5://h:1080/path",
            "proxy URL with more than a host and a port: `socks5://h:1080/path`",
            "a proxy has no path and no fragment",
        ),
        (
            "socks5://user:SECRET@h?query",
            "unknown word behind the `?` of a proxy: `query`",
            "known words: gssapi, protection",
        ),
        (
            "socks5://h#fragment",
            "proxy URL with more than a host and a port: `socks5://h#fragment`",
            "a proxy has no path and no fragment",
        ),
        (
            "socks5://user:SEC/RET@h",
            "proxy URL with more than a host and a port: `socks5://user:***@h`",
            "in a username or password write / as %2F, ? as %3F, # as %23",
        ),
        (
            " socks5://user:SECRET@h",
            "blank or control character in a proxy URL",
            "percent-encode it: a space is %20",
        ),
        (
            "socks5://h\n",
            "blank or control character in a proxy URL",
            "percent-encode it: a space is %20",
        ),
        (
            "socks5://us\xa0er:SECRET@h",
            "blank or control character in a proxy URL",
            "percent-encode it: a space is %20",
        ),
        (
            "socks5://h\x85",
            "blank or control character in a proxy URL",
            "percent-encode it: a space is %20",
        ),
        ("socks5://:SECRET@h", "a password without a username: `socks5://:***@h:1080`", ""),
        ("socks5://:@h", "a password without a username: `socks5://:***@h:1080`", ""),
        ("socks5://" + "u" * 256 + "@h", "a username of more than 255 bytes: `h:1080`", ""),
        ("socks5://" + "%41" * 256 + "@h", "a username of more than 255 bytes: `h:1080`", ""),
        ("socks5://u:" + "ü" * 128 + "@h", "a password of more than 255 bytes: `socks5://u:***@h:1080`", ""),
        (
            "socks4://user:SECRET@h",
            "SOCKS4 has no passwords: `socks4://user:***@h:1080`",
            "leave it out, or use socks5h://",
        ),
        (
            "socks4a://user:@h",
            "SOCKS4 has no passwords: `socks4a://user:***@h:1080`",
            "leave it out, or use socks5h://",
        ),
        (
            "socks4://us%00er@h",
            "a SOCKS4 username cannot contain a NUL: `socks4://us%00er@h:1080`",
            "",
        ),
    ],
)
def test_what_is_wrong_with_a_url(text, message, hint):
    with pytest.raises(ConfigError) as caught:
        parse_proxy(text)
    assert (str(caught.value), caught.value.hint) == (message, hint)
    assert "SEC" not in message + hint


@given(st.text() | st.builds("{}://{}:SECRET@{}".format, st.sampled_from(SCHEMES), st.text(), st.text()))
def test_any_text_is_a_proxy_or_an_error_without_the_password(text):
    try:
        proxy = parse_proxy(text)
    except ConfigError as err:
        assert "SECRET" not in str(err) + err.hint
    else:
        assert "SECRET" not in format_proxy(proxy) + repr(proxy)


credentials = st.just((None, None)) | st.tuples(
    st.binary(min_size=1, max_size=255), st.none() | st.binary(max_size=255)
)


@given(st.sampled_from(["socks5", "socks5h"]), proxy_hosts, st.integers(1, 65535), credentials)
def test_written_and_read_again(scheme, host, port, login):
    proxy = Proxy(scheme, host, port, *login)
    assert parse_proxy(format_proxy(proxy, masked=False)) == proxy


def test_messages_show_no_password():
    proxy = Proxy("socks5", "::1", 9, b"j\xc3\xbc", b"secret")
    assert format_proxy(proxy) == "socks5://j%C3%BC:***@[::1]:9"
    assert format_proxy(Proxy("socks5", "h")) == "socks5://h:1080"
    assert format_proxy(Proxy("socks5", "h", 1080, b"u")) == "socks5://u@h:1080"


@pytest.mark.parametrize(
    "text, masked",
    [
        ("socks5://user:pass@h", "socks5://user:***@h"),
        ("socks5://user@h", "socks5://user@h"),
        ("user:pa@ss@h", "user:***@h"),
        ("socks5:user:pass@h", "socks5:***@h"),
        ("user:a://b@h", "user:***@h"),
        ("h:1080", "h:1080"),
    ],
)
def test_masking_needs_no_proper_url(text, masked):
    assert mask(text) == masked
