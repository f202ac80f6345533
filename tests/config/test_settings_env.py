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
    confine="on",
    foreign="refuse",
    children="warn",
    loopback="deny",
    udp="block",
    listen="bind",
    bind_peer="any",
    pipeline="auto",
    fast_open=True,
    isolate_streams=True,
    timeout=7.5,
    connect_timeout=8.0,
    read_timeout=15.0,
    keep_env=True,
    proxy_variables=(("http_proxy", "http://u:p w@h,=1"), ("ALL_PROXY", "")),
    shared_file="/proc/4121/fd/64",
    verbosity=-1,
    log="/home/al ice/run.jsonl",
    run="20261128T111530-4121",
)
EVERYTHING_VALUE = (
    "Settings((Chain((Proxy('socks5h,'::1,1080,b'al%20ice,b'p%40:/%2C%25%3D,none,none),"
    + "Proxy('socks4a,'second,9050,b'bob,none,none,none)),"
    + "','strict,0),Chain((Proxy('http,'h,1080,none,none,none,none),"
    + "Proxy('raw,'r,1080,none,none,none,none)),'work,'random,1)),"
    + "(Rule('10.0.0.0/8,',0,0,','direct),Rule('fd00::/8,',443,499,'tcp,'work),"
    + "Rule(','*.corp.example,80,0,'udp,'),Rule(',',0,0,','block)),"
    + "(Rewrite('192.0.2.1,80,'::1,81),Rewrite('::1,0,'192.0.2.1,0)),"
    + "'tcp://[::1]:53,'127.42.42.0/24,'on,'refuse,'warn,'deny,'block,'bind,'any,'auto,on,on,7.5,8.0,15.0,on,(('http_proxy,'http://u:p%20w%40h%2C%3D1),('ALL_PROXY,')),'/proc/4121/fd/64,-1,'/home/al%20ice/run.jsonl,'20261128T111530-4121)"
)
EVERYTHING_TEXT = encode(EVERYTHING)

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
    *(
        Chain,
        st.lists(proxies, max_size=3).map(tuple),
        st.text(),
        st.sampled_from(CHAIN_TYPES),
        st.integers(0, 9),
    )
)
all_settings = st.builds(
    Settings,
    chains=st.lists(chains, min_size=1, max_size=2).map(tuple),
    rules=st.lists(rules, max_size=3).map(tuple),
    rewrites=st.lists(rewrites, max_size=3).map(tuple),
    dns=st.sampled_from(["remote", "local", "tor", "tcp://192.0.2.1:53"]),
    placeholders=st.sampled_from(["198.18.0.0/15", "127.42.42.0/24", "0.128.0.0/9"]),
    confine=st.sampled_from(["auto", "on", "off"]),
    foreign=st.sampled_from(["warn", "refuse", "quiet"]),
    children=st.sampled_from(["auto", "warn"]),
    loopback=st.sampled_from(["direct", "proxy", "deny"]),
    udp=st.sampled_from(["associate", "block", "direct"]),
    listen=st.sampled_from(["local", "bind"]),
    bind_peer=st.sampled_from(["latest", "any"]),
    pipeline=st.sampled_from(["off", "on", "auto"]),
    fast_open=st.booleans(),
    isolate_streams=st.booleans(),
    keep_env=st.booleans(),
    proxy_variables=st.lists(st.tuples(st.text(), st.text()), max_size=3).map(tuple),
    timeout=seconds,
    connect_timeout=seconds,
    read_timeout=seconds,
    verbosity=st.integers(-1, 2),
    shared_file=st.text(),
    run=st.text(),
)


def test_value_is_readable():
    assert EVERYTHING_TEXT.split(" ")[2:] == ["keep_env", EVERYTHING_VALUE]
    assert decode(EVERYTHING_TEXT) == EVERYTHING


@given(all_settings)
def test_nothing_is_lost(settings):
    text = encode(settings)
    assert text.isascii() and text.isprintable()
    assert decode(text) == settings


