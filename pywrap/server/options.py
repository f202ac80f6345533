"""What the server can be told: one table for the command line and the configuration file.

A line of the file is an option without its dashes, and the value after a blank: ``listen 0.0.0.0:1080``.
Of most options the last one counts, and the command line comes after the file. Those that may be repeated
are lists: if the command line has any, those of the file do not count. Rules are one list, in which the
command line's come first.
"""

from __future__ import annotations

import argparse

from pywrap.config.host import parse_host
from pywrap.config.rules import parse_route
from pywrap.config.settings import TO_BLOCK, TO_DIRECT
from pywrap.config.url import parse_proxy
from pywrap.config.words import digits, nearest, one_of, seconds
from pywrap.errors import ConfigError
from pywrap.frozen import frozen, replace
from pywrap.server.ident import MODES, OFF
from pywrap.server.limits import Limits
from pywrap.server.rules import COMMANDS, AccessRule, parse_access
from pywrap.server.udp.outbound import UdpRules
from pywrap.socks import wire
from pywrap.socks.gssapi import CONFIDENTIALITY, INTEGRITY, NONE, SELECTIVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, NoReturn

    from pywrap.config.settings import Proxy, Rule

DEFAULT_LISTEN = ("127.0.0.1", 1080)
DEFAULT_FILE = "/etc/pysocksd.conf"

LOG_FORMATS = ("text", "json")


# The levels of RFC 1961 that are served, by the least of them.
_PROTECTIONS = {
    "clear": (NONE,),
    "none": (NONE, INTEGRITY, CONFIDENTIALITY, SELECTIVE),
    "integrity": (INTEGRITY, CONFIDENTIALITY, SELECTIVE),
    "confidentiality": (CONFIDENTIALITY,),
}


class UsageError(ConfigError):
    """The command line cannot be understood."""


@frozen
class Options:
    """``sources`` are what was read, for messages; ``listen`` is empty when nothing was said."""

    listen: tuple[tuple[str, int], ...] = ()
    users: str = ""
    rules: tuple[AccessRule, ...] = ()
    limits: Limits = Limits()
    verbosity: int = 0
    log_format: str = "text"
    show: str = ""  # help | version
    explain: tuple[str, ...] = ()
    add_user: str = ""
    udp: UdpRules = UdpRules()
    bind_addresses: tuple[str, ...] = ()
    fast_open: bool = False
    drain: float = 0.0
    workers: int = 1
    metrics: tuple[str, int] | None = None
    ident: str = OFF
    listen_tls: tuple[tuple[str, int], ...] = ()
    certificate: str = ""
    key: str = ""
    client_ca: str = ""
    gssapi: str = ""
    gssapi_levels: tuple[int, ...] = _PROTECTIONS["none"]
    proxies: tuple[Proxy, ...] = ()
    routes: tuple[Rule, ...] = ()


@frozen
class Option:
    """``read(text, shown)`` makes the value, ``shown`` being its name in messages; no metavar: a flag."""

    name: str
    help: str
    read: Callable[[str, str], Any]
    metavar: str = ""
    short: str = ""
    many: bool = False
    in_file: bool = True


@frozen
class Arguments:
    """An option as it was written."""

    option: Option
    text: str
    shown: str  # its name there, "-l"
    place: str = ""  # "FILE:LINE"; "" on the command line


# ---------------------------------------------------------------- values


