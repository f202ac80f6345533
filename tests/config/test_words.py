import pytest

from pywrap.cli import WITH_VALUE, WITHOUT_VALUE
from pywrap.config.formats import directives
from pywrap.config.words import digits, milliseconds, nearest, one_of, seconds, suggest
from pywrap.errors import ConfigError


@pytest.mark.parametrize("text, value", [("60", 60.0), ("0.5", 0.5), ("1e3", 1000.0), (".5", 0.5)])
def test_seconds_may_have_fractions(text, value):
    assert seconds(text, "--timeout") == value


@pytest.mark.parametrize("text", ["", "0", "-1", "-0.0", "nan", "inf", "-inf", "soon", "1 s", "1e999"])
def test_seconds_are_positive_and_finite(text):
    with pytest.raises(ConfigError) as caught:
        seconds(text, "--timeout")
    assert str(caught.value) == f"`--timeout` takes a positive number of seconds: `{text}`"


def test_milliseconds_become_seconds():
    assert milliseconds("1500", "tcp_read_time_out") == 1.5


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "+1", "1_0", "٣", "9" * 5000])
def test_milliseconds_are_positive_and_whole(text):
    with pytest.raises(ConfigError) as caught:
        milliseconds(text, "tcp_read_time_out")
    assert str(caught.value) == f"`tcp_read_time_out` takes a positive number of milliseconds: `{text}`"


@pytest.mark.parametrize("text", ["", "-1", "+1", " 1", "1_0", "1.0", "٣", "²", "0x1", "12345678901"])
def test_digits_are_nothing_but_digits(text):
    assert digits(text) is None


def test_choice_is_one_of_the_words():
    assert one_of(("remote", "local"), "local", "dns") == "local"
    with pytest.raises(ConfigError) as caught:
        one_of(("remote", "local"), "remot", "dns")
    assert str(caught.value) == "unknown value of `dns`: `remot`"
    assert caught.value.hint == "did you mean `remote`? Known values: remote, local"


def test_far_words_are_not_suggested():
    assert suggest("elsewhere", ("remote", "local"), "values") == "known values: remote, local"
    assert nearest("", ("remote",)) == ""


def test_capitals_are_near():
    assert nearest("[PROXYLIST]", ["[ProxyList]"]) == "[ProxyList]"


OPTIONS = (*WITH_VALUE, *WITHOUT_VALUE)
DIRECTIVES = tuple(word for words in directives().values() for word in words)


@pytest.mark.parametrize(
    "typed, known, meant",
    [
        # A letter too many, too few, another one, two in the wrong order.
        ("--timeouts", OPTIONS, "--timeout"),
        ("--prox", OPTIONS, "--proxy"),
        ("--direkt", OPTIONS, "--direct"),
        ("--versoin", OPTIONS, "--version"),
        ("--dsn", OPTIONS, "--dns"),
        ("tpc", ("tcp", "udp"), "tcp"),
        ("tro", ("remote", "tor", "local"), "tor"),
        ("htpp", ("socks5", "http", "raw"), "http"),
        ("serverr", DIRECTIVES, "server"),
        ("strict_chian", DIRECTIVES, "strict_chain"),
        ("TorAddres", DIRECTIVES, "TorAddress"),
        # Other ways to write it.
        ("--fastopen", OPTIONS, "--fast-open"),
        ("-listen", OPTIONS, "--listen"),
        ("allow_inbound", DIRECTIVES, "AllowInbound"),
        ("random-chain", DIRECTIVES, "random_chain"),
        # A part of it, or more than it.
        ("--proxies", OPTIONS, "--proxy"),
        ("--chain", OPTIONS, "--chain-type"),
        ("--config-file", OPTIONS, "--config"),
        ("--show-conf", OPTIONS, "--show-config"),
        ("--no-dns", OPTIONS, "--dns"),
        ("quiet", DIRECTIVES, "quiet_mode"),
        # Words of other programs, and of none.
        ("--bogus", OPTIONS, ""),
        ("--user", OPTIONS, ""),
        ("--socket", OPTIONS, ""),
        ("--debug", OPTIONS, ""),
        ("--foo", OPTIONS, ""),
        ("--bypass", OPTIONS, ""),
        ("--daemon", OPTIONS, ""),
        ("--socks5", OPTIONS, ""),
        ("sctp", ("tcp", "udp"), ""),
        ("off", ("remote", "tor", "local"), ""),
        ("colour", DIRECTIVES, ""),
        ("host", DIRECTIVES, ""),
        ("log_file", DIRECTIVES, ""),
    ],
)
def test_near_is_what_was_probably_meant(typed, known, meant):
    assert nearest(typed, known) == meant
