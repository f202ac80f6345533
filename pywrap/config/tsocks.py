"""tsocks.conf, as tsocks 1.8 reads it: a SOCKS server by default, and others for some networks.

A ``path`` block is a chain of one proxy, and its ``reaches`` lines are rules for it. The order is that of
tsocks: ``local`` networks first, then the paths from the last to the first, then the default server. Without
a default server, all other connections are refused, or direct with ``fallback = yes``.

The rules are about addresses, so names are resolved on this machine, as by tsocks. With ``--dns remote``,
names go to a proxy, which is always the default server. With ``tordns_enable``, from Tor's patch for tsocks,
Tor resolves names (``--dns tor``), and placeholders for .onion names are of ``tordns_deadpool_range``;
``tordns_cache_size`` is checked and has no effect.

An unknown ``NAME = VALUE`` has no effect: tsocks reports it, and here there is a warning. Three things
differ: any other mistake is an error (tsocks reports the line and skips it); without ``default_user`` no
username is sent (tsocks sends that of the local user); UDP goes through the proxies, which tsocks leaves
direct.
"""

from __future__ import annotations

from pywrap.config.config_error import ConfigError
from pywrap.config.file_parser import FileParser, parse_lines, without_comment
from pywrap.config.host import parse_host, parse_port
from pywrap.config.route_rules import parse_place
from pywrap.config.settings import DEFAULT_PORT, TO_BLOCK, TO_DIRECT, Chain, Proxy, Rule
from pywrap.config.url import check_credentials
from pywrap.config.values import parse_placeholders
from pywrap.config.words import digits, one_of, suggest
from pywrap.frozen import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.config.partial_settings import PartialSettings

FORM = "lines are written `DIRECTIVE = VALUE`, blocks `path {` and `}`"

# By server_type. Without SOCKS4A, since names are resolved on this machine.
SCHEMES = {"4": "socks4", "5": "socks5"}

# The name of the default server in this module. Its lines are outside all blocks.
DEFAULT = "server"


def parse(data: bytes, source: str) -> PartialSettings:
    """Read the contents of a file; ``source`` is its name in messages.

    Raises:
        ConfigError: a line that is wrong.
    """
    return parse_lines(data, _Parser(source))


class _Parser(FileParser):
    def __init__(self, source: str) -> None:
        super().__init__(source)
        # The block that lines belong to, and the number of its first line. A chain has the name of its block.
        self.block = DEFAULT
        self.opened = 0
        # The rules of each path.
        self.paths: dict[str, list[Rule]] = {}
        self.tor_origins: dict[str, str] = {}

    def read(self, words: list[str]) -> None:
        # A # begins a comment only at the start of a word.
        line = " ".join(without_comment(words))
        if line.removesuffix("{").strip() == "path":
            self.open_path(line)
        elif line == "}":
            self.close_path()
        elif line:
            name, equals, value = (part.strip() for part in line.partition("="))
            if name not in DIRECTIVES:
                if equals and name and value:
                    return self.warn_unknown(name.partition(" ")[0], DIRECTIVES, "tsocks")
                # Of `default_pass secret`, without the `=`, the whole line is taken for the name.
                name = name.partition(" ")[0]
                if name in DIRECTIVES:
                    raise ConfigError(f"`{name}` without a `=`", FORM)
                raise ConfigError(f"unknown directive: `{name}`", suggest(name, DIRECTIVES, "directives"))
            if name == "path":
                raise ConfigError("`path` is a block", FORM)
            if not equals or not value:
                raise ConfigError(f"`{name}` without a value", FORM)
            self.read_pair(name, value)

    def end(self) -> None:
        if self.block != DEFAULT:
            raise ConfigError(f"{self.this_path()} has no end", FORM)
        values = self.values.pop(DEFAULT, {})
        of_tor = {name: values.pop(name) for name in TOR if name in values}
        for name in reversed(self.paths):
            self.rules += self.paths[name]
        fallback = values.pop("fallback", False)
        if values:
            self.proxies = [_proxy(values, "the default server")]
        else:
            # An empty list, since None would leave open whether there is a default server.
            self.proxies = []
            rest = Rule(to=TO_DIRECT if fallback else TO_BLOCK)
            self.rules.append(rest)
            self.origins.setdefault(rest, self.source)
        self.settle_names(of_tor)

    def settle_names(self, of_tor: dict[str, Any]) -> None:
        """Set how names are resolved, from ``of_tor``, the values of the directives in TOR."""
        names = {"dns": of_tor.get("tordns_enable", "local")}
        self.origins["dns"] = self.tor_origins.get("tordns_enable", self.source)
        if "tordns_deadpool_range" in of_tor:
            names["placeholders"] = of_tor["tordns_deadpool_range"]
            self.origins["placeholders"] = self.tor_origins["tordns_deadpool_range"]
        self.values[""].update(names)
        if names["dns"] == "tor":
            # Tor is asked to resolve names, and SOCKS4 carries names only as SOCKS4A.
            self.proxies = [_with_names(proxy) for proxy in self.proxies or ()]
            self.chains = [
                replace(each, proxies=tuple(map(_with_names, each.proxies))) for each in self.chains
            ]

    def open_path(self, line: str) -> None:
        if not line.endswith("{"):
            raise ConfigError("a path without its `{`", FORM)
        if self.block != DEFAULT:
            raise ConfigError(f"a path in {self.this_path()}", "close that with `}`")
        self.block = f"path{len(self.paths) + 1}"
        self.opened = self.line
        self.paths[self.block] = []
        self.origins[self.block, -1] = self.here()

    def close_path(self) -> None:
        if self.block == DEFAULT:
            raise ConfigError("a `}` where no path is open", FORM)
        if not self.paths[self.block]:
            raise ConfigError(f"{self.this_path()} reaches nothing", "`reaches = NETWORK/MASK`")
        proxy = _proxy(self.values.pop(self.block, {}), self.this_path())
        self.chains.append(Chain((proxy,), self.block))
        self.block = DEFAULT

    def this_path(self) -> str:
        return f"the path that begins on line {self.opened}"

    def read_pair(self, name: str, value: str) -> None:
        default = self.block == DEFAULT
        name = ALIASES.get(name, name)
        if (name in ("local", "fallback") or name in TOR) and not default:
            raise ConfigError(f"`{name}` in {self.this_path()}", "it stands in no block")
        if name == "local":
            self.add_rules([_parse_local(value)])
        elif name == "reaches":
            if default:
                raise ConfigError("`reaches` in no path", "the default server is for all that no path has")
            rule = parse_place(value, self.block, name)
            self.paths[self.block].append(rule)
            self.origins[rule] = self.here()
        else:
            # A password is not shown.
            shown = f"{name} = {'***' if name == 'default_pass' else value}"
            self.decide(name, _READ[name](value), shown, self.block)
            if name in TOR:
                self.tor_origins.setdefault(name, self.here())
            if name == "server":
                self.origins["" if default else self.block, 0] = self.here()


