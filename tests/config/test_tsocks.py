import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.config.partial_settings import PartialSettings, settle
from pywrap.config.settings import Chain, Proxy, Rule
from pywrap.config.tsocks import DIRECTIVES, FORM, parse
from pywrap.errors import ConfigError
from pywrap.tunnel.first_hop import FirstHop
from pywrap.tunnel.placeholders import Hosts, Placeholders
from pywrap.tunnel.routes import Routes
from tests.support.debian_files import shipped
from tests.support.rules import direct
from tests.support.samples import TSOCKS


def said(text: str) -> PartialSettings:
    """What a file says, without where."""
    return parse(text.encode(), "file").replace(origins={})


def test_file_of_debian_loads():
    partial = parse(shipped("tsocks", "/etc/tsocks.conf"), "file").replace(origins={})
    assert partial == PartialSettings(
        proxies=(Proxy("socks5", "192.168.0.1"),),
        chains=(Chain((Proxy("socks5", "10.1.7.25", 1080, b"delius", b"hello"),), "path1"),),
        rules=(
            direct("192.168.0.0/24"),
            direct("10.0.0.0/8"),
            Rule("150.0.0.0/16", to="path1"),
            Rule("150.1.0.0/16", "", 80, to="path1"),
        ),
        dns="local",
    )


def test_every_directive():
    assert said(TSOCKS) == PartialSettings(
        proxies=(Proxy("socks4", "10.0.0.1", 1081),),
        chains=(
            Chain((Proxy("socks4", "first.example"),), "path1"),
            Chain((Proxy("socks5", "10.1.7.25", 99, b"delius", b"hello#world"),), "path2"),
        ),
        # The last path is the first that tsocks looks at.
        rules=(
            direct("10.0.0.0/8"),
            direct("192.168.0.0/16"),
            Rule("150.0.0.0/8", "", 80, 1024, to="path2"),
            Rule("150.0.0.0/16", to="path1"),
            Rule("150.1.0.0/16", "", 80, to="path1"),
        ),
        dns="local",
    )
    assert all(name in TSOCKS or name.startswith("tordns") for name in DIRECTIVES)


@pytest.mark.parametrize(
    "text, dns",
    [
        ("", "local"),
        ("tordns_enable = true\n", "tor"),
        ("tordns_enable = Yes\n", "tor"),
        ("tordns_enabled = 1\n", "tor"),
        ("tordns_enable = false\n", "local"),
        ("tordns_enable = no\n", "local"),
    ],
)
def test_names_go_to_tor_where_its_patch_of_tsocks_would_send_them(text, dns):
    partial = parse((text + "server = a\npath {\nreaches = 10.0.0.0/8\nserver = b\n}").encode(), "f")
    scheme = {"tor": "socks4a", "local": "socks4"}[dns]
    assert partial.dns == dns
    assert partial.origins["dns"] == ("f:1" if text else "f")
    assert [partial.proxies[0].scheme, partial.chains[0].proxies[0].scheme] == [scheme, scheme]


def test_the_addresses_of_onions_are_those_of_the_deadpool():
    partial = said("tordns_deadpool_range = 127.0.69.0/255.255.255.0\ntordns_cache_size = 256\nserver = a\n")
    assert (partial.placeholders, partial.dns) == ("127.0.69.0/24", "local")


def test_every_line_is_remembered():
    origins = parse(TSOCKS.encode(), "f").origins
    assert origins == {
        **{"dns": "f", direct("10.0.0.0/8"): "f:2", direct("192.168.0.0/16"): "f:3", ("path1", -1): "f:4"},
        **{Rule("150.0.0.0/16", to="path1"): "f:5", Rule("150.1.0.0/16", "", 80, to="path1"): "f:6"},
        **{("path1", 0): "f:7", ("path2", -1): "f:9", ("path2", 0): "f:11", ("", 0): "f:18"},
        Rule("150.0.0.0/8", "", 80, 1024, to="path2"): "f:10",
    }


@pytest.mark.parametrize(
    "fallback, rest", [("", "block"), ("fallback = no\n", "block"), ("fallback = yes\n", "direct")]
)
def test_without_a_default_server_the_rest_goes_where_fallback_says(fallback, rest):
    partial = said(f"{fallback}path {{\nreaches = 10.0.0.0/8\nserver = a\n}}\n")
    assert partial.proxies == ()
    assert partial.rules == (Rule("10.0.0.0/8", to="path1"), Rule(to=rest))
    assert [chain.name for chain in settle(partial).chains] == ["", "path1"]


