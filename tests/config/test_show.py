import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.config import proxychains, torsocks, tsocks
from pywrap.config.partial_settings import PartialSettings, combine, from_source, settle
from pywrap.config.settings import Chain, Proxy, Rewrite, Rule
from pywrap.config.show import show
from pywrap.frozen import replace
from tests.support.rules import direct
from tests.support.run import ROOT
from tests.support.samples import TSOCKS


def again(partial: PartialSettings) -> PartialSettings:
    """What our reader makes of what is shown."""
    return proxychains.parse(show(partial).encode("utf-8", "surrogateescape"), "again")


def test_everything_with_where_it_was_said():
    file = proxychains.parse(
        b"random_chain\nchain_len = 2\nroute tcp *.corp work\n[ProxyList]\nraw a 1\nraw b 2\n"
        b"[ProxyList work]\ndynamic_chain\n\nsocks5 c 3 alice SECRET\n",
        "work.conf",
    )
    line = PartialSettings(
        proxies=(Proxy("socks4", "d"), Proxy("socks5h", "::1", 5, b"al:ice", b"SECRET")),
        rules=(direct("10.0.0.0/8"),),
        rewrites=(Rewrite("::1", 80, "192.0.2.1"),),
        connect_timeout=0.5,
        isolate_streams=True,
    )
    assert show(combine(from_source("command line", line), file), "one more line") == (
        """\
# What pysocksify would run a program under; each line with where it was said.
# one more line

random_chain                             # work.conf:1
chain_len 2                              # work.conf:2
isolate_streams on                       # command line
pipeline off                             # default
fast_open off                            # default
keep_env off                             # default
timeout 60                               # default
tcp_connect_time_out 500                 # command line
dns remote                               # default
placeholders 198.18.0.0/15               # default
confine auto                             # default
foreign warn                             # default
children auto                            # default
loopback direct                          # default
udp associate                            # default
listen local                             # default
bind_peer latest                         # default
verbosity 0                              # default
dnat [::1]:80 192.0.2.1                  # command line
route 10.0.0.0/8 direct                  # command line
route tcp *.corp work                    # work.conf:3

[ProxyList]
# command line
socks4ip://d:1080
# command line
socks5h://al%3Aice:***@[::1]:5

# work.conf:7
[ProxyList work]
dynamic_chain
# work.conf:10
socks5://alice:***@c:3
"""
    )


def test_less_than_a_millisecond_is_one():
    partial = PartialSettings(connect_timeout=0.0001, read_timeout=0.0004)
    assert (again(partial).connect_timeout, again(partial).read_timeout) == (0.001, 0.001)


@pytest.mark.parametrize(
    "partial",
    [
        PartialSettings(proxies=()),
        proxychains.parse((ROOT / "etc/pysocksify.conf").read_bytes(), "f"),
        tsocks.parse(TSOCKS.encode().replace(b"default_pass", b"#"), "f"),
        torsocks.parse(b"AllowOutboundLocalhost 1\nIsolatePID 1", "f"),
        torsocks.parse(b"OnionAddrRange 10.1.0.0/16", "a file\nquiet_mode"),
        PartialSettings(proxies=(Proxy("socks5h", "h"),), placeholders="224.128.0.0/9"),
        PartialSettings(
            timeout=0.1 + 0.2, read_timeout=0.007, verbosity=-1, dns="tcp://[::1]:53", bind_peer="any"
        ),
        PartialSettings(proxies=(Proxy("socks5h", "h"),), dns="tor"),
    ],
)
def test_our_reader_reads_it_as_the_same_settings(partial):
    assert settle(again(partial)) == settle(partial)
    # And what it makes of that is the end of it.
    assert settle(again(again(partial))) == settle(partial)


proxies = st.builds(
    Proxy,
    st.sampled_from(["socks4", "socks4a", "socks5", "socks5h", "http"]),
    st.sampled_from(["h", "192.0.2.1", "::1"]),
    st.integers(1, 65535),
    st.none() | st.binary(min_size=1, max_size=20).filter(lambda name: not set(name) & {0, ord(":")}),
)
chains = st.builds(
    lambda hops, name, kind, length: Chain(
        tuple(hops), name, kind, min(length, len(hops)) if kind in ("random", "round_robin") else 0
    ),
    st.lists(proxies, min_size=1),
    st.sampled_from(["work", "home.2"]),
    st.sampled_from(["strict", "dynamic", "random", "round_robin"]),
    st.integers(1, 9),
)
rules = st.builds(
    lambda place, port, protocol, to: Rule(*place, port, protocol=protocol, to=to),  # type: ignore[call-arg]
    st.sampled_from([("10.0.0.0/8", ""), ("::/0", ""), ("", "*.corp"), ("", "a"), ("", "")]),
    st.integers(0, 65535),
    st.sampled_from(["", "tcp", "udp"]),
    st.sampled_from(["", "direct", "block"]),
)


@given(st.lists(proxies), st.lists(chains, max_size=1), st.lists(rules, unique=True))
def test_whatever_it_is(hops, named, routes):
    partial = PartialSettings(proxies=tuple(hops), chains=tuple(named), rules=tuple(routes))
    assert settle(again(partial)) == settle(partial)


def test_only_passwords_are_lost():
    hop = Proxy("socks5", "h", 1, b"u", b"SECRET")
    text = show(PartialSettings(proxies=(hop,)))
    assert "SECRET" not in text
    assert proxychains.parse(text.encode(), "f").proxies == (replace(hop, password=b"***"),)
