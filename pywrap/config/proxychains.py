"""proxychains.conf, as proxychains-ng 4.17 reads it, and our own directives in the same style.

What differs, each time in favour of an error over a surprise:

* proxychains skips directives that it does not know. Here each line counts or is an error.
* Of lines that contradict each other proxychains takes the last. Here that is an error.
* Names go to the proxy even without ``proxy_dns``; only ``dns local`` keeps them here.
* Without a word about the chain's type proxychains skips dead proxies. Here every chain is strict.

A trailing ``# comment`` is allowed after a directive. Below [ProxyList] proxychains takes it for a username
and a password, so there it is refused.
"""

from __future__ import annotations

from pywrap.config.choices import Choices
from pywrap.config.host import parse_host, parse_port
from pywrap.config.rules import parse_directs, parse_localnet
from pywrap.config.settings import DNS, LISTEN, LOOPBACK, SCHEMES, UDP, Proxy, Rule
from pywrap.config.url import check_credentials, mask, parse_proxy
from pywrap.config.words import digits, milliseconds, nearest, one_of, seconds, suggest
from pywrap.errors import ConfigError
from pywrap.frozen import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    # Gets the words after the directive's name.
    Reader: TypeAlias = Callable[["_Draft", list[str]], None]

SECTION = "[ProxyList]"

PROXY_FORM = "a proxy is written `socks5 HOST PORT [USER [PASSWORD]]` or `socks5://USER:PASSWORD@HOST:PORT`"

# Of proxychains-ng 4.17, with what there is instead.
UNSUPPORTED = {
    "dynamic_chain": "use `strict_chain`",
    "random_chain": "use `strict_chain`",
    "round_robin_chain": "use `strict_chain`",
    "chain_len": "it belongs to `random_chain` and `round_robin_chain`",
    "proxy_dns_old": "use `proxy_dns`",
    "proxy_dns_daemon": "use `proxy_dns`",
    "dnat": "",
}


def parse(data: bytes, source: str) -> Choices:
    """Read the contents of a file; ``source`` is its name in messages.

    Raises:
        ConfigError: a line that is wrong, unknown, or not supported yet.
    """
    draft = _Draft()
    # Bytes, as proxychains splits them: str.split() would also split passwords at blanks of Unicode.
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        draft.line = number
        try:
            draft.read(line)
        except ConfigError as err:
            raise ConfigError(f"{source}:{number}: {err}", err.hint) from None
    return draft.choices()


class _Draft:
    """What was read so far, and on which line."""

    def __init__(self) -> None:
        self.line = 0
        self.in_list = False
        self.values: dict[str, Any] = {}
        # field: the line that decided it, and its number
        self.decided: dict[str, tuple[str, int]] = {}
        self.rules: list[Rule] = []
        self.proxies: list[Proxy] = []

    def choices(self) -> Choices:
        return Choices(proxies=tuple(self.proxies) or None, rules=tuple(self.rules), **self.values)

    def read(self, line: bytes) -> None:
        if b"\0" in line:
            raise ConfigError("a NUL byte: this is not a text file in ASCII or UTF-8")
        # surrogateescape: a password that is not UTF-8 goes out as it stands here.
        words = [word.decode("utf-8", "surrogateescape") for word in line.split()]
        if not words or words[0].startswith("#"):
            return
        if words[0].startswith("["):
            self.open_section(" ".join(words))
        elif self.in_list:
            self.proxies.append(_parse_proxy_line(words))
        else:
            self.read_directive(_without_comment(words))

    def open_section(self, title: str) -> None:
        if title != SECTION:
            raise ConfigError(f"unknown section: `{title}`", suggest(title, [SECTION], "sections"))
        if self.in_list:
            raise ConfigError(f"a second {SECTION}")
        self.in_list = True

    def read_directive(self, words: list[str]) -> None:
        # proxychains writes `chain_len = 2`, and reads `chain_len=2`.
        name = words[0].partition("=")[0]
        if name in UNSUPPORTED:
            raise ConfigError(f"`{name}` is not supported yet", UNSUPPORTED[name])
        if words[0] not in DIRECTIVES:
            raise _unknown_directive(words[0])
        arity, read = DIRECTIVES[words[0]]
        if len(words) - 1 != arity:
            takes = "one value" if arity else "no value"
            raise ConfigError(f"`{name}` takes {takes}, not {len(words) - 1}")
        read(self, words)

    def decide(self, field: str, value: object, words: list[str]) -> None:
        """Note ``value``, unless an earlier line says something else."""
        shown = " ".join(words)
        if self.values.setdefault(field, value) != value:
            other, number = self.decided[field]
            raise ConfigError(f"`{shown}` contradicts line {number}: `{other}`", "remove one of them")
        self.decided.setdefault(field, (shown, self.line))


# ---------------------------------------------------------------- directives


def _strict_chain(draft: _Draft, words: list[str]) -> None:
    """The only type of chain there is."""


def _proxy_dns(draft: _Draft, words: list[str]) -> None:
    draft.decide("dns", "remote", words)


