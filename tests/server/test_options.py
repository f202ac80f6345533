"""The command line of the server."""

import pytest

from pywrap.server.options import HELP, Options, UsageError, parse
from pywrap.server.udp.outbound import UdpRules


@pytest.mark.parametrize(
    "argv, options",
    [
        ([], Options((("127.0.0.1", 1080),), "", 0)),
        (["-l", "0.0.0.0:1080"], Options((("0.0.0.0", 1080),))),
        (["--listen", "[::1]:0", "--listen=localhost:9050"], Options((("::1", 0), ("localhost", 9050)))),
        (["-l", "[fe80::1%eth0]:1080"], Options((("fe80::1%eth0", 1080),))),
        (["-l", "bücher.example:1080"], Options((("xn--bcher-kva.example", 1080),))),
        (["-u", "users.txt", "-q"], Options(users="users.txt", verbosity=-1)),
        (["--users=users.txt", "--quiet"], Options(users="users.txt", verbosity=-1)),
        (["-v"], Options(verbosity=1)),
        (["--verbose"], Options(verbosity=1)),
        (["--no-udp", "-v"], Options(verbosity=1, udp=UdpRules(enabled=False))),
        (["--fast-open"], Options(fast_open=True)),
        (["--udp-peers", "any"], Options(udp=UdpRules(any_peer=True))),
        (["--udp-peers=any", "--udp-peers=contacted"], Options()),
        (["--udp-address", "2001:db8::1"], Options(udp=UdpRules(addresses=("2001:db8::1",)))),
        (
            ["--udp-address=192.0.2.1", "--udp-address", "::1", "--no-udp"],
            Options(udp=UdpRules(enabled=False, addresses=("192.0.2.1", "::1"))),
        ),
        (["--bind-address", "192.0.2.7"], Options(bind_addresses=("192.0.2.7",))),
        (
            ["--bind-address=2001:db8::7", "--bind-address=192.0.2.7"],
            Options(bind_addresses=("2001:db8::7", "192.0.2.7")),
        ),
        (["-q", "-v", "--version"], Options(show="version")),
        (["--help", "--nonsense"], Options(show="help")),
        (["-h"], Options(show="help")),
    ],
)
def test_good_command_lines(argv, options):
    assert parse(argv) == options


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--nonsense"], "unknown argument: `--nonsense`"),
        (["1080"], "unknown argument: `1080`"),
        (["--quiet=yes"], "unknown argument: `--quiet=yes`"),
        (["-l"], "no value for `-l`"),
        (["--udp-peers", "all"], "not `contacted` or `any`: `all`"),
        (["--udp-address", "proxy.example.org"], "not an address: `proxy.example.org`"),
        (
            ["--udp-address", "192.0.2.1", "--udp-address=192.0.2.2"],
            "a second IPv4 address for UDP: `192.0.2.2`",
        ),
        (["--no-udp=yes"], "unknown argument: `--no-udp=yes`"),
        (["-l", "1080"], "not HOST:PORT: `1080`"),
        (["-l", ":1080"], "not HOST:PORT: `:1080`"),
        (["-l", "::1:1080"], "not HOST:PORT: `::1:1080`"),
        (["-l", "localhost:"], "not a port: `` in `localhost:`"),
        (["-l", "localhost:socks"], "not a port: `socks` in `localhost:socks`"),
        (["-l", "localhost:65536"], "not a port: `65536` in `localhost:65536`"),
        (["-l", "localhost:-1"], "not a port: `-1` in `localhost:-1`"),
        (["--bind-address"], "no value for `--bind-address`"),
        (["--bind-address", "proxy.example"], "not an address: `proxy.example`"),
        (["--bind-address", "192.0.2.7:1080"], "not an address: `192.0.2.7:1080`"),
        (["--bind-address", "[::1]"], "not an address: `[::1]`"),
        (["--bind-address=::1", "--bind-address=::2"], "a second IPv6 address for BIND: `::2`"),
        *[
            ([option, address], message)
            for option in ("--udp-address", "--bind-address")
            for address, message in (
                ("::1%lo", "not an address: `::1%lo`"),
                ("127.1", "not an address: `127.1`"),
                ("224.0.0.1", "not the address of one host: `224.0.0.1`"),
                ("255.255.255.255", "not the address of one host: `255.255.255.255`"),
                ("ff02::1", "not the address of one host: `ff02::1`"),
            )
        ],
        # An unset variable is no reason to serve everyone.
        (["--users="], "no value for `--users`"),
        (["-u", ""], "no value for `-u`"),
        (["-l", "[127.0.0.1]:1080"], "not HOST:PORT: `[127.0.0.1]:1080`"),
        (["-l", "127.1:1080"], "not HOST:PORT: `127.1:1080` (not an IPv4 address: `127.1`)"),
        (["-l", "*:1080"], "not HOST:PORT: `*:1080` (not a host name: `*`)"),
        (["-l", "[::1]x:1080"], "not HOST:PORT: `[::1]x:1080`"),
        (["-l", "a..b:1080"], "not HOST:PORT: `a..b:1080` (not a host name: `a..b`)"),
        (["-l", "localhost:" + "1" * 5000], f"not a port: `{'1' * 5000}` in `localhost:{'1' * 5000}`"),
        (["-l", "localhost:²"], "not a port: `²` in `localhost:²`"),
    ],
)
def test_bad_command_lines_come_with_a_hint(argv, message):
    with pytest.raises(UsageError) as caught:
        parse(argv)
    assert str(caught.value) == message
    assert caught.value.hint


def test_only_what_is_near_is_suggested():
    for name, hint in (("--lisen", "did you mean `--listen`? "), ("--bogus", ""), ("--log", "")):
        with pytest.raises(UsageError) as caught:
            parse([name])
        assert caught.value.hint == f"{hint}`pysocksd -h` lists the options"


def test_the_help_fits_a_terminal():
    assert max(map(len, HELP.splitlines())) <= 80
