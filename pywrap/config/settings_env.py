"""Settings as the value of one environment variable, from the launcher to the target process.

Fields joined by spaces, so that `env` shows them; what could be mistaken for punctuation is percent-encoded::

    format=5 chains=/strict/0/socks5h://alice:s%20cret@127.0.0.1:1080,socks4a://second:1080;work/random/1/…
    rules=10.0.0.0/8|443|0|tcp|direct,*.corp.example|0|0||work rewrites=192.0.2.1|80|192.0.2.2|0 dns=remote
    placeholders=198.18.0.0/15 loopback=direct udp=associate listen=local bind_peer=latest pipeline=off
    fast_open=off isolate_streams=off timeout=60.0 connect_timeout=0.0 read_timeout=0.0
    keep_env=off proxy_variables=http_proxy=http:%2F%2Fh:3128,… turns= verbosity=0

Every field, each once. ``decode`` runs before the program starts and refuses whatever is not settings
from end to end: a setting that is guessed could be a leak. It imports nothing that the target does not
have already.
"""

from __future__ import annotations

from pywrap.config.settings import (
    BIND_PEER,
    CHAIN_TYPES,
    DNS,
    LISTEN,
    LOOPBACK,
    PIPELINE,
    PROTOCOLS,
    SCHEMES,
    UDP,
    Chain,
    Proxy,
    Rewrite,
    Rule,
    Settings,
)
from pywrap.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

VARIABLE = "PYSOCKSIFY_SETTINGS"

# To be raised with every change of a field or of its meaning: the launcher and the target can be
# two installations, and an upgrade can happen between a program's start and that of its child.
FORMAT = "5"

HINT = "start the program with pysocksify again, and leave this variable alone"

# RFC 3986 section 2.3, and the star of `*.suffix`.
_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~*"


def encode(settings: Settings) -> str:
    """Write ``settings`` as ASCII text without control characters."""
    fields = [f"format={FORMAT}"]
    fields += [f"{name}={write(getattr(settings, name))}" for name, (write, _) in _FIELDS.items()]
    return " ".join(fields)


def decode(text: str) -> Settings:
    """Read what ``encode`` wrote.

    Raises:
        ConfigError: this is not what ``encode`` writes. The message quotes no value: it may be a password.
    """
    head, *fields = text.split(" ")
    if head != f"format={FORMAT}":
        raise ConfigError(f"{VARIABLE} was written by another version of pysocksify", HINT)
    values: dict[str, Any] = {}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals or name not in _FIELDS or name in values:
            raise ConfigError(f"{VARIABLE} is damaged: field {len(values) + 2} is none of ours", HINT)
        _, read = _FIELDS[name]
        try:
            values[name] = read(value)
        except ValueError:
            # UnicodeError too. `from None`: its text would quote the value.
            raise ConfigError(f"{VARIABLE} is damaged: a wrong value of `{name}`", HINT) from None
    for name in _FIELDS:
        if name not in values:
            raise ConfigError(f"{VARIABLE} is damaged: `{name}` is missing", HINT)
    return Settings(**values)


def has_secrets(settings: Settings) -> bool:
    """Whether ``settings`` hold a password, or what may be one."""
    return any(hop.password is not None for chain in settings.chains for hop in chain.proxies) or any(
        "@" in value for _, value in settings.proxy_variables
    )


# ---------------------------------------------------------------- one value


def quote(data: bytes, plain: bytes = _PLAIN) -> str:
    """Percent-encode the bytes that are not in ``plain``."""
    return "".join(chr(byte) if byte in plain else f"%{byte:02X}" for byte in data)


def unquote(text: str) -> bytes:
    """Undo ``quote``. Raises ValueError for anything that is not complete."""
    head, *escapes = text.split("%")
    data = bytearray(head.encode("ascii"))
    for escape in escapes:
        # fromhex() also takes blanks, as no byte at all.
        byte = bytes.fromhex(escape[:2])
        if len(byte) != 1:
            raise ValueError("an incomplete escape")
        data += byte + escape[2:].encode("ascii")
    return bytes(data)


def _quote_text(text: str, plain: bytes = _PLAIN) -> str:
    # surrogatepass: install() takes any str, and encode() is not the place to complain.
    return quote(text.encode("utf-8", "surrogatepass"), plain)


def _unquote_text(text: str) -> str:
    return unquote(text).decode("utf-8", "surrogatepass")


def _write_chains(chains: tuple[Chain, ...]) -> str:
    return ";".join(_write_chain(chain) for chain in chains)


def _read_chains(text: str) -> tuple[Chain, ...]:
    return tuple(_read_chain(item) for item in text.split(";"))


def _write_chain(chain: Chain) -> str:
    proxies = ",".join(_write_proxy(proxy) for proxy in chain.proxies)
    return f"{_quote_text(chain.name)}/{chain.type}/{chain.length}/{proxies}"


def _read_chain(text: str) -> Chain:
    name, type_, length, proxies = text.split("/", 3)
    hops = tuple(_read_proxy(item) for item in proxies.split(",")) if proxies else ()
    return Chain(hops, _unquote_text(name), _one_of(CHAIN_TYPES)(type_), _read_count(length))


def _write_proxy(proxy: Proxy) -> str:
    host = _quote_text(proxy.host, _PLAIN + b":")
    if ":" in host:
        host = f"[{host}]"
    user = "" if proxy.username is None else quote(proxy.username) + "@"
    if proxy.password is not None:
        # `user:@` is an empty password and `user@` none at all.
        user = f"{quote(proxy.username or b'')}:{quote(proxy.password)}@"
    return f"{proxy.scheme}://{user}{host}:{proxy.port}"