def _quiet_mode(draft: _Draft, words: list[str]) -> None:
    draft.decide("verbosity", -1, words)


def _connect_timeout(draft: _Draft, words: list[str]) -> None:
    draft.decide("connect_timeout", milliseconds(words[1], words[0]), words)


def _read_timeout(draft: _Draft, words: list[str]) -> None:
    draft.decide("read_timeout", milliseconds(words[1], words[0]), words)


def _remote_dns_subnet(draft: _Draft, words: list[str]) -> None:
    """Where proxychains takes its placeholder addresses from.

    Active in the file that Debian ships, so it must load. Ours come from 198.18.0.0/15, which no real
    host has (RFC 2544); nothing that this number could say would make them collide less.
    """
    number = digits(words[1])
    if number is None or number > 255:
        raise ConfigError(f"`{words[0]}` takes a number from 0 to 255: `{words[1]}`")


def _localnet(draft: _Draft, words: list[str]) -> None:
    draft.rules.append(parse_localnet(words[1]))


def _dns(draft: _Draft, words: list[str]) -> None:
    draft.decide("dns", one_of(DNS, words[1], words[0]), words)


def _loopback(draft: _Draft, words: list[str]) -> None:
    draft.decide("loopback", one_of(LOOPBACK, words[1], words[0]), words)


def _udp(draft: _Draft, words: list[str]) -> None:
    draft.decide("udp", one_of(UDP, words[1], words[0]), words)


def _listen(draft: _Draft, words: list[str]) -> None:
    draft.decide("listen", one_of(LISTEN, words[1], words[0]), words)


def _direct(draft: _Draft, words: list[str]) -> None:
    draft.rules.extend(parse_directs(words[1]))


def _timeout(draft: _Draft, words: list[str]) -> None:
    draft.decide("timeout", seconds(words[1], words[0]), words)


# name: how many values it takes, and what reads it
DIRECTIVES: dict[str, tuple[int, Reader]] = {
    "strict_chain": (0, _strict_chain),
    "proxy_dns": (0, _proxy_dns),
    "quiet_mode": (0, _quiet_mode),
    "tcp_connect_time_out": (1, _connect_timeout),
    "tcp_read_time_out": (1, _read_timeout),
    "remote_dns_subnet": (1, _remote_dns_subnet),
    "localnet": (1, _localnet),
    # Not of proxychains.
    "dns": (1, _dns),
    "loopback": (1, _loopback),
    "udp": (1, _udp),
    "listen": (1, _listen),
    "direct": (1, _direct),
    "timeout": (1, _timeout),
}


def _unknown_directive(word: str) -> ConfigError:
    if word in SCHEMES or "://" in word:
        return ConfigError(f"a proxy above {SECTION}", f"put the line {SECTION} before the first proxy")
    near = nearest(word, [*DIRECTIVES, *UNSUPPORTED])
    # Only the word, and not the line: a password can stand further right.
    return ConfigError(f"unknown directive: `{mask(word)}`", f"did you mean `{near}`?" if near else "")


def _without_comment(words: list[str]) -> list[str]:
    for at, word in enumerate(words):
        if word.startswith("#"):
            return words[:at]
    return words


# ---------------------------------------------------------------- proxies


def _parse_proxy_line(words: list[str]) -> Proxy:
    # The form with :// is newer than proxychains' sample file, which does not show it.
    proxy = parse_proxy(words[0]) if "://" in words[0] else _parse_columns(words)
    if "://" in words[0] and len(words) > 1:
        raise ConfigError("text after a proxy URL", "comments stand on lines of their own")
    # proxychains sends names to its `socks4` proxies, and has no other word for 4a.
    return replace(proxy, scheme="socks4a") if proxy.scheme == "socks4" else proxy


def _parse_columns(words: list[str]) -> Proxy:
    scheme = words[0]
    if scheme in DIRECTIVES or scheme in UNSUPPORTED:
        raise ConfigError(f"a directive below {SECTION}: `{scheme}`", f"move it above the line {SECTION}")
    if scheme not in SCHEMES:
        raise ConfigError(f"unknown proxy type: `{mask(scheme)}`", suggest(scheme, SCHEMES, "types"))
    if any(word.startswith("#") for word in words[1:4]):
        hint = "comments stand on lines of their own; a username with # goes into a URL, as %23"
        raise ConfigError("a comment after a proxy", hint)
    if len(words) < 3:
        raise ConfigError("a proxy without a port", PROXY_FORM)
    if len(words) > 5:
        raise ConfigError("text after the password of a proxy", PROXY_FORM)
    port = parse_port(words[2])
    if port is None:
        # Not quoted, it may be a password in the wrong column.
        raise ConfigError(f"proxy port is not a number from 1 to 65535, after `{words[1]}`", PROXY_FORM)
    # No percent-decoding here: proxychains does none.
    credentials = [word.encode("utf-8", "surrogateescape") for word in words[3:]]
    proxy = Proxy(scheme, parse_host(_without_brackets(words[1])), port, *credentials)
    check_credentials(proxy)
    return proxy


def _without_brackets(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host
