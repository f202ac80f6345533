"""The options of one run of the server, from the command line and from the file.

Of most options the last one counts, and the command line comes after the file. Those that may be repeated
are lists: if the command line has any, those of the file do not count. Rules are one list, in which the
command line's come first. Options have no defaults: the fields of ``Options`` do.
"""

from __future__ import annotations

from pywrap.errors import ConfigError
from pywrap.frozen import frozen, replace
from pywrap.server import option_values as values
from pywrap.server.access_rules import AccessRule, parse_access
from pywrap.server.ident import OFF
from pywrap.server.limits import Limits
from pywrap.server.option_table import OPTIONS
from pywrap.server.option_values import SEE_HELP, UsageError
from pywrap.server.udp.outbound import UdpRules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pywrap.config.settings import Proxy, Rule
    from pywrap.server.option_table import Option


@frozen
class Argument:
    """An option as it was written, with its value as text; several values have "\\0" between them."""

    option: Option
    text: str
    shown: str  # its name there, "-l"
    place: str = ""  # "FILE:LINE"; "" on the command line


@frozen
class Options:
    """The values of all options. ``listen`` is empty when none was given; times are seconds.

    ``limits``: as in ``Limits``. ``gssapi_levels``: the levels of protection that the server accepts (RFC
    1961 section 4). ``verbosity``: -1, 0 or 1.
    """

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
    gssapi_levels: tuple[int, ...] = values.PROTECTIONS["none"]
    proxies: tuple[Proxy, ...] = ()
    routes: tuple[Rule, ...] = ()


def build(given: list[Argument]) -> Options:
    """Make the options of ``given``: those of the file first, then those of the command line.

    Raises:
        UsageError: a value on the command line is wrong, or two options exclude each other.
        ConfigError: a value in the file is wrong.
    """
    chosen: dict[str, Any] = {}
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
            chosen["verbosity"] = -1 if name == "quiet" else 1
        else:
            chosen[name] = value
    limits = {
        option.limit: chosen[name] for name, option in OPTIONS.items() if option.limit and name in chosen
    }
    workers, metrics = chosen.get("workers", 1), chosen.get("metrics")
    if metrics is not None and metrics[1] and metrics[1] + workers - 1 > 65535:
        raise UsageError(
            f"no port for each of the workers: `{metrics[1]}`", "--metrics takes one for each from there on"
        )
    return Options(
        listen=tuple(lists.get("listen", ())),
        users=chosen.get("users", ""),
        rules=tuple(rule for _, rule in sorted(rules, key=lambda each: each[0])),
        limits=replace(Limits(), **limits),
        verbosity=chosen.get("verbosity", 0),
        log_format=chosen.get("log-format", "text"),
        explain=tuple(chosen.get("explain", ())),
        add_user=chosen.get("add-user", ""),
        udp=UdpRules(
            enabled="no-udp" not in chosen,
            any_peer=chosen.get("udp-peers", False),
            addresses=values.one_of_each_family(lists.get("udp-address", ()), "UDP"),
        ),
        bind_addresses=values.one_of_each_family(lists.get("bind-address", ()), "BIND"),
        fast_open="fast-open" in chosen,
        drain=chosen.get("drain", 0.0),
        workers=workers,
        metrics=metrics,
        ident=chosen.get("ident", OFF),
        listen_tls=tuple(lists.get("listen-tls", ())),
        certificate=chosen.get("certificate", ""),
        key=chosen.get("key", ""),
        client_ca=chosen.get("client-ca", ""),
        gssapi=chosen.get("gssapi", ""),
        gssapi_levels=chosen.get("gssapi-protection", values.PROTECTIONS["none"]),
        proxies=tuple(lists.get("proxy", ())),
        routes=tuple(rule for route in lists.get("route", ()) for rule in route),
    )


def _value(given: Argument) -> Any:
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
        raise UsageError(str(err), err.hint or SEE_HELP) from None
