import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.config.partial_settings import PartialSettings, settle
from pywrap.config.settings import Proxy, Rule
from pywrap.config.torsocks import DIRECTIVES, parse
from pywrap.errors import ConfigError
from tests.support.debian_files import shipped

NO_IPV6 = Rule("::/0", to="block")
DEFAULT = PartialSettings(
    proxies=(Proxy("socks5h", "127.0.0.1", 9050),),
    rules=(NO_IPV6,),
    dns="tor",
    placeholders="127.42.42.0/24",
    loopback="deny",
    udp="block",
    listen="block",
    isolate_streams=False,
)


def said(text: str) -> PartialSettings:
    """What a file says, without where."""
    return parse(text.encode(), "file").replace(origins={})


def test_file_of_debian_loads():
    data = shipped("torsocks", "/etc/tor/torsocks.conf")
    assert parse(data, "file").replace(origins={}) == DEFAULT


@pytest.mark.parametrize(
    "text, changes",
    [
        ("", {}),
        ("# TorPort 1\n\n", {}),
        ("TorAddress 192.0.2.1", {"proxies": (Proxy("socks5h", "192.0.2.1", 9050),)}),
        ("TorAddress ::1", {"proxies": (Proxy("socks5h", "::1", 9050),)}),
        ("TorPort 9150 # of the browser", {"proxies": (Proxy("socks5h", "127.0.0.1", 9150),)}),
        ("OnionAddrRange 127.42.42.0/24", {}),
        ("OnionAddrRange 10.192.0.7/10", {"placeholders": "10.192.0.0/10"}),
        (
            "SOCKS5Username me\nSOCKS5Password it",
            {"proxies": (Proxy("socks5h", "127.0.0.1", 9050, b"me", b"it"),)},
        ),
        ("AllowInbound 0", {}),
        ("AllowInbound 1", {"listen": "local"}),
        ("AllowOutboundLocalhost 0", {}),
        (
            "AllowOutboundLocalhost 1",
            {
                "loopback": "direct",
                "rules": (
                    Rule("127.0.0.0/8", protocol="udp", to="block"),
                    Rule("::1/128", protocol="udp", to="block"),
                    NO_IPV6,
                ),
            },
        ),
        ("AllowOutboundLocalhost 2", {"loopback": "direct"}),
        ("IsolatePID 0", {}),
        ("IsolatePID 1", {"isolate_streams": True}),
        ("EnableIPv6 0", {}),
        *(
            (
                f"SOCKS5Username {username}\nSOCKS5Password {password}",
                {"proxies": (Proxy("socks5h", "127.0.0.1", 9050, sent[0], sent[1]),)},
            )
            for username, password, sent in [
                ("me", "#pw", (b"me", b"#pw")),
                ("#me", "#", (b"#me", b"#")),
                ("me # x", "p#w #x", (b"me", b"p#w")),
            ]
        ),
        ("EnableIPv6 1", {"rules": ()}),
    ],
)
def test_directive(text, changes):
    assert said(text) == DEFAULT.replace(**changes)
    settle(said(text))


def test_every_line_is_remembered():
    text = b"TorPort 1\nIsolatePID 1\nAllowOutboundLocalhost 2\nEnableIPv6 0\nAllowInbound 0"
    assert parse(text, "f").origins == {
        **{("", 0): "f:1", "isolate_streams": "f:2", "loopback": "f:3", NO_IPV6: "f:4", "listen": "f:5"},
        **dict.fromkeys(("dns", "placeholders", "udp"), "f"),
    }


@pytest.mark.parametrize(
    ("text", "perhaps"),
    [
        ("TorAdress 192.0.2.1", "`TorAdress`; did you mean `TorAddress`?"),
        ("torport 9150", "`torport`; did you mean `TorPort`?"),
        ("colour blue red", "`colour`"),
        ("SocksPasswort SECRET", "`SocksPasswort`; did you mean `SOCKS5Password`?"),
        ("strict_chain", "`strict_chain`"),
    ],
)
def test_an_unknown_directive_has_no_effect_as_for_torsocks(text, perhaps):
    read = parse(f"TorPort 9050\n{text}\n".encode(), "f")
    assert read.warnings == (f"f:2: unknown directive, without an effect as for torsocks: {perhaps}",)
    assert settle(read) == settle(parse(b"TorPort 9050\n", "f"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("TorPort 1\nTorPort 2", "`TorPort 2`"),
        ("SOCKS5Username u\nSOCKS5Password SECRET1\nSOCKS5Password SECRET2", "`SOCKS5Password ***`"),
    ],
)
def test_of_two_lines_for_one_directive_the_last_counts_as_for_torsocks(text, shown):
    *before, replaced, last = text.split("\n")
    read = parse(text.encode(), "f")
    number = len(before) + 1
    assert read.warnings == (f"f:{number + 1}: {shown} replaces that of line {number}, as torsocks has it",)
    assert settle(read) == settle(parse("\n".join([*before, last]).encode(), "f"))


