import pytest

from pywrap.config.partial_settings import (
    SINGLE,
    PartialSettings,
    combine,
    from_source,
    leaves_nothing,
    settle,
)
from pywrap.config.route_rules import parse_directs, parse_rewrite
from pywrap.config.settings import Chain, Proxy, Rewrite, Rule, Settings
from pywrap.errors import ConfigError
from tests.support.rules import direct

FILE = PartialSettings(
    proxies=(Proxy("socks5", "of-the-file"), Proxy("socks5", "second")),
    chain_type="random",
    chain_length=1,
    chains=(Chain((Proxy("http", "w"),), "work", "dynamic"),),
    rules=(direct("10.0.0.0/8"), direct(name="*.corp")),
    rewrites=(Rewrite("192.0.2.1", 80, "192.0.2.2", 81),),
    dns="local",
    placeholders="10.0.0.0/8",
    confine="on",
    foreign="refuse",
    children="warn",
    loopback="deny",
    udp="block",
    listen="bind",
    bind_peer="any",
    pipeline="on",
    fast_open=True,
    isolate_streams=True,
    keep_env=True,
    timeout=5.0,
    connect_timeout=8.0,
    read_timeout=15.0,
    verbosity=-1,
    log="/tmp/run.jsonl",
)


def test_saying_nothing_changes_nothing():
    assert combine(PartialSettings(), FILE) == FILE
    assert combine(FILE, PartialSettings()) == FILE
    assert settle(PartialSettings()) == Settings()


def test_first_replaces_second():
    line = PartialSettings(
        proxies=(Proxy("socks4", "typed"),), dns="remote", loopback="proxy", timeout=1.0, verbosity=0
    )
    both = combine(line, FILE)
    assert both.proxies == line.proxies
    assert (both.dns, both.loopback, both.timeout, both.verbosity) == ("remote", "proxy", 1.0, 0)
    assert (both.connect_timeout, both.read_timeout) == (8.0, 15.0)
    assert combine(PartialSettings(fast_open=False), FILE).fast_open is False


def test_no_proxies_of_its_own_replace_those_of_the_file():
    assert combine(PartialSettings(proxies=()), FILE).proxies == ()


def test_the_first_ones_rules_come_first_and_once():
    both = combine(PartialSettings(rules=(direct(name="*.corp"), Rule(to="block"))), FILE)
    assert both.rules == (direct(name="*.corp"), Rule(to="block"), direct("10.0.0.0/8"))


@pytest.mark.parametrize("rest", ["block", "direct"])
def test_what_was_left_to_no_proxy_goes_to_the_one_that_is_given(rest):
    file = PartialSettings(proxies=(), rules=(direct("10.0.0.0/8"), Rule(to=rest)))
    assert combine(PartialSettings(), file).rules == file.rules
    for proxies in ((Proxy("raw", "a"),), ()):
        assert combine(PartialSettings(proxies=proxies), file).rules == (direct("10.0.0.0/8"),)
    # In a file with proxies, such a rule is the user's own.
    file = PartialSettings(proxies=(Proxy("raw", "b"),), rules=(Rule(to=rest),))
    assert combine(PartialSettings(proxies=(Proxy("raw", "a"),)), file).rules == file.rules


def test_a_named_chain_replaces_the_one_of_that_name():
    ours, other = Chain((Proxy("raw", "w"),), "work"), Chain((Proxy("raw", "h"),), "home")
    assert combine(PartialSettings(chains=(ours, other)), FILE).chains == (ours, other)
    assert combine(PartialSettings(chains=(other,)), FILE).chains == (other, *FILE.chains)


def test_every_setting_can_be_chosen():
    launchers_own = "shared_file", "proxy_variables", "run"
    assert {*SINGLE, "chains", "rules", "rewrites", *launchers_own} == set(Settings.__match_args__)
    settled = settle(FILE)
    for name in (*SINGLE, "rules", "rewrites"):
        assert getattr(settled, name) == getattr(FILE, name) != getattr(Settings(), name)
    assert settled.chains == (Chain(FILE.proxies or (), "", "random", 1), *FILE.chains)