def parse_address(text: str, shown: str = "") -> tuple[str, int]:
    """``HOST:PORT``, an IPv6 address in brackets.

    Raises:
        UsageError: it is not.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise UsageError(f"not HOST:PORT: `{text}`", "brackets are for IPv6 addresses")
    elif ":" in host:
        raise UsageError(f"not HOST:PORT: `{text}`", "an IPv6 address is written as `[::1]:1080`")
    if not colon or not host:
        raise UsageError(f"not HOST:PORT: `{text}`", "for all IPv4 addresses: `0.0.0.0:1080`")
    number = digits(port)
    if number is None or number > 65535:
        raise UsageError(f"not a port: `{port}` in `{text}`", "a port is a number from 0 to 65535")
    return _parse_host(host, text), number


def _parse_host(host: str, text: str) -> str:
    if "%" in host and wire.packed(host) is not None:
        # A zone is the interface to listen on.
        return host
    try:
        return parse_host(host)
    except ConfigError as err:
        raise UsageError(
            f"not HOST:PORT: `{text}` ({err})", "for all IPv4 addresses: `0.0.0.0:1080`"
        ) from None


def _loopback(text: str, shown: str) -> tuple[str, int]:
    host, port = parse_address(text)
    if not is_loopback(host):
        raise UsageError(f"not an address of this machine only: `{text}`", "as in `127.0.0.1:9108`")
    return host, port


def is_loopback(host: str) -> bool:
    """Whether ``host`` is localhost, or a literal of 127.0.0.0/8 or ::1."""
    return host == "localhost" or wire.is_loopback(wire.packed(host) or b"")


def _any_peer(text: str, shown: str) -> bool:
    if text not in ("contacted", "any"):
        raise UsageError(f"not `contacted` or `any`: `{text}`", _SEE_HELP)
    return text == "any"


def _announced(text: str, shown: str) -> str:
    """An address that clients are told."""
    address = wire.packed(text)
    # A zone is a name of this machine's interface: no message has room for it.
    if address is None or "%" in text:
        raise UsageError(f"not an address: `{text}`", f"`{shown}` takes an address, without a port or a zone")
    if address[0] >= (224 if len(address) == 4 else 255):
        raise UsageError(
            f"not the address of one host: `{text}`", f"`{shown}` is where clients find this one"
        )
    return text


def _one_each(addresses: Sequence[str], what: str) -> tuple[str, ...]:
    for number, text in enumerate(addresses):
        if any((":" in text) == (":" in other) for other in addresses[:number]):
            family = "IPv6" if ":" in text else "IPv4"
            raise UsageError(
                f"a second {family} address for {what}: `{text}`", "one for each family is announced"
            )
    return tuple(addresses)


def _count(text: str, shown: str) -> int:
    number = digits(text)
    if number is None:
        raise UsageError(f"`{shown}` takes a number: `{text}`", "0 is no limit")
    return number


def _size(text: str, shown: str) -> int:
    """Bytes, also as 500K, 10M, 1G."""
    unit = "KMG".find(text[-1:].upper()) + 1 if text else 0
    number = digits(text[:-1] if unit else text)
    if number is None:
        raise UsageError(f"`{shown}` takes bytes: `{text}`", "as 500000, 500K, 10M or 1G; 0 is no limit")
    return number << (10 * unit)


def _seconds_or_none(text: str, shown: str) -> float:
    return 0.0 if text == "0" else seconds(text, shown)


def _positive(text: str, shown: str) -> int:
    number = digits(text)
    if not number:
        raise UsageError(f"`{shown}` takes a number from 1: `{text}`", _SEE_HELP)
    return number


def _text(text: str, shown: str) -> str:
    return text


def _log_format(text: str, shown: str) -> str:
    return one_of(LOG_FORMATS, text, shown)


def _proxy(text: str, shown: str) -> Proxy:
    proxy = parse_proxy(text)
    if proxy.scheme == "raw":
        raise UsageError(f"not a proxy that can be told where to go: `{text}`", _SEE_HELP)
    return proxy


def _route(text: str, shown: str) -> tuple[Rule, ...]:
    rules = parse_route(text.split())
    if any(rule.to not in ("", TO_DIRECT, TO_BLOCK) for rule in rules):
        raise UsageError(f"no such chain: `{text}`", "there is one: `proxy`; and `direct` and `block`")
    return rules


def _protection(text: str, shown: str) -> tuple[int, ...]:
    return _PROTECTIONS[one_of(tuple(_PROTECTIONS), text, shown)]


def _ident(text: str, shown: str) -> str:
    return one_of(MODES, text, shown)


# ---------------------------------------------------------------- the table

SECTIONS: tuple[tuple[str, tuple[Option, ...]], ...] = (
    (
        "Clients",
        (
            Option(
                "listen",
                "accept clients there; repeat for more; port 0 picks a free one [default: 127.0.0.1:1080, or"
                " what systemd hands over]",
                parse_address,
                "HOST:PORT",
                "l",
                many=True,
            ),
            Option(
                "users",
                "ask for a password; a line of FILE is `name:password`, or what --add-user writes",
                _text,
                "FILE",
                "u",
            ),
            Option(
                "listen-tls",
                "accept clients there that speak TLS first (socks5+tls://), with --certificate",
                parse_address,
                "HOST:PORT",
                many=True,
            ),
            Option("certificate", "of this server, with what signed it, in PEM", _text, "FILE"),
            Option("key", "of the certificate, unless it is in the same file", _text, "FILE"),
            Option(
                "client-ca", "take TLS clients only with a certificate that one of FILE signed", _text, "FILE"
            ),
            Option(
                "gssapi",
                "ask for Kerberos (RFC 1961), with the key of SERVICE, as socks@proxy.example, in the keytab;"
                " with --users, or for a password (needs the extra `gssapi`)",
                _text,
                "SERVICE",
            ),
            Option(
                "gssapi-protection",
                "the least that GSSAPI clients must have: none, integrity or confidentiality [default: none]."
                " clear: none has more, as curl 8 needs it, which asks for what it cannot do",
                _protection,
                "LEVEL",
            ),
            Option(
                "ident",
                "ask the machines of SOCKS4 clients for their users (RFC 1413): require serves nobody"
                " without, log tells what differs [default: off]",
                _ident,
                "MODE",
            ),
            Option(
                "allow",
                "allow what RULE says: [from NETWORK] [user NAME] [COMMAND] [DESTINATION], each one or"
                " several with commas. COMMAND is connect, bind, udp or resolve. The first rule that matches"
                " decides, of --allow and --deny; what none matches is allowed",
                _text,
                "RULE",
            ),
            Option("deny", "refuse what RULE says", _text, "RULE"),
        ),
    ),
    (
        "Limits (0 is none; a client is an IPv4 address or an IPv6 /64)",
        (
            Option("max-connections", "of all clients [default: 0]", _count, "N"),
            Option("max-per-client", "connections of one client [default: 0]", _count, "N"),
            Option("max-per-user", "connections of one user [default: 0]", _count, "N"),
            Option(
                "max-handshakes",
                "requests that are not complete, of all clients [default: 1024]",
                _count,
                "N",
            ),
            Option("max-associations", "UDP ASSOCIATEs of one client [default: 0]", _count, "N"),
            Option("max-binds", "BINDs of one client [default: 0]", _count, "N"),
            Option("rate", "bytes per second of one client each way: 500K, 10M [default: 0]", _size, "BYTES"),
            Option("handshake-timeout", "for a complete request [default: 30]", seconds, "SECONDS"),
            Option(
                "connect-timeout",
                "to look up and reach a destination [default: 30]",
                seconds,
                "SECONDS",
            ),
            Option("bind-timeout", "for the peer of a BIND [default: 120]", seconds, "SECONDS"),
            Option(
                "idle-timeout",
                "end what nothing has passed through for so long [default: 0]",
                _seconds_or_none,
                "SECONDS",
            ),
        ),
    ),
    (
        "Other proxies",
        (
            Option(
                "proxy",
                "go through the proxy at URL, socks5://, socks4a:// or http://, and with +tls and ?gssapi as"
                " `man pysocksify` tells; repeat for a chain, nearest first. UDP goes through SOCKS5 alone",
                _proxy,
                "URL",
                "x",
                many=True,
            ),
            Option(
                "route",
                "[tcp|udp] DESTINATION proxy|direct|block: where some destinations go; the first that matches"
                " decides, and what none matches goes through the proxies",
                _route,
                "ROUTE",
                many=True,
            ),
        ),
    ),
    (
        "UDP and BIND",
        (
            Option(
                "udp-peers",
                "from whom clients get datagrams: those that they have sent to (contacted), or any"
                " [default: contacted]",
                _any_peer,
                "WHO",
            ),
            Option(
                "udp-address",
                "what clients are told to send datagrams to, behind a NAT, say; once for IPv4, once for IPv6"
                " [default: the address that they have connected to]",
                _announced,
                "IP",
                many=True,
            ),
            Option("no-udp", "refuse UDP ASSOCIATE", _text),
            Option(
                "bind-address",
                "what clients that BIND are told, behind a NAT, say; once for IPv4, once for IPv6 [default:"
                " the address of this machine that leads to the client's peer]",
                _announced,
                "IP",
                many=True,
            ),
        ),
    ),
    (
        "Operation",
        (
            Option(
                "config",
                f"read options from FILE, one a line, without the dashes [default: {DEFAULT_FILE} if there is"
                " one]",
                _text,
                "FILE",
                "f",
                in_file=False,
            ),
            Option(
                "drain",
                "on SIGTERM, accept nobody, and end tunnels only after so long [default: 0]",
                _seconds_or_none,
                "SECONDS",
            ),
            Option(
                "workers",
                "processes that serve, each with limits and counters of its own [default: 1]",
                _positive,
                "N",
            ),
            Option(
                "fast-open",
                "take a request in the first packet of a connection (TCP Fast Open): a copy of that packet"
                " that comes late may then connect a second time",
                _text,
            ),
            Option(
                "metrics",
                "counters for Prometheus there, on loopback; further workers use the ports after it"
                " (needs the extra `metrics`)",
                _loopback,
                "HOST:PORT",
            ),
            Option("log-format", "text or json, a line each [default: text]", _log_format, "FORMAT"),
            Option("quiet", "no line for each request", _text, short="q"),
            Option(
                "verbose",
                "a line for each end too, with the bytes and what was dropped of datagrams",
                _text,
                short="v",
            ),
        ),
    ),
    (
        "Instead of serving",
        (
            Option(
                "explain",
                "say which rule decides on a request: `--explain 192.0.2.7 alice connect example.org:443`,"
                " with `-` for no user; exit status 3 when it is refused",
                _text,
                "CLIENT USER COMMAND DESTINATION",
                in_file=False,
            ),
            Option(
                "add-user",
                "write NAME into the file of --users, with the hash of a password that is asked for or read"
                " from stdin",
                _text,
                "NAME",
                in_file=False,
            ),
            Option("version", "print the version", _text, in_file=False),
            Option("help", "print this", _text, short="h", in_file=False),
        ),
    ),
)
OPTIONS = {option.name: option for _, options in SECTIONS for option in options}

# Of ``Limits``: the field for each option.
_LIMITS = {
    "max-connections": "connections",
    "max-per-client": "per_client",
    "max-per-user": "per_user",
    "max-handshakes": "handshakes",
    "max-associations": "associations",
    "max-binds": "binds",
    "rate": "rate",
    "handshake-timeout": "handshake",
    "connect-timeout": "connect",
    "bind-timeout": "bind",
    "idle-timeout": "idle",
}

DESCRIPTION = "A SOCKS server: SOCKS4, SOCKS4a and SOCKS5 with UDP, names resolved here."

EXAMPLES = """\
Examples:
  pysocksd
  pysocksd --users users.txt --add-user alice
  pysocksd --listen 0.0.0.0:1080 --listen '[::]:1080' --users users.txt
  pysocksd --listen 192.0.2.1:1080 --allow 'from 192.0.2.0/24' --deny '*'
