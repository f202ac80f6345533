"""proxychains.conf, as proxychains-ng 4.17 reads it, and our own directives in the same style.

These things differ:

* proxychains ignores directives that it does not know, and known ones with a comment after them. Here each
  line has an effect or is an error.
* Of two lines for the chain type, its length, a timeout or the placeholder network, the last counts, as
  proxychains documents. For other directives it does the same; here two different values are an error.
* Names go to the proxy even without ``proxy_dns``; only ``dns local`` has them resolved on this machine.
* Without a chain type proxychains skips dead proxies. Here such a chain is strict.

A trailing ``# comment`` is allowed everywhere. After a proxy without username and password, proxychains takes
the first two words of a comment for these; here it is a comment, and there is a warning. A password may
begin with #.

``[ProxyList work]`` is our extension: a chain that rules can name. Its type and length stand between that
line and its proxies.
"""

from __future__ import annotations

from pywrap.config import options
from pywrap.config.config_error import ConfigError, mask
from pywrap.config.file_parser import FileParser, parse_lines, without_comment
from pywrap.config.host import is_address, parse_host, parse_port, split_port, without_brackets
from pywrap.config.route_rules import (
    check_chain_name,
    is_chain_name,
    parse_directs,
    parse_localnet,
    parse_rewrite,
    parse_route,
)
from pywrap.config.settings import SCHEMES, Chain, Proxy
from pywrap.config.url import check_credentials, is_over_tls, over_tls, parse_proxy
from pywrap.config.values import parse_length, picks_some, usual_length
from pywrap.config.words import digits, milliseconds, nearest, suggest
from pywrap.frozen import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from pywrap.config.partial_settings import PartialSettings

    # Called with the parser, the directive's name and the words after it.
    Reader: TypeAlias = Callable[["_Parser", str, list[str]], None]

SECTION = "[ProxyList]"

PROXY_FORM = "a proxy is written `socks5 HOST PORT [USER [PASSWORD]]` or `socks5://USER:PASSWORD@HOST:PORT`"

# proxychains sends names to `socks4` proxies (SOCKS4A), and has no type for proxies that take addresses only.
WITHOUT_NAMES = "socks4ip"
TYPES = (*SCHEMES, WITHOUT_NAMES)

# The directives for chain types, and our names of the types.
CHAINS = {
    "strict_chain": "strict",
    "dynamic_chain": "dynamic",
    "random_chain": "random",
    "round_robin_chain": "round_robin",
}

# Directives of which the last in the file counts, as proxychains documents.
THE_LAST_COUNTS = (*CHAINS, "chain_len", "tcp_connect_time_out", "tcp_read_time_out", "remote_dns_subnet")


def parse(data: bytes, source: str, hint: Callable[[str], str] | None = None) -> PartialSettings:
    """Read the contents of a file; ``source`` is its name in messages.

    ``hint(name)``: the hint of the error for an unknown directive; by default the nearest one of this format.

    Raises:
        ConfigError: a line that is wrong or unknown.
    """
    return parse_lines(data, _Parser(source, hint or _hint))


class _Parser(FileParser):
    def __init__(self, source: str, hint: Callable[[str], str]) -> None:
        super().__init__(source)
        self.hint = hint
        # The list that lines belong to: None above all of them, "" in [ProxyList].
        self.name: str | None = None
        self.opened: dict[str, int] = {}
        self.hops: list[Proxy] = []

    def read(self, words: list[str]) -> None:
        if words[0].startswith("["):
            self.end()
            self.open_list(" ".join(words))
        elif self.name is None or (self.name and not self.hops and _name_of(words[0]) in OF_A_CHAIN):
            self.read_directive(without_comment(words))
        else:
            self.origins[self.name, len(self.hops)] = self.here()
            self.hops.append(_parse_proxy_line(words, self.warn))

    def end(self) -> None:
        """Make a chain of the list that ends here, with the file or at the beginning of the next list."""
        values = self.values.setdefault(self.name or "", {})
        kind = values.get("chain_type", "strict")
        length = values.get("chain_length", usual_length(kind))
        if self.name is None:
            if "chain_type" in values:
                values["chain_length"] = length if picks_some(kind) else 0
                if not picks_some(kind) or "chain_length" not in self.origins:
                    self.origins["chain_length"] = self.origins["chain_type"]
        elif self.name == "":
            self.proxies = self.hops or None
        elif self.hops:
            length = length if picks_some(kind) else 0
            self.chains.append(Chain(tuple(self.hops), self.name, kind, length))
        else:
            self.line = self.opened[self.name]
            raise ConfigError(f"no proxies in the chain `{self.name}`", PROXY_FORM)
        self.hops = []

    def open_list(self, title: str) -> None:
        word, _, name = title.removeprefix("[").removesuffix("]").partition(" ")
        if f"[{word}]" != SECTION or not title.endswith("]"):
            raise ConfigError(f"unknown section: `{title}`", _hint_section(title))
        if title != SECTION:
            check_chain_name(name)
        if name in self.opened:
            raise ConfigError(f"a second {title}", f"the first is on line {self.opened[name]}")
        self.name = name
        self.opened[name] = self.line
        self.origins[name, -1] = self.here()

    def read_directive(self, words: list[str]) -> None:
        name = _name_of(words[0])
        if name not in DIRECTIVES:
            raise _unknown_directive(words[0], self.hint)
        arity, read = DIRECTIVES[name]
        values = words[1:]
        if name == "chain_len":
            values = " ".join(words).removeprefix(name).lstrip(" =").split()
        if arity is not None and len(values) != arity:
            takes = ("no value", "one value")[arity]
            raise ConfigError(f"`{name}` takes {takes}, not {len(values)}")
        read(self, name, values)

    def say(self, field: str, value: object, name: str, values: list[str]) -> None:
        """Note the ``value`` of ``field``, from the directive ``name`` with the words ``values``."""
        note = self.decide_anew if name in THE_LAST_COUNTS else self.decide
        note(field, value, " ".join((name, *values)), self.name or "")