def test_where_each_thing_was_said_outlives_the_combination():
    line = PartialSettings(
        proxies=(Proxy("raw", "a"),),
        rules=(direct("10.0.0.0/8"),),
        dns="tor",
        origins={"dns": "line", direct("10.0.0.0/8"): "line", ("", 0): "line"},
    )
    file = PartialSettings(
        proxies=(Proxy("raw", "b"), Proxy("raw", "c")),
        chains=(Chain((Proxy("raw", "d"),), "work"),),
        rules=(direct("10.0.0.0/8"), Rule(to="block")),
        dns="local",
        udp="block",
        origins={
            **{"dns": "f:1", "udp": "f:2", direct("10.0.0.0/8"): "f:3", Rule(to="block"): "f:4"},
            **{("", 0): "f:5", ("", 1): "f:6", ("work", -1): "f:7", ("work", 0): "f:8"},
        },
    )
    assert combine(line, file).origins == {
        **{"dns": "line", direct("10.0.0.0/8"): "line", ("", 0): "line"},
        **{"udp": "f:2", Rule(to="block"): "f:4", ("work", -1): "f:7", ("work", 0): "f:8"},
    }


@pytest.mark.parametrize(
    "partial, message, hint",
    [
        (
            PartialSettings(rules=(Rule(to="wrok"),), chains=FILE.chains, origins={Rule(to="wrok"): "f:3"}),
            "f:3: no chain has this name: `route * wrok`",
            "did you mean `work`? Known destinations: work, proxy, direct, block",
        ),
        (
            PartialSettings(
                chains=(Chain(FILE.proxies or (), "work", "random", 3),), origins={("work", -1): "f:9"}
            ),
            "f:9: a chain length of 3, and a list of 2",
            "name more proxies, or lower the length",
        ),
    ],
)
def test_what_does_not_fit_together(partial, message, hint):
    with pytest.raises(ConfigError) as caught:
        settle(partial)
    assert (str(caught.value), caught.value.hint) == (message, hint)


@pytest.mark.parametrize(
    "rule, expected",
    [
        (Rule(to="block"), True),
        (Rule(to="work"), True),
        (Rule(to=""), False),
        (Rule(to="block", port=80), False),
        (Rule(to="block", protocol="udp"), False),
        (Rule("0.0.0.0/0", to="block"), False),
    ],
)
def test_which_rule_leaves_nothing_to_the_default_chain(rule, expected):
    assert leaves_nothing((rule,)) is expected


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"rules": parse_directs("198.18.0.0/15")}, "route 198.18.0.0/15 direct"),
        ({"rules": parse_directs("a,198.19.7.0/24:80")}, "route 198.19.7.0/24:80 direct"),
        ({"rewrites": (parse_rewrite(["192.0.2.1", "198.18.0.9:80"]),)}, "dnat 192.0.2.1 198.18.0.9:80"),
        ({"rewrites": (parse_rewrite(["198.18.0.9", "192.0.2.1"]),)}, "dnat 198.18.0.9 192.0.2.1"),
    ],
)
def test_what_is_said_of_placeholders_stops_everything(said, line):
    """On a machine with Clash, these are addresses of names."""
    partial = from_source("work.conf:1", PartialSettings(proxies=(Proxy("socks5", "h"),), **said))
    with pytest.raises(ConfigError) as caught:
        settle(partial)
    assert str(caught.value) == (
        f"work.conf:1: `{line}` is about addresses that stand for names (198.18.0.0/15)"
    )
    assert "--placeholders" in caught.value.hint
    assert settle(partial.replace(placeholders="10.0.0.0/8")).placeholders == "10.0.0.0/8"
    assert settle(partial.replace(dns="local")).dns == "local"


@pytest.mark.parametrize("network", ["0.0.0.0/0", "198.0.0.0/8", "198.20.0.0/15", "::/0", "fd00::/8"])
def test_what_is_said_of_more_is_not_about_placeholders(network):
    settle(PartialSettings(proxies=(Proxy("socks5", "h"),), rules=parse_directs(network)))