"""

EPILOG = """\
Where everyone is served who can reach it, without --users on more than loopback, private, loopback and
link-local destinations are refused, and so is the server itself, but for those that an --allow names.
"""

SIGNALS = """\
SIGTERM and SIGINT stop it, SIGHUP reads its files again (users, rules, limits),
and SIGUSR1 prints what is connected.
Exit status: 0 stopped, 1 cannot start, 2 wrong usage.
"""


# ---------------------------------------------------------------- reading


def parse(argv: list[str], default_file: str = "") -> Options:
    """Understand the arguments, and the file that they name, or else ``default_file`` if there is one.

    Raises:
        UsageError: in the arguments; with a hint.
        ConfigError: in the file.
    """
    given = list(_read_arguments(argv))
    shown = [each.option.name for each in given]
    for name in ("help", "version"):
        if name in shown:
            return Options(show=name)
    _check_values(given)
    files = [each.text for each in given if each.option.name == "config"]
    if files:
        return _build([*read_file(files[-1]), *given])
    try:
        return _build([*read_file(default_file), *given] if default_file else given)
    except FileNotFoundError:
        return _build(given)


def _read_arguments(argv: list[str]) -> Iterator[Arguments]:
    if {"-h", "--help"} & set(argv[: argv.index("--")] if "--" in argv else argv):
        yield Arguments(OPTIONS["help"], "", "--help")
        return
    found, unknown = _parser().parse_known_args(argv)
    if unknown:
        raise UsageError(f"unknown argument: `{unknown[0]}`", _suggestion(unknown[0]))
    yield from found.given or ()


def _check_values(given: list[Arguments]) -> None:
    for each in given:
        if each.option.metavar and not each.text:
            # Of a variable that is not set, say: without its users, the server would serve any client.
            raise UsageError(f"no value for `{each.shown}`", _SEE_HELP)


def read_file(path: str) -> list[Arguments]:
    """The options in a file.

    Raises:
        ConfigError: it cannot be read, or a line has no option.
        FileNotFoundError: there is no file.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().removeprefix("\ufeff").split("\n")
    except FileNotFoundError:
        if path == DEFAULT_FILE:
            raise
        raise ConfigError(f"cannot read the configuration: {path}: No such file or directory") from None
    except OSError as err:
        raise ConfigError(f"cannot read the configuration: {path}: {err.strerror}") from err
    except UnicodeDecodeError:
        raise ConfigError(f"cannot read the configuration: {path}: not UTF-8") from None
    given = []
    for number, line in enumerate(lines, 1):
        name, _, text = line.strip().partition(" ")
        if not name or name.startswith("#"):
            continue
        place, text = f"{path}:{number}", text.strip()
        option = OPTIONS.get(name)
        if option is None or not option.in_file:
            near = nearest(name, [each.name for each in OPTIONS.values() if each.in_file])
            raise ConfigError(f"{place}: unknown option: `{name}`", f"did you mean `{near}`?" if near else "")
        if bool(text) != bool(option.metavar) and name not in ("allow", "deny"):
            problem = f"`{name}` takes no value" if text else f"no value for `{name}`"
            raise ConfigError(f"{place}: {problem}")
        given.append(Arguments(option, text, name, place))
    return given