@pytest.mark.parametrize("fallback", ["no", "yes"])
def test_this_machine_is_always_local(fallback):
    settings = settle(said(f"fallback = {fallback}\nlocal = 10.0.0.0/8\n"))
    routes = Routes(settings, [], Placeholders(lambda: None), Hosts("/dev/null"))
    assert routes.verdict("127.0.0.1", 80).kind == "direct"
    assert routes.verdict("192.0.2.1", 80).kind == {"no": "refuse", "yes": "direct"}[fallback]


def test_the_path_is_that_of_tsocks(tmp_path):
    tool = shutil.which("validateconf")
    if tool is None:
        pytest.skip("tsocks is not installed")
    file = tmp_path / "tsocks.conf"
    # Without ports, since validateconf cannot be asked about one.
    file.write_text(
        "local = 10.0.0.0/255.0.0.0\nserver = 10.9.9.9\n"
        + "path {\nreaches = 150.0.0.0/255.255.0.0\nreaches = 10.2.0.0/255.255.0.0\nserver = 10.0.0.1\n}\n"
        + "path {\nreaches = 150.0.0.0/255.255.255.0\nreaches = 151.0.0.0/255.0.0.0\nserver = 10.0.0.2\n}\n"
    )
    settings = settle(parse(file.read_bytes(), str(file)))
    firsts = [FirstHop(chain.proxies[0], lambda *_: []) for chain in settings.chains]
    routes = Routes(settings, firsts, Placeholders(lambda: None), Hosts("/dev/null"))
    proxies = {chain.name: chain.proxies[0].host for chain in settings.chains}
    for host in "10.1.1.1 10.2.0.1 127.0.0.1 150.0.0.1 150.0.1.1 150.1.0.1 151.9.9.9 192.0.2.1".split():
        theirs = subprocess.run([tool, "-f", str(file), "-t", host], capture_output=True, text=True)
        verdict = routes.verdict(host, 80)
        if verdict.kind == "direct":
            assert "Path is local" in theirs.stdout, host
        else:
            assert f"Server:       {proxies[verdict.chain]} " in theirs.stdout, host


@pytest.mark.parametrize(
    ("text", "number", "perhaps"),
    [
        ("colour = blue\nserver = a", 1, "`colour`"),
        ("server = a\nservr_port = 99", 2, "`servr_port`; did you mean `server_port`?"),
        ("server = a\npath {\nserver = b\nreaches = 192.0.2.0/255.255.255.0\nSERVER = c\n}", 5, "`SERVER`"),
    ],
)
def test_an_unknown_pair_has_no_effect_as_for_tsocks(text, number, perhaps):
    read = parse(text.encode(), "f")
    (warning,) = read.warnings
    assert warning.startswith(f"f:{number}: unknown directive, without an effect as for tsocks: {perhaps}")
    lines = text.split("\n")
    without = parse("\n".join(lines[: number - 1] + [""] + lines[number:]).encode(), "f")
    assert settle(read) == settle(without)


