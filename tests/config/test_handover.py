import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.config.handover import VARIABLE, decode, encode
from pywrap.config.settings import SCHEMES, Direct, Proxy, Settings
from pywrap.errors import ConfigError

EVERYTHING = Settings(
    chain=(Proxy("socks5h", "::1", 1080, b"al ice", b"p@:/,%="), Proxy("socks4a", "second", 9050, b"bob")),
    dns="local",
    loopback="deny",
    direct=(Direct("10.0.0.0/8"), Direct("fd00::/8", port=443), Direct(name="*.corp.example", port=80)),
    udp="block",
    listen="bind",
    timeout=7.5,
    connect_timeout=8.0,
    read_timeout=15.0,
    verbosity=-1,
)
EVERYTHING_TEXT = (
    "format=2"
    + " chain=socks5h://al%20ice:p%40%3A%2F%2C%25%3D@[::1]:1080,socks4a://bob@second:9050"
    + " dns=local loopback=deny"
    + " direct=10.0.0.0/8,[fd00::/8]:443,*.corp.example:80"
    + " udp=block listen=bind"
    + " timeout=7.5 connect_timeout=8.0 read_timeout=15.0 verbosity=-1"
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
exemptions = st.builds(Direct, network=networks, port=st.just(0) | ports) | st.builds(
    Direct, name=st.text(min_size=1), port=st.just(0) | ports
)
all_settings = st.builds(
    Settings,
    chain=st.lists(proxies).map(tuple),
    dns=st.sampled_from(["remote", "local"]),
    loopback=st.sampled_from(["direct", "proxy", "deny"]),
    direct=st.lists(exemptions).map(tuple),
    udp=st.sampled_from(["associate", "block", "direct"]),
    listen=st.sampled_from(["local", "bind"]),
    timeout=seconds,
    connect_timeout=seconds,
    read_timeout=seconds,
    verbosity=st.integers(-1, 2),
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
    assert f" chain={text} " in encode(Settings(chain=(proxy,)))
    assert decode(encode(Settings(chain=(proxy,)))).chain == (proxy,)


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
        ("format=2", "format=1", "was written by another version of pysocksify"),
        ("format=2 ", "", "was written by another version of pysocksify"),
        (DEFAULTS_TEXT, "", "was written by another version of pysocksify"),
        (" dns=remote", "", "is damaged: `dns` is missing"),
        (" dns=remote", " dns=remote dns=local", "is damaged: field 4 is none of ours"),
        (" dns=remote", " dns", "is damaged: field 3 is none of ours"),
        (" dns=remote", "  dns=remote", "is damaged: field 3 is none of ours"),
        (" dns=remote", " dns=remote colour=blue", "is damaged: field 4 is none of ours"),
        ("dns=remote", "dns=elsewhere", "is damaged: a wrong value of `dns`"),
        ("loopback=direct", "loopback=maybe", "is damaged: a wrong value of `loopback`"),
        ("chain=", "chain=http://h:1", "is damaged: a wrong value of `chain`"),
        ("chain=", "chain=socks5://h", "is damaged: a wrong value of `chain`"),
        ("chain=", "chain=socks5://h:0", "is damaged: a wrong value of `chain`"),
        ("chain=", "chain=socks5://[::1:1", "is damaged: a wrong value of `chain`"),
        ("chain=", "chain=socks5://a%4@h:1", "is damaged: a wrong value of `chain`"),
        ("chain=", "chain=socks5://a%\t\t@h:1", "is damaged: a wrong value of `chain`"),
        ("chain=", "chain=socks5://h:1,", "is damaged: a wrong value of `chain`"),
        ("chain=", "chain=socks5://%FF:1", "is damaged: a wrong value of `chain`"),
        ("direct= ", "direct=, ", "is damaged: a wrong value of `direct`"),
        ("direct= ", "direct=:1 ", "is damaged: a wrong value of `direct`"),
        ("direct= ", "direct=10.0.0.0/8:65536 ", "is damaged: a wrong value of `direct`"),
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
        "import sys; before = set(sys.modules); import pywrap.config.handover as handover;"
        + f"handover.decode({EVERYTHING_TEXT!r});"
        + "print(*sorted(set(sys.modules) - before - {'__future__', 'errno'}))"
    )
    # -I -S: neither site-packages nor its .pth files may have imported something before.
    root = sys.modules["pywrap"].__path__[0].rpartition("/")[0]
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {root!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [
        *("pywrap", "pywrap.config", "pywrap.config.handover", "pywrap.config.settings"),
        *("pywrap.errors", "pywrap.frozen"),
    ]