def _build(given: list[Arguments]) -> Options:
    values: dict[str, Any] = {}
    lists: dict[str, list[Any]] = {}
    rules: list[tuple[bool, AccessRule]] = []
    of_file: set[str] = set()
    for each in given:
        name = each.option.name
        value = _value(each)
        if name in ("allow", "deny"):
            rules.append((bool(each.place), value))
        elif each.option.many:
            if name in of_file and not each.place:
                # The command line has its own list.
                lists[name] = []
                of_file.discard(name)
            elif each.place:
                of_file.add(name)
            lists.setdefault(name, []).append(value)
        elif name in ("quiet", "verbose"):
            values["verbosity"] = -1 if name == "quiet" else 1
        else:
            values[name] = value
    limits = {field: values[name] for name, field in _LIMITS.items() if name in values}
    return Options(
        tuple(lists.get("listen", ())),
        values.get("users", ""),
        tuple(rule for _, rule in sorted(rules, key=lambda each: each[0])),
        replace(Limits(), **limits),
        values.get("verbosity", 0),
        values.get("log-format", "text"),
        "",
        tuple(values.get("explain", ())),
        values.get("add-user", ""),
        UdpRules(
            enabled="no-udp" not in values,
            any_peer=values.get("udp-peers", False),
            addresses=_one_each(lists.get("udp-address", ()), "UDP"),
        ),
        _one_each(lists.get("bind-address", ()), "BIND"),
        "fast-open" in values,
        values.get("drain", 0.0),
        values.get("workers", 1),
        values.get("metrics"),
        values.get("ident", OFF),
        tuple(lists.get("listen-tls", ())),
        values.get("certificate", ""),
        values.get("key", ""),
        values.get("client-ca", ""),
        values.get("gssapi", ""),
        values.get("gssapi-protection", _PROTECTIONS["none"]),
        tuple(lists.get("proxy", ())),
        tuple(rule for rules_ in lists.get("route", ()) for rule in rules_),
    )