def test_a_line_twice_is_no_warning():
    assert parse(b"TorPort 9150\nTorPort 9150\n", "f").warnings == ()


KNOWN = f"nown directives: {', '.join(DIRECTIVES)}"


@pytest.mark.parametrize(
    "text, message, hint",
    [
        (
            "# x\nTorAdress ::1\ncolour",
            "2: unknown directive: `TorAdress`",
            f"did you mean `TorAddress`? K{KNOWN}",
        ),
        ("colour blue", "1: unknown directive: `colour`", f"k{KNOWN}"),
        ("TorPort", "1: `TorPort` takes one value, not 0", ""),
        ("TorPort # 9050", "1: `TorPort` takes one value, not 0", ""),
        ("TorPort 9050 9150", "1: `TorPort` takes one value, not 2", ""),
        ("TorPort = 9050", "1: `TorPort` takes one value, not 2", ""),
        ("TorPort 0", "1: `TorPort` takes a number from 1 to 65535: `0`", ""),
        ("TorPort tor", "1: `TorPort` takes a number from 1 to 65535: `tor`", ""),
        ("TorAddress localhost", "1: `TorAddress` takes an address, not a name: `localhost`", ""),
        ("TorAddress tor:9050", "1: `TorAddress` takes an address, not a name: `tor:9050`", ""),
        *(
            (
                f"TorAddress {address}:9150",
                f"1: `TorAddress` takes an address without a port: `{address}:9150`",
                "the port stands on a line of its own: `TorPort 9150`",
            )
            for address in ("127.0.0.1", "[::1]")
        ),
        (
            "OnionAddrRange 127.42.42.0",
            "1: `OnionAddrRange` needs a netmask: `127.42.42.0`",
            "as in 127.42.42.0/24",
        ),
        ("OnionAddrRange 127.42.42.0/33", "1: not a netmask: `33`", ""),
        ("OnionAddrRange onion/8", "1: not an address: `onion`", ""),
        (
            "OnionAddrRange fd00::/24",
            "1: `OnionAddrRange` takes an IPv4 network: `fd00::/24`",
            "IPv6 placeholders need none",
        ),
        ("OnionAddrRange 8.0.0.0/7", "1: `OnionAddrRange` takes a network from /8 to /30: `8.0.0.0/7`", ""),
        ("OnionAddrRange 8.0.0.0/31", "1: `OnionAddrRange` takes a network from /8 to /30: `8.0.0.0/31`", ""),
        (
            "OnionAddrRange 127.0.0.0/8",
            "1: `OnionAddrRange` with an address of this machine: `127.0.0.0/8`",
            "a part without it, as 127.42.42.0/24",
        ),
        ("AllowInbound yes", "1: unknown value of `AllowInbound`: `yes`", "known values: 0, 1"),
        (
            "AllowOutboundLocalhost 3",
            "1: unknown value of `AllowOutboundLocalhost`: `3`",
            "known values: 0, 1, 2",
        ),
        ("IsolatePID on", "1: unknown value of `IsolatePID`: `on`", "known values: 0, 1"),
        ("EnableIPv6 2", "1: unknown value of `EnableIPv6`: `2`", "known values: 0, 1"),
        (
            "TorPort 1\nSOCKS5Username me\n# it\nTorPort 1",
            "2: one of `SOCKS5Username` and `SOCKS5Password`",
            "Tor needs both, or none",
        ),
        (
            "SOCKS5Password SECRET\n",
            "1: one of `SOCKS5Username` and `SOCKS5Password`",
            "Tor needs both, or none",
        ),
        (
            "IsolatePID 1\nSOCKS5Username me\nSOCKS5Password SECRET",
            "3: `IsolatePID` and `SOCKS5Username`",
            "both would be the username; remove one",
        ),
        (
            f"SOCKS5Username me\nSOCKS5Password {'p' * 256}",
            "2: a password of more than 255 bytes: `socks5h://me:***@127.0.0.1:9050`",
            "",
        ),
        ("TorPort 9050\0", "1: a NUL byte: this is not a text file in ASCII or UTF-8", ""),
    ],
)
def test_what_is_wrong_with_a_file(text, message, hint):
    with pytest.raises(ConfigError) as caught:
        parse(text.encode(), "etc/torsocks.conf")
    assert (str(caught.value), caught.value.hint) == (f"etc/torsocks.conf:{message}", hint)
    assert "SECRET" not in message + hint


@given(
    st.binary()
    | st.lists(st.sampled_from([*DIRECTIVES, "#", "\n", "1", "::1"])).map(
        lambda words: " ".join(words).encode()
    )
)
def test_any_file_is_choices_or_an_error(data):
    try:
        assert isinstance(parse(data, "file"), PartialSettings)
    except ConfigError as err:
        assert str(err).startswith("file:")
