import pytest

from pywrap.config.environ import proxy_of, rules_of
from pywrap.config.settings import Proxy
from pywrap.errors import ConfigError
from tests.support.rules import direct


@pytest.mark.parametrize(
    "environ, proxy, variable",
    [
        ({"ALL_PROXY": "socks5h://u:p%20w@h:1"}, Proxy("socks5h", "h", 1, b"u", b"p w"), "$ALL_PROXY"),
        ({"all_proxy": "socks5://h"}, Proxy("socks5", "h"), "$all_proxy"),
        ({"ALL_PROXY": "socks4a://a", "all_proxy": "socks4://b"}, Proxy("socks4", "b"), "$all_proxy"),
        ({"ALL_PROXY": "http://a:3128/", "all_proxy": ""}, Proxy("http", "a", 3128), "$ALL_PROXY"),
    ],
)
def test_the_proxy_of_an_environment(environ, proxy, variable):
    assert proxy_of(environ) == (proxy, variable)


@pytest.mark.parametrize(
    "environ, message",
    [
        ({}, "`-x env`, and $ALL_PROXY is not set"),
        ({"ALL_PROXY": ""}, "`-x env`, and $ALL_PROXY is not set"),
        # Other protocols have variables of their own.
        ({"http_proxy": "http://h"}, "`-x env`, and $ALL_PROXY is not set"),
        ({"all_proxy": "ftp://h"}, "$all_proxy: unknown proxy scheme: `ftp`"),
        (
            {"ALL_PROXY": "socks5s://u:SECRET@h"},
            "$ALL_PROXY: not how a proxy over TLS is written: `socks5s://u:***@h`",
        ),
    ],
)
def test_no_proxy_is_an_error(environ, message):
    with pytest.raises(ConfigError) as caught:
        proxy_of(environ)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "text, rules",
    [
        ("", ()),
        ("10.0.0.0/8, ::1", (direct("10.0.0.0/8"), direct("::1/128"))),
        ("host.example", (direct(name="host.example"), direct(name="*.host.example"))),
        (".corp", (direct(name="corp"), direct(name="*.corp"))),
        ("*.corp", (direct(name="corp"), direct(name="*.corp"))),
        (
            "a:443 b",
            (direct(name="a", port=443), direct(name="*.a", port=443), direct(name="b"), direct(name="*.b")),
        ),
    ],
)
def test_what_needs_no_proxy(text, rules):
    assert rules_of({"no_proxy": text}) == (rules, "$no_proxy" if text else "$NO_PROXY")
    assert rules_of({"NO_PROXY": text}) == (rules, "$NO_PROXY")


@pytest.mark.parametrize(
    "text, message",
    [
        ("a,*", "$NO_PROXY: no proxy for anything: `*`"),
        ("10.0.0.0/33", "$NO_PROXY: not a network, address or name: `10.0.0.0/33` (not a netmask: `33`)"),
    ],
)
def test_what_cannot_be_left_out(text, message):
    with pytest.raises(ConfigError) as caught:
        rules_of({"NO_PROXY": text})
    assert str(caught.value) == message