@pytest.mark.parametrize(
    "text, message, hint",
    [
        (
            "sever a",
            "1: unknown directive: `sever`",
            f"did you mean `server`? Known directives: {', '.join(DIRECTIVES)}",
        ),
        (
            "strict_chain",
            "1: unknown directive: `strict_chain`",
            f"known directives: {', '.join(DIRECTIVES)}",
        ),
        (
            "server 10.0.0.1",
            "1: `server` without a `=`",
            FORM,
        ),
        ("server =", "1: `server` without a value", FORM),
        ("server = # none", "1: `server` without a value", FORM),
        ("server = 10.1", "1: not an IPv4 address: `10.1`", ""),
        ("server = a b", "1: not a host name: `a b`", ""),
        ("server = a\nserver = b", "2: `server = b` contradicts line 1: `server = a`", "remove one of them"),
        ("server = a\nserver_port = 0", "2: `server_port` takes a number from 1 to 65535: `0`", ""),
        ("server = a\nserver_port = http", "2: `server_port` takes a number from 1 to 65535: `http`", ""),
        ("server = a\nserver_type = 6", "2: unknown value of `server_type`: `6`", "known values: 4, 5"),
        ("server = a\nfallback = true", "2: unknown value of `fallback`: `true`", "known values: yes, no"),
        (
            "tordns_enable = maybe",
            "1: unknown value of `tordns_enable`: `maybe`",
            "known values: true, yes, 1, false, no, 0",
        ),
        ("tordns_cache_size = x", "1: `tordns_cache_size` takes a positive number: `x`", ""),
        (
            "tordns_deadpool_range = 127.0.0.0/8",
            "1: `tordns_deadpool_range` with an address of this machine: `127.0.0.0/8`",
            "a part without it, as 127.42.42.0/24",
        ),
        (
            "path {\ntordns_enable = true",
            "2: `tordns_enable` in the path that begins on line 1",
            "it stands in no block",
        ),
        ("server_port = 99", "1: no `server` in the default server", "`server = HOST`"),
        (
            "server = a\ndefault_user = u",
            "2: `default_user` for a server of type 4, in the default server",
            "`server_type = 5`",
        ),
        (
            "server = a\ndefault_pass = SECRET",
            "2: SOCKS4 has no passwords: `socks4://:***@a:1080`",
            "leave it out, or use socks5h://",
        ),
        (
            "server = a\nserver_type = 5\ndefault_pass = SECRET",
            "3: a password without a username: `socks5://:***@a:1080`",
            "",
        ),
        (
            "default_pass = SECRET1\ndefault_pass = SECRET2",
            "2: `default_pass = ***` contradicts line 1: `default_pass = ***`",
            "remove one of them",
        ),
        (
            "local = 10.0.0.0",
            "1: `local` needs a netmask: `10.0.0.0`",
            "a single address has /32, in IPv6 /128",
        ),
        ("local = 10.0.0.0/255.0.255.0", "1: not a netmask: `255.0.255.0`", ""),
        ("local = host/255.0.0.0", "1: not an address: `host`", ""),
        ("local = 10.0.0.0:80/8", "1: `local` with a port: `10.0.0.0:80/8`", "only `reaches` takes one"),
        ("reaches = 10.0.0.0/8", "1: `reaches` in no path", "the default server is for all that no path has"),
        ("path", "1: a path without its `{`", FORM),
        ("path = {", "1: `path` is a block", FORM),
        ("}", "1: a `}` where no path is open", FORM),
        ("path {", "1: the path that begins on line 1 has no end", FORM),
        ("path {\npath {", "2: a path in the path that begins on line 1", "close that with `}`"),
        (
            "path {\nserver = a\n}",
            "3: the path that begins on line 1 reaches nothing",
            "`reaches = NETWORK/MASK`",
        ),
        (
            "path {\nreaches = 10.0.0.0/8\n}",
            "3: no `server` in the path that begins on line 1",
            "`server = HOST`",
        ),
        (
            "\npath {\nlocal = 10.0.0.0/8",
            "3: `local` in the path that begins on line 2",
            "it stands in no block",
        ),
        (
            "path {\nfallback = yes",
            "2: `fallback` in the path that begins on line 1",
            "it stands in no block",
        ),
        (
            "path {\nreaches = 10.0.0.0:90-80/8",
            "2: a range of ports that ends before it begins: `90-80`",
            "",
        ),
        ("path {\nreaches = 10.0.0.0:x/8", "2: not a port: `x`", ""),
        (
            "path {\nserver = a\nserver = b\n}",
            "3: `server = b` contradicts line 2: `server = a`",
            "remove one of them",
        ),
        ("server = a\0", "1: a NUL byte: this is not a text file in ASCII or UTF-8", ""),
    ],
)
def test_what_is_wrong_with_a_file(text, message, hint):
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), "etc/tsocks.conf")
    assert (str(caught.value), caught.value.hint) == (f"etc/tsocks.conf:{message}", hint)
    assert "SECRET" not in message + hint


PIECES = [*DIRECTIVES, "=", "{", "}", "#", "\n", "1", "5", "10.0.0.0/8"]


@given(st.binary() | st.lists(st.sampled_from(PIECES)).map(lambda words: " ".join(words).encode()))
def test_any_file_is_choices_or_an_error(data):
    try:
        assert isinstance(parse(data, "file"), PartialSettings)
    except ConfigError as err:
        assert str(err).startswith("file:")