def _hint_section(title: str) -> str:
    name = title[1:-1]
    if not title.endswith("]") or nearest(title, [SECTION]) or not is_chain_name(name):
        return suggest(title, [SECTION], "sections")
    return f"a chain of this name begins with `{SECTION[:-1]} {name}]`"


# ---------------------------------------------------------------- directives


def _chain_type(parser: _Parser, name: str, values: list[str]) -> None:
    parser.say("chain_type", CHAINS[name], name, values)


def _chain_len(parser: _Parser, name: str, values: list[str]) -> None:
    parser.say("chain_length", parse_length(values[0], name), name, values)


def _proxy_dns(parser: _Parser, name: str, values: list[str]) -> None:
    """All of proxychains' ways to send names to the proxy mean the same here."""
    parser.say("dns", "remote", name, values)


def _proxy_dns_daemon(parser: _Parser, name: str, values: list[str]) -> None:
    """As ``proxy_dns``: no daemon is needed. The address is checked only to report a mistake in it."""
    host, port = split_port(values[0])
    if not is_address(host) or (port is not None and parse_port(port) is None):
        raise ConfigError(f"`{name}` takes ADDRESS:PORT: `{values[0]}`")
    parser.say("dns", "remote", name, values)


def _quiet_mode(parser: _Parser, name: str, values: list[str]) -> None:
    parser.say("verbosity", -1, name, values)


def _connect_timeout(parser: _Parser, name: str, values: list[str]) -> None:
    parser.say("connect_timeout", milliseconds(values[0], name), name, values)


def _read_timeout(parser: _Parser, name: str, values: list[str]) -> None:
    parser.say("read_timeout", milliseconds(values[0], name), name, values)


def _remote_dns_subnet(parser: _Parser, name: str, values: list[str]) -> None:
    """The first byte of proxychains' placeholder addresses.

    Only the upper half of that network is used: the lower half may have 127.0.0.1, 224.0.0.251 (mDNS) and the
    first addresses of 10.0.0.0/8, where routers are.
    """
    number = digits(values[0])
    if number is None or number > 255:
        raise ConfigError(f"`{name}` takes a number from 0 to 255: `{values[0]}`")
    parser.say("placeholders", f"{number}.128.0.0/9", name, values)


def _localnet(parser: _Parser, name: str, values: list[str]) -> None:
    parser.add_rules([parse_localnet(values[0])])


def _dnat(parser: _Parser, name: str, values: list[str]) -> None:
    parser.add_rewrite(parse_rewrite(values))


def _direct(parser: _Parser, name: str, values: list[str]) -> None:
    parser.add_rules(parse_directs(values[0]))


def _route(parser: _Parser, name: str, values: list[str]) -> None:
    parser.add_rules(parse_route(values))


def _single(parser: _Parser, name: str, values: list[str]) -> None:
    setting = options.DIRECTIVES[name]
    parser.say(setting, options.READERS[setting](values[0], name), name, values)


