import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.config.settings import CHAIN_TYPES, SCHEMES, Chain, Proxy, Rewrite, Rule, Settings
from pywrap.config.settings_env import VARIABLE, decode, encode
from pywrap.errors import ConfigError

EVERYTHING = Settings(
    chains=(
        Chain(
            (Proxy("socks5h", "::1", 1080, b"al ice", b"p@:/,%="), Proxy("socks4a", "second", 9050, b"bob"))
        ),
        Chain((Proxy("http", "h"), Proxy("raw", "r")), "work", "random", 1),
    ),
    rules=(
        Rule("10.0.0.0/8", to="direct"),
        Rule("fd00::/8", "", 443, 499, "tcp", "work"),
        Rule("", "*.corp.example", 80, 0, "udp"),
        Rule(to="block"),
    ),
    rewrites=(Rewrite("192.0.2.1", 80, "::1", 81), Rewrite("::1", 0, "192.0.2.1")),
    dns="tcp://[::1]:53",
    placeholders="127.42.42.0/24",
    loopback="deny",
    udp="block",
    listen="bind",
    bind_peer="any",
    pipeline="auto",
    fast_open=True,
    isolate_streams=True,
    keep_env=True,
    proxy_variables=(("http_proxy", "http://u:p w@h,=1"), ("ALL_PROXY", "")),
    timeout=7.5,
    connect_timeout=8.0,
    read_timeout=15.0,
    turns="/proc/4121/fd/64",
    verbosity=-1,
)
EVERYTHING_TEXT = (
    "format=5"
    + " chains=/strict/0/socks5h://al%20ice:p%40%3A%2F%2C%25%3D@[::1]:1080,socks4a://bob@second:9050"
    + ";work/random/1/http://h:1080,raw://r:1080"
    + " rules=10.0.0.0/8|0|0||direct,fd00::/8|443|499|tcp|work,*.corp.example|80|0|udp|,|0|0||block"
    + " rewrites=192.0.2.1|80|::1|81,::1|0|192.0.2.1|0"
    + " dns=tcp://[::1]:53 placeholders=127.42.42.0/24 loopback=deny"
    + " udp=block listen=bind bind_peer=any pipeline=auto fast_open=on isolate_streams=on"
    + " timeout=7.5 connect_timeout=8.0 read_timeout=15.0 keep_env=on"
    + " proxy_variables=http_proxy=http:%2F%2Fu:p%20w%40h%2C%3D1,ALL_PROXY="
    + " turns=%2Fproc%2F4121%2Ffd%2F64 verbosity=-1"
)
DEFAULTS_TEXT = encode(Settings())

ports = st.integers(1, 65535)
seconds = st.floats(0, allow_nan=False, allow_infinity=False)
# A password needs a username.
credentials = st.just((None, None)) | st.tuples(st.binary(), st.none() | st.binary())
proxies = st.builds(
    lambda scheme, host, port, login: Proxy(scheme, host, port, *login),
    st.sampled_from(SCHEMES),
    st.text() | st.ip_addresses().map(str),
    ports,
    credentials,
)
networks = st.sampled_from(["0.0.0.0/0", "10.0.0.0/8", "::/0", "fd00::/8", "::1/128"])
some_ports = st.just(0) | ports
names = st.text().filter(lambda name: "/" not in name)
places = st.tuples(networks, st.just("")) | st.tuples(st.just(""), names)
rules = st.builds(
    lambda place, *rest: Rule(*place, *rest),
    *(places, some_ports, some_ports, st.sampled_from(["", "tcp", "udp"]), st.text()),
)
rewrites = st.builds(Rewrite, st.text(), some_ports, st.text(), some_ports)
chains = st.builds(
    *(Chain, st.lists(proxies).map(tuple), st.text(), st.sampled_from(CHAIN_TYPES), st.integers(0, 9))
)
all_settings = st.builds(
    Settings,
    chains=st.lists(chains, min_size=1).map(tuple),
    rules=st.lists(rules).map(tuple),
    rewrites=st.lists(rewrites).map(tuple),
    dns=st.sampled_from(["remote", "local", "tor", "tcp://192.0.2.1:53"]),
    placeholders=st.sampled_from(["198.18.0.0/15", "127.42.42.0/24", "0.128.0.0/9"]),
    loopback=st.sampled_from(["direct", "proxy", "deny"]),
    udp=st.sampled_from(["associate", "block", "direct"]),
    listen=st.sampled_from(["local", "bind"]),
    bind_peer=st.sampled_from(["latest", "any"]),
    pipeline=st.sampled_from(["off", "on", "auto"]),
    fast_open=st.booleans(),
    isolate_streams=st.booleans(),
    keep_env=st.booleans(),
    proxy_variables=st.lists(st.tuples(st.text(), st.text())).map(tuple),
    timeout=seconds,
    connect_timeout=seconds,
    read_timeout=seconds,
    verbosity=st.integers(-1, 2),
    turns=st.text(),
)


def test_value_is_readable():
    assert encode(EVERYTHING) == EVERYTHING_TEXT
    assert decode(EVERYTHING_TEXT) == EVERYTHING


@given(all_settings)
def test_nothing_is_lost(settings):
    text = encode(settings)
    assert text.isascii() and text.isprintable()
    assert decode(text) == settings