def _read_proxy(text: str) -> Proxy:
    scheme, _, rest = text.partition("://")
    if scheme not in SCHEMES:
        raise ValueError("an unknown scheme")
    credentials, at, place = rest.rpartition("@")
    user, colon, secret = credentials.partition(":")
    host, separator, port = place.rpartition(":")
    if not separator:
        raise ValueError("no port")
    return Proxy(
        scheme,
        _unquote_text(_without_brackets(host)),
        _read_port(port),
        unquote(user) if at else None,
        unquote(secret) if colon else None,
    )


def _write_rules(rules: tuple[Rule, ...]) -> str:
    return ",".join(_write_rule(rule) for rule in rules)


def _read_rules(text: str) -> tuple[Rule, ...]:
    return tuple(_read_rule(item) for item in text.split(",")) if text else ()


def _write_rule(rule: Rule) -> str:
    # Only a network keeps its slash: it tells the two kinds apart.
    what = _quote_text(rule.network, _PLAIN + b"/:") or _quote_text(rule.name)
    return f"{what}|{rule.port}|{rule.last_port}|{rule.protocol}|{_quote_text(rule.to)}"


def _read_rule(text: str) -> Rule:
    what, port, last_port, protocol, to = text.split("|")
    value = _unquote_text(what)
    network, name = (value, "") if "/" in what else ("", value)
    return Rule(
        network,
        name,
        _read_port_or_0(port),
        _read_port_or_0(last_port),
        _one_of(("", *PROTOCOLS))(protocol),
        _unquote_text(to),
    )


def _write_rewrites(rewrites: tuple[Rewrite, ...]) -> str:
    return ",".join(_write_rewrite(rewrite) for rewrite in rewrites)


def _read_rewrites(text: str) -> tuple[Rewrite, ...]:
    return tuple(_read_rewrite(item) for item in text.split(",")) if text else ()


def _write_rewrite(rewrite: Rewrite) -> str:
    address = _quote_text(rewrite.address, _PLAIN + b":")
    new = _quote_text(rewrite.new_address, _PLAIN + b":")
    return f"{address}|{rewrite.port}|{new}|{rewrite.new_port}"


def _read_rewrite(text: str) -> Rewrite:
    address, port, new, new_port = text.split("|")
    return Rewrite(
        _unquote_text(address), _read_port_or_0(port), _unquote_text(new), _read_port_or_0(new_port)
    )


def _write_variables(variables: tuple[tuple[str, str], ...]) -> str:
    return ",".join(f"{_quote_text(name)}={_quote_text(value, _PLAIN + b':')}" for name, value in variables)


def _read_variables(text: str) -> tuple[tuple[str, str], ...]:
    return tuple(_read_variable(item) for item in text.split(",")) if text else ()


def _read_variable(text: str) -> tuple[str, str]:
    name, value = text.split("=")
    return _unquote_text(name), _unquote_text(value)


def _write_dns(dns: str) -> str:
    return _quote_text(dns, _PLAIN + b":/[]")


def _read_dns(text: str) -> str:
    value = _unquote_text(text)
    return value if value.startswith("tcp://") else _one_of(DNS)(value)


def _read_network_4(text: str) -> str:
    address, _, length = text.partition("/")
    # bytes() refuses what is not a number of 8 bits.
    if len(bytes(int(number) for number in address.split("."))) != 4 or not 1 <= int(length) <= 30:
        raise ValueError("not an IPv4 network")
    return text


def _without_brackets(host: str) -> str:
    if not host.startswith("["):
        return host
    if not host.endswith("]"):
        raise ValueError("an open bracket")
    return host[1:-1]


def _read_port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise ValueError("a port out of range")
    return port


def _read_port_or_0(text: str) -> int:
    return _read_port(text) if text != "0" else 0


def _read_count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise ValueError("a negative number")
    return count


def _write_switch(value: bool) -> str:
    return "on" if value else "off"


def _read_switch(text: str) -> bool:
    return _one_of(("off", "on"))(text) == "on"


def _read_seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise ValueError("not a span of time")
    return seconds


def _one_of(words: tuple[str, ...]) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError("an unknown word")
        return text

    return read


# name of the field: how it is written, how it is read
_FIELDS: dict[str, tuple[Callable[[Any], str], Callable[[str], object]]] = {
    "chains": (_write_chains, _read_chains),
    "rules": (_write_rules, _read_rules),
    "rewrites": (_write_rewrites, _read_rewrites),
    "dns": (_write_dns, _read_dns),
    "placeholders": (str, _read_network_4),
    "loopback": (str, _one_of(LOOPBACK)),
    "udp": (str, _one_of(UDP)),
    "listen": (str, _one_of(LISTEN)),
    "bind_peer": (str, _one_of(BIND_PEER)),
    "pipeline": (str, _one_of(PIPELINE)),
    "fast_open": (_write_switch, _read_switch),
    "isolate_streams": (_write_switch, _read_switch),
    "timeout": (repr, _read_seconds),
    "connect_timeout": (repr, _read_seconds),
    "read_timeout": (repr, _read_seconds),
    "keep_env": (_write_switch, _read_switch),
    "proxy_variables": (_write_variables, _read_variables),
    "turns": (_quote_text, _unquote_text),
    # Not what can end anywhere: a text that was cut short must be noticed.
    "verbosity": (str, int),
}