# By name: how many values it takes (None: the function checks that), and the function that reads them.
DIRECTIVES: dict[str, tuple[int | None, Reader]] = {
    **{name: (0, _chain_type) for name in CHAINS},
    "chain_len": (1, _chain_len),
    "proxy_dns": (0, _proxy_dns),
    "proxy_dns_old": (0, _proxy_dns),
    "proxy_dns_daemon": (1, _proxy_dns_daemon),
    "quiet_mode": (0, _quiet_mode),
    "tcp_connect_time_out": (1, _connect_timeout),
    "tcp_read_time_out": (1, _read_timeout),
    "remote_dns_subnet": (1, _remote_dns_subnet),
    "localnet": (1, _localnet),
    "dnat": (None, _dnat),
    # Our own directives.
    "direct": (1, _direct),
    "route": (None, _route),
    **dict.fromkeys(options.DIRECTIVES, (1, _single)),
}
# The directives that may also stand below [ProxyList NAME].
OF_A_CHAIN = (*CHAINS, "chain_len")


def _name_of(word: str) -> str:
    # proxychains documents `chain_len = 2`, and accepts `chain_len=2`.
    return "chain_len" if word.startswith("chain_len=") else word


def _unknown_directive(word: str, hint: Callable[[str], str]) -> ConfigError:
    if word in TYPES or "://" in word:
        return ConfigError(f"a proxy above {SECTION}", f"put the line {SECTION} before the first proxy")
    # The message has only the first word, up to a `=`: what follows may be a password.
    name = mask(word).partition("=")[0]
    if name in DIRECTIVES:
        return ConfigError(f"`{name}` with a `=`", f"`{name} VALUE`" if DIRECTIVES[name][0] else "")
    return ConfigError(f"unknown directive: `{name}`", hint(name))


def _hint(name: str) -> str:
    near = nearest(name, DIRECTIVES)
    return f"did you mean `{near}`?" if near else ""


# ---------------------------------------------------------------- proxies


def _parse_proxy_line(words: list[str], warn: Callable[[str], None]) -> Proxy:
    scheme, separator, rest = words[0].partition("://")
    plain = "socks4" if scheme == WITHOUT_NAMES else scheme
    if separator:
        # proxychains-ng reads this form as well, although its sample file does not show it.
        if len(without_comment(words)) > 1:
            raise ConfigError("text after a proxy URL", "put a # before a comment")
        proxy = parse_proxy(f"{plain}://{rest}")
    else:
        proxy = _parse_columns(plain, words, warn)
    return replace(proxy, scheme="socks4a") if proxy.scheme == "socks4" and plain == scheme else proxy


def _parse_columns(scheme: str, words: list[str], warn: Callable[[str], None]) -> Proxy:
    if _name_of(scheme) in DIRECTIVES:
        raise ConfigError(f"a directive below {SECTION}: `{scheme}`", f"move it above the line {SECTION}")
    if is_over_tls(scheme):
        # The message quotes no word further right, which may be a password.
        raise over_tls(" ".join(words[:2]))
    if scheme not in SCHEMES:
        raise ConfigError(f"unknown proxy type: `{mask(scheme)}`", suggest(scheme, TYPES, "types"))
    if len(without_comment(words[:3])) < 3:
        raise ConfigError("a proxy without a port", PROXY_FORM)
    port = parse_port(words[2])
    if port is None:
        # The word is not quoted: it may be a password in the wrong column.
        raise ConfigError(f"proxy port is not a number from 1 to 65535, after `{words[1]}`", PROXY_FORM)
    # proxychains does no percent-decoding in this form.
    login = [word.encode("utf-8", "surrogateescape") for word in _login(scheme, words[3:], warn)]
    username, password = [*login, None, None][:2]
    proxy = Proxy(scheme, _parse_column_host(words[1]), port, username, password)
    check_credentials(proxy)
    return proxy


def _login(scheme: str, words: list[str], warn: Callable[[str], None]) -> list[str]:
    """The username and the password among the ``words`` behind the port of a proxy."""
    login, rest = words[:2], without_comment(words[2:])
    if login[:1] and login[0].startswith("#"):
        warn("a comment after a proxy, which proxychains would send as its username")
        return []
    if login[1:] == ["#"]:
        warn("a comment after a proxy, which proxychains would send as its password")
        return login[:1]
    if rest:
        warn("text after the password of a proxy, which is left out, as by proxychains")
    if scheme == "raw" and login:
        warn("a raw hop is asked for nothing, so its username is left out, as by proxychains")
        return []
    if scheme in ("socks4", "socks4a") and len(login) > 1:
        warn("SOCKS4 has no passwords, so this one is left out, as by proxychains")
        return login[:1]
    return login


def _parse_column_host(text: str) -> str:
    """Read the second column. A port, a username or a URL there by mistake gets PROXY_FORM as the hint."""
    try:
        return parse_host(without_brackets(text))
    except ConfigError as err:
        raise ConfigError(str(err), err.hint or PROXY_FORM) from None