@pytest.mark.parametrize(
    "proxy, text",
    [
        (Proxy("socks5", "h"), "Proxy('socks5,'h,1080,none,none,none,none)"),
        (Proxy("socks5", "h", 1, b"u"), "Proxy('socks5,'h,1,b'u,none,none,none)"),
        (Proxy("socks5", "h", 1, b"u", b""), "Proxy('socks5,'h,1,b'u,b',none,none)"),
        (Proxy("socks5", "h", 1, b""), "Proxy('socks5,'h,1,b',none,none,none)"),
        (Proxy("socks5", "h", 1, b"\xff\0", b"\xfe"), "Proxy('socks5,'h,1,b'%FF%00,b'%FE,none,none)"),
    ],
)
def test_no_password_is_not_an_empty_one(proxy, text):
    assert f" Settings((Chain(({text})," in encode(Settings((Chain((proxy,)),)))
    assert decode(encode(Settings((Chain((proxy,)),)))).chain == (proxy,)


@given(st.text())
def test_any_text_is_settings_or_an_error(text):
    with pytest.raises(ConfigError):
        decode(text)


@given(st.data())
def test_a_changed_character_is_an_error(data):
    at = data.draw(st.integers(0, len(EVERYTHING_TEXT) - 1))
    new = data.draw(st.characters().filter(lambda each: each != EVERYTHING_TEXT[at]))
    with pytest.raises(ConfigError) as caught:
        decode(EVERYTHING_TEXT[:at] + new + EVERYTHING_TEXT[at + 1 :])
    assert "al%20ice" not in str(caught.value)


@given(st.data())
def test_a_missing_piece_is_an_error(data):
    start = data.draw(st.integers(0, len(EVERYTHING_TEXT) - 1))
    end = data.draw(st.integers(start + 1, len(EVERYTHING_TEXT)))
    with pytest.raises(ConfigError):
        decode(EVERYTHING_TEXT[:start] + EVERYTHING_TEXT[end:])


@pytest.mark.parametrize("cut", range(len(EVERYTHING_TEXT)))
def test_cut_short_is_an_error(cut):
    with pytest.raises(ConfigError):
        decode(EVERYTHING_TEXT[:cut])


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda version, rest: rest, "was written by another version of pysocksify"),
        (lambda version, rest: f"1{version} {rest}", "was written by another version of pysocksify"),
        (lambda version, rest: "", "was written by another version of pysocksify"),
        (lambda version, rest: version, "is damaged"),
        (lambda version, rest: f"{version} {rest} ", "is damaged"),
        (lambda version, rest: f"{version} {rest.replace('remote', 'local')}", "is damaged"),
        (lambda version, rest: f"{version} {rest}\xe9", "is damaged"),
    ],
)
def test_damage_is_told_from_another_version(change, message):
    version, _, rest = encode(Settings()).partition(" ")
    with pytest.raises(ConfigError) as caught:
        decode(change(version, rest))
    assert str(caught.value) == f"{VARIABLE} {message}"


def test_the_version_is_that_of_the_fields():
    """A class that has got a field is another version, without a number that has to be raised."""
    code = (
        "from pywrap.config import settings; from pywrap.frozen import frozen\n"
        + "@frozen\nclass Rewrite:\n address: str\n colour: str\n"
        + "settings.Rewrite = Rewrite\n"
        + "from pywrap.config.settings_env import encode; print(encode(settings.Settings()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    with pytest.raises(ConfigError, match="was written by another version of pysocksify"):
        decode(done.stdout.strip())


def test_what_has_no_form_is_a_bug_of_ours():
    with pytest.raises(AssertionError, match="settings hold a dict"):
        encode(Settings(rules={}))


def test_decoding_imports_nothing_else():
    code = (
        "import sys; before = set(sys.modules); import pywrap.config.settings_env as settings_env;"
        + f"settings_env.decode({EVERYTHING_TEXT!r});"
        + "print(*sorted(set(sys.modules) - before - {'__future__', 'errno'}))"
    )
    # -I -S: neither site-packages nor its .pth files may have imported something before.
    root = sys.modules["pywrap"].__path__[0].rpartition("/")[0]
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {root!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        *("pywrap", "pywrap.config", "pywrap.config.config_error", "pywrap.config.settings"),
        *("pywrap.config.settings_env", "pywrap.frozen"),
    ]