def _proxy(values: dict[str, Any], what: str) -> Proxy:
    """The proxy of a block with ``values``; ``what`` names the block in messages."""
    if "server" not in values:
        raise ConfigError(f"no `server` in {what}", "`server = HOST`")
    proxy = Proxy(
        SCHEMES[values.get("server_type", "4")],
        values["server"],
        values.get("server_port", DEFAULT_PORT),
        values.get("default_user"),
        values.get("default_pass"),
    )
    if proxy.scheme == "socks4" and proxy.username is not None:
        raise ConfigError(f"`default_user` for a server of type 4, in {what}", "`server_type = 5`")
    check_credentials(proxy)
    return proxy


def _with_names(proxy: Proxy) -> Proxy:
    return replace(proxy, scheme="socks4a") if proxy.scheme == "socks4" else proxy


def _parse_local(value: str) -> Rule:
    rule = parse_place(value, TO_DIRECT, "local")
    if rule.port:
        raise ConfigError(f"`local` with a port: `{value}`", "only `reaches` takes one")
    return rule


def _parse_port(value: str) -> int:
    port = parse_port(value)
    if port is None:
        raise ConfigError(f"`server_port` takes a number from 1 to 65535: `{value}`")
    return port


def _encode(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _flag(value: str) -> str:
    """The value of ``Settings.dns`` for a value of ``tordns_enable``."""
    known = {"true": "tor", "yes": "tor", "1": "tor", "false": "local", "no": "local", "0": "local"}
    return known[one_of(tuple(known), value.lower(), "tordns_enable")]


def _cache_size(value: str) -> int:
    size = digits(value)
    if not size:
        raise ConfigError(f"`tordns_cache_size` takes a positive number: `{value}`")
    return size


_READ: dict[str, Callable[[str], object]] = {
    "server": parse_host,
    "server_port": _parse_port,
    "server_type": lambda value: one_of(tuple(SCHEMES), value, "server_type"),
    "default_user": _encode,
    "default_pass": _encode,
    "fallback": lambda value: one_of(("yes", "no"), value, "fallback") == "yes",
    "tordns_enable": _flag,
    "tordns_deadpool_range": lambda value: parse_placeholders(value, "tordns_deadpool_range"),
    "tordns_cache_size": _cache_size,
}
# Directives of Tor's patch, which stand outside all blocks. Its documents have both spellings of the first.
TOR = ("tordns_enable", "tordns_deadpool_range", "tordns_cache_size")
ALIASES = {"tordns_enabled": "tordns_enable"}
DIRECTIVES = (*_READ, *ALIASES, "local", "reaches", "path")
