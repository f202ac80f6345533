import pytest

from pywrap.config.formats import FORMATS, directives, parse
from pywrap.config.settings import Proxy
from pywrap.errors import ConfigError

TEXTS = {
    "proxychains": (b"[ProxyList]\nsocks5 p 1\n", Proxy("socks5", "p", 1)),
    "tsocks": (b"server = t\n", Proxy("socks4", "t")),
    "torsocks": (b"TorPort 1\n", Proxy("socks5h", "127.0.0.1", 1)),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("source", ["x.conf", "conf", "/etc/{}.conf", "~/.{}.conf", "/etc/{}4.conf"])
def test_the_name_or_the_contents_tell(name, source):
    text, proxy = TEXTS[name]
    assert parse(text, source.format(name)).proxies == (proxy,)


@pytest.mark.parametrize("name", FORMATS)
def test_the_name_decides_before_the_contents(name):
    for other in FORMATS:
        if other != name:
            with pytest.raises(ConfigError, match="^/etc/.*: unknown (directive|section)"):
                parse(TEXTS[other][0], f"/etc/{name}.conf")


@pytest.mark.parametrize("name", FORMATS)
def test_the_user_decides_before_the_name(name):
    text, proxy = TEXTS[name]
    for other in FORMATS:
        assert parse(text, f"/etc/{other}.conf", name).proxies == (proxy,)


def test_our_own_name_is_our_own_format():
    with pytest.raises(ConfigError, match="unknown directive: `server`"):
        parse(b"server = a", "/etc/pysocksify.conf")


def test_the_first_directive_tells():
    for name, words in directives().items():
        others = {word for other, known in directives().items() if other != name for word in known}
        assert not others & set(words)
    assert parse(b"# TorPort 1\n\npath {\nreaches = 10.0.0.0/8\nserver=a\n}\n", "x").chains[0].name == "path1"
    assert parse(b"\xef\xbb\xbfTorPort\t1\n", "x").proxies == (Proxy("socks5h", "127.0.0.1", 1),)
    # Nothing to go by.
    assert parse(b"", "x").proxies is None


@pytest.mark.parametrize(
    "text, word, hint",
    [
        (
            b"TorAddres 127.0.0.1\n",
            "TorAddres",
            "did you mean `TorAddress`? If so, `--config-format torsocks` says what the file is written in",
        ),
        (
            b"serverr = 192.0.2.1\n",
            "serverr",
            "did you mean `server`? If so, `--config-format tsocks` says what the file is written in",
        ),
        (
            b"default_pas=SECRET\n",
            "default_pas",
            "did you mean `default_pass`? If so, `--config-format tsocks` says what the file is written in",
        ),
        (
            b"pathh{\n}\n",
            "pathh{",
            "did you mean `path`? If so, `--config-format tsocks` says what the file is written in",
        ),
        (b"strict_chian\n", "strict_chian", "did you mean `strict_chain`?"),
        (
            b"colour blue\n",
            "colour",
            "`--config-format proxychains|tsocks|torsocks` says what the file is written in",
        ),
        # Something else tells.
        (b"colour blue\n[ProxyList]\n", "colour", ""),
        (b"serverr 192.0.2.1\nproxy_dns\n", "serverr", ""),
    ],
)
def test_where_nothing_tells_a_word_may_be_of_any_format(text, word, hint):
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.conf")
    assert (str(caught.value), caught.value.hint) == (f"x.conf:1: unknown directive: `{word}`", hint)
