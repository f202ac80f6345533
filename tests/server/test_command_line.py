"""The command line of the server."""

import pytest

from pywrap.config.settings import Proxy, Rule
from pywrap.server.chosen_options import Options
from pywrap.server.command_line import help_text, parse
from pywrap.server.limits import Limits
from pywrap.server.option_values import UsageError
from pywrap.server.udp.outbound import UdpRules


@pytest.mark.parametrize(
    "argv, options",
    [
        ([], Options()),
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
        (["--rate", "10M", "--max-per-client=4"], Options(limits=Limits(rate=10 << 20, per_client=4))),
        (["--idle-timeout", "0", "--bind-timeout", "2.5"], Options(limits=Limits(bind=2.5))),
        (["--drain", "30", "--workers", "4"], Options(drain=30.0, workers=4)),
        (["--metrics", "127.0.0.1:9108"], Options(metrics=("127.0.0.1", 9108))),
        (["--metrics", "[::1]:9108"], Options(metrics=("::1", 9108))),
        (["--log-format", "json"], Options(log_format="json")),
        (
            ["--listen-tls", "[::]:1443", "--certificate=c"],
            Options(listen_tls=(("::", 1443),), certificate="c"),
        ),
        (
            ["--gssapi", "socks@x", "--gssapi-protection", "confidentiality"],
            Options(gssapi="socks@x", gssapi_levels=(2,)),
        ),
        (
            ["-x", "socks5://a:1", "--proxy=http://b:2", "--route", "udp 10.0.0.0/8,*.test direct"],
            Options(
                proxies=(Proxy("socks5", "a", 1), Proxy("http", "b", 2)),
                routes=(
                    Rule("10.0.0.0/8", protocol="udp", to="direct"),
                    Rule(name="*.test", protocol="udp", to="direct"),
                ),
            ),
        ),
        (["--ident", "require"], Options(ident="require")),
        (["--add-user", "alice", "-u", "x"], Options(users="x", add_user="alice")),
        (["--explain", "::1", "-", "udp", "x:1"], Options(explain=("::1", "-", "udp", "x:1"))),
        (["-qv"], Options(verbosity=1)),
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
        (["--quiet=yes"], "argument -q/--quiet: ignored explicit argument 'yes'"),
        (["-l"], "argument -l/--listen: expected one argument"),
        (["--udp-peers", "all"], "not `contacted` or `any`: `all`"),
        (["--udp-address", "proxy.example.org"], "not an address: `proxy.example.org`"),
        (
            ["--udp-address", "192.0.2.1", "--udp-address=192.0.2.2"],
            "a second IPv4 address for UDP: `192.0.2.2`",
        ),
        (["--no-udp=yes"], "argument --no-udp: ignored explicit argument 'yes'"),
        (["-l", "1080"], "not HOST:PORT: `1080`"),
        (["-l", ":1080"], "not HOST:PORT: `:1080`"),
        (["-l", "::1:1080"], "not HOST:PORT: `::1:1080`"),
        (["-l", "localhost:"], "not a port: `` in `localhost:`"),
        (["-l", "localhost:socks"], "not a port: `socks` in `localhost:socks`"),
        (["-l", "localhost:65536"], "not a port: `65536` in `localhost:65536`"),
        (["-l", "localhost:-1"], "not a port: `-1` in `localhost:-1`"),
        (["--bind-address"], "argument --bind-address: expected one argument"),
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
        (["--explain", "::1", "-", "udp"], "argument --explain: expected 4 arguments"),
        (["--max-binds", "-1"], "`--max-binds` takes a number: `-1`"),
        (["--max-binds=many"], "`--max-binds` takes a number: `many`"),
        (["--rate", "10X"], "`--rate` takes bytes: `10X`"),
        (["--workers", "0"], "`--workers` takes a number from 1: `0`"),
        (["--connect-timeout", "0"], "`--connect-timeout` takes a positive number of seconds: `0`"),
        (["--metrics", "0.0.0.0:9108"], "not an address of this machine only: `0.0.0.0:9108`"),
        (["--log-format", "xml"], "unknown value of `--log-format`: `xml`"),
        (["--allow", "from nowhere"], "not an address: `nowhere`"),
        (["--route", "* other"], "no such chain: `* other`"),
        (["--proxy", "raw://a:1"], "not a proxy that can be told where to go: `raw://a:1`"),
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
    assert max(map(len, help_text().splitlines())) <= 80