@pytest.mark.parametrize(
    "proxy, text",
    [
        (Proxy("socks5", "h"), "socks5://h:1080"),
        (Proxy("socks5", "h", 1, b"u"), "socks5://u@h:1"),
        (Proxy("socks5", "h", 1, b"u", b""), "socks5://u:@h:1"),
        (Proxy("socks5", "h", 1, b""), "socks5://@h:1"),
        (Proxy("socks5", "h", 1, b"\xff\0", b"\xfe"), "socks5://%FF%00:%FE@h:1"),
    ],
)
def test_no_password_is_not_an_empty_one(proxy, text):
    assert f" chains=/strict/0/{text} " in encode(Settings((Chain((proxy,)),)))
    assert decode(encode(Settings((Chain((proxy,)),)))).chain == (proxy,)


@given(st.text())
def test_any_text_is_settings_or_an_error(text):
    with pytest.raises(ConfigError):
        decode(text)


@given(st.data())
def test_a_changed_character_is_settings_or_an_error(data):
    at = data.draw(st.integers(0, len(EVERYTHING_TEXT) - 1))
    text = EVERYTHING_TEXT[:at] + data.draw(st.characters()) + EVERYTHING_TEXT[at + 1 :]
    try:
        assert isinstance(decode(text), Settings)
    except ConfigError as err:
        assert "%40%3A" not in str(err)


@pytest.mark.parametrize("cut", range(len(EVERYTHING_TEXT) - 1))
def test_cut_short_is_an_error(cut):
    # All but the last character, the 1 of -1: without it the number is none.
    with pytest.raises(ConfigError):
        decode(EVERYTHING_TEXT[:cut])


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("format=5", "format=2", "was written by another version of pysocksify"),
        ("format=5 ", "", "was written by another version of pysocksify"),
        (DEFAULTS_TEXT, "", "was written by another version of pysocksify"),
        (" dns=remote", "", "is damaged: `dns` is missing"),
        (" dns=remote", " dns=remote dns=local", "is damaged: field 6 is none of ours"),
        (" dns=remote", " dns", "is damaged: field 5 is none of ours"),
        (" dns=remote", "  dns=remote", "is damaged: field 5 is none of ours"),
        (" dns=remote", " dns=remote colour=blue", "is damaged: field 6 is none of ours"),
        ("dns=remote", "dns=elsewhere", "is damaged: a wrong value of `dns`"),
        ("loopback=direct", "loopback=maybe", "is damaged: a wrong value of `loopback`"),
        ("=/strict/0/", "=/strict/0/gopher://h:1", "is damaged: a wrong value of `chains`"),
        ("=/strict/0/", "=/strict/0/socks5://h", "is damaged: a wrong value of `chains`"),
        ("=/strict/0/", "=/strict/0/socks5://h:0", "is damaged: a wrong value of `chains`"),
        ("=/strict/0/", "=/strict/0/socks5://[::1:1", "is damaged: a wrong value of `chains`"),
        ("=/strict/0/", "=/strict/0/socks5://a%4@h:1", "is damaged: a wrong value of `chains`"),
        ("=/strict/0/", "=/strict/0/socks5://a%\t\t@h:1", "is damaged: a wrong value of `chains`"),
        ("=/strict/0/", "=/strict/0/socks5://h:1,", "is damaged: a wrong value of `chains`"),
        ("=/strict/0/", "=/strict/0/socks5://%FF:1", "is damaged: a wrong value of `chains`"),
        ("=/strict/0/", "=/lenient/0/", "is damaged: a wrong value of `chains`"),
        ("=/strict/0/", "=/strict/-1/", "is damaged: a wrong value of `chains`"),
        ("=/strict/0/", "=/strict/0/;", "is damaged: a wrong value of `chains`"),
        ("=/strict/0/", "=", "is damaged: a wrong value of `chains`"),
        ("rules= ", "rules=, ", "is damaged: a wrong value of `rules`"),
        ("rules= ", "rules=a|65536|0|| ", "is damaged: a wrong value of `rules`"),
        ("rules= ", "rules=a|1|0|sctp| ", "is damaged: a wrong value of `rules`"),
        ("rules= ", "rules=a|1|0|tcp ", "is damaged: a wrong value of `rules`"),
        ("rewrites= ", "rewrites=a|1|b|x ", "is damaged: a wrong value of `rewrites`"),
        ("fast_open=off", "fast_open=no", "is damaged: a wrong value of `fast_open`"),
        (" timeout=60.0", " timeout=nan", "is damaged: a wrong value of `timeout`"),
        (" timeout=60.0", " timeout=inf", "is damaged: a wrong value of `timeout`"),
        (" timeout=60.0", " timeout=-1", "is damaged: a wrong value of `timeout`"),
        ("verbosity=0", "verbosity=", "is damaged: a wrong value of `verbosity`"),
    ],
)
def test_damage_is_named(old, new, message):
    assert old in DEFAULTS_TEXT
    with pytest.raises(ConfigError) as caught:
        decode(DEFAULTS_TEXT.replace(old, new, 1))
    assert str(caught.value) == f"{VARIABLE} {message}"


def test_decoding_imports_nothing_else():
    code = (
        "import sys; before = set(sys.modules); import pywrap.config.settings_env as handover;"
        + f"handover.decode({EVERYTHING_TEXT!r});"
        + "print(*sorted(set(sys.modules) - before - {'__future__', 'errno'}))"
    )
    # -I -S: neither site-packages nor its .pth files may have imported something before.
    root = sys.modules["pywrap"].__path__[0].rpartition("/")[0]
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {root!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        *("pywrap", "pywrap.config", "pywrap.config.settings_env", "pywrap.config.settings"),
        *("pywrap.errors", "pywrap.frozen"),
    ]