def _value(given: Arguments) -> Any:
    name = given.option.name
    try:
        if name in ("allow", "deny"):
            return parse_access(name, given.text, given.place)
        if name == "explain":
            return given.text.split("\0")
        return given.option.read(given.text, given.shown)
    except ConfigError as err:
        if given.place:
            raise ConfigError(f"{given.place}: {err}", err.hint) from None
        raise UsageError(str(err), err.hint or _SEE_HELP) from None


# ---------------------------------------------------------------- argparse


class _Note(argparse.Action):
    """Keeps what was given in the order of the command line."""

    def __init__(self, option: Option, **kw: Any) -> None:
        super().__init__(**kw)
        self._option = option

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        shown: str | None = None,
    ) -> None:
        text = "\0".join(values) if isinstance(values, list) else values or ""
        namespace.given = [*(namespace.given or ()), Arguments(self._option, text, shown or "")]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, _SEE_HELP)

    def format_help(self) -> str:
        formatter = self._get_formatter()
        for group in self._action_groups:
            if group._group_actions:
                formatter.start_section(group.title)
                formatter.add_arguments(group._group_actions)
                formatter.end_section()
        options = formatter.format_help().rstrip()
        formatter = self._get_formatter()
        formatter.add_text(EPILOG)
        return (
            f"{DESCRIPTION}\n\nUsage: pysocksd [OPTIONS]\n\n{EXAMPLES}\n{options}\n\n"
            f"{formatter.format_help()}\n{SIGNALS}"
        )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        "pysocksd",
        add_help=False,
        allow_abbrev=False,
        argument_default=None,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=26, width=80),
    )
    parser.set_defaults(given=())
    for title, options in SECTIONS:
        group = parser.add_argument_group(title)
        for option in options:
            names = [f"-{option.short}"] if option.short else []
            many = len(option.metavar.split())
            group.add_argument(
                *names,
                f"--{option.name}",
                action=_Note,
                option=option,
                dest="given",
                nargs=many if many > 1 else None if many else 0,
                metavar=tuple(option.metavar.split()) if many > 1 else option.metavar or None,
                help=option.help.replace("%", "%%"),
            )
    return parser


def help_text() -> str:
    return _parser().format_help()


_SEE_HELP = "`pysocksd -h` lists the options"


def _suggestion(argument: str) -> str:
    near = nearest(argument.partition("=")[0], [f"--{name}" for name in OPTIONS])
    return f"did you mean `{near}`? {_SEE_HELP}" if near else _SEE_HELP


def check_command(text: str) -> str:
    """A command as rules call it.

    Raises:
        UsageError: it is none.
    """
    try:
        return one_of(COMMANDS, text, "--explain")
    except ConfigError as err:
        raise UsageError(str(err), err.hint) from None
