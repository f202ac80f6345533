"""Reads rules, which choose the chain for a destination, and rewrites, which replace destinations.

Destinations are networks, addresses and names, each with an optional port or range of ports::

    10.0.0.0/8     10.0.0.0/255.0.0.0     10.0.0.5     10.0.0.0/8:443     10.0.0.0/8:8000-8999
    fd00::/8       fd00::5                [fd00::5]:443                   [fd00::/8]:443
    host.example   host.example:443       *.corp.example
    *              *:443

No name is resolved here: a rule for a name is about the name that a program uses.
"""

from __future__ import annotations

from pywrap.config.config_error import ConfigError, counted
from pywrap.config.host import is_address, parse_host, parse_network, parse_port, split_port
from pywrap.config.settings import PROTOCOLS, TO_BLOCK, TO_DIRECT, Rewrite, Rule
from pywrap.config.words import suggest
from pywrap.frozen import replace

HINT = "examples: 10.0.0.0/8, 10.0.0.0/8:443, fd00::/8, [fd00::/8]:443, host.example, *.corp.example"
ROUTE_FORM = "it is written `route [tcp|udp] DESTINATION CHAIN|proxy|direct|block`"

# The word for the default chain in the text of a rule; in ``Rule.to`` its name is "".
TO_PROXY = "proxy"
RESERVED = (TO_PROXY, TO_DIRECT, TO_BLOCK)

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def parse_directs(text: str) -> tuple[Rule, ...]:
    """Read destinations that need no proxy, separated by commas.

    Raises:
        ConfigError: as ``parse_rule``, and for ``*``: a shell leaves that when a pattern matches no file.
    """
    rules = tuple(parse_rule(item, TO_DIRECT) for item in text.split(","))
    for rule in rules:
        if not rule.network and not rule.name:
            raise ConfigError(f"no proxy for anything: `{rule}`", f"if so, write `route {rule} direct`")
    return rules


def parse_route(words: list[str]) -> tuple[Rule, ...]:
    """Read ``[tcp|udp] DESTINATION[,DESTINATION]... TO``. ``settle`` checks whether there is such a chain.

    Raises:
        ConfigError: not in this form.
    """
    # Of two words, the first is the destination, even if it is "tcp": a host may be called so.
    protocol = words[0] if len(words) == 3 and words[0] in PROTOCOLS else ""
    rest = words[1:] if protocol else words
    # Of three words, a first one of letters alone is a wrong protocol. Otherwise there is a blank too many,
    # as in `10.0.0.0/8, 10.8.0.0/16 work`.
    if len(rest) == 3 and rest[0].isalpha():
        raise ConfigError(f"unknown protocol: `{rest[0]}`", suggest(rest[0], PROTOCOLS, "protocols"))
    if len(rest) != 2:
        raise ConfigError(f"a route of {counted(len(words), 'word')}: `{' '.join(words)}`", ROUTE_FORM)
    to = "" if rest[1] == TO_PROXY else rest[1]
    if to and to not in RESERVED:
        check_chain_name(to)
    return tuple(replace(parse_rule(item, to), protocol=protocol) for item in rest[0].split(","))


def format_route(rule: Rule) -> str:
    """Write ``rule`` as ``parse_route`` reads it."""
    return " ".join(filter(None, (rule.protocol, str(rule), rule.to or TO_PROXY)))


def parse_rule(text: str, to: str) -> Rule:
    """Read one destination.

    Raises:
        ConfigError: neither a network, an address, a name nor a star.
    """
    try:
        what, port, last_port = _split_ports(text)
        if what == "*":
            return Rule(port=port, last_port=last_port, to=to)
        if "/" in what:
            return Rule(parse_network(*what.split("/", 1)), "", port, last_port, to=to)
        network, name = _parse_single(what)
        return Rule(network, name, port, last_port, to=to)
    except ConfigError as err:
        # All mistakes have one form of message: the whole text, the reason, and examples as the hint.
        reason = f" ({err})" if str(err) else ""
        raise ConfigError(f"not a network, address or name: `{text}`{reason}", HINT) from None


def parse_localnet(text: str) -> Rule:
    """Read ``ADDRESS[:PORT]/MASK``, where proxychains.conf has the port before the mask.

    Raises:
        ConfigError: not in this form.
    """
    return parse_place(text, TO_DIRECT, "localnet")


def parse_place(text: str, to: str, directive: str) -> Rule:
    """Read ``ADDRESS[:PORT[-PORT]]/MASK``, the form of other tools' files.

    Raises:
        ConfigError: not in this form; the message names the ``directive``.
    """
    place, slash, mask = text.partition("/")
    if not slash:
        raise ConfigError(
            f"`{directive}` needs a netmask: `{text}`", "a single address has /32, in IPv6 /128"
        )
    address, port, last_port = _split_ports(place)
    return Rule(parse_network(address, mask), "", port, last_port, to=to)


def parse_rewrite(words: list[str]) -> Rewrite:
    """Read ``ADDRESS[:PORT] NEW[:PORT]``, proxychains' ``dnat``.

    Raises:
        ConfigError: not in this form.
    """
    if len(words) != 2:
        raise ConfigError(f"`dnat` takes two addresses, not {len(words)}", "`dnat ADDRESS[:PORT] NEW[:PORT]`")
    address, port = _parse_address(words[0])
    new_address, new_port = _parse_address(words[1])
    return Rewrite(address, port, new_address, new_port)


def format_rewrite(rewrite: Rewrite) -> str:
    """Write ``rewrite`` as ``parse_rewrite`` reads it."""
    old = Rule(name=rewrite.address, port=rewrite.port)
    return f"{old} {Rule(name=rewrite.new_address, port=rewrite.new_port)}"


def is_chain_name(text: str) -> bool:
    """Whether ``text`` can be the name of a chain."""
    return text not in RESERVED and bool(text) and _LETTERS.issuperset(text)


def check_chain_name(text: str) -> str:
    """Return ``text``, the name of a chain.

    Raises:
        ConfigError: it cannot be one.
    """
    if not is_chain_name(text):
        hint = f"letters, digits, `-`, `_` and `.`, and none of {', '.join(RESERVED)}"
        raise ConfigError(f"not a name for a chain: `{text}`", hint)
    return text


def _parse_address(text: str) -> tuple[str, int]:
    try:
        what, port, last_port = _split_ports(text)
        if last_port:
            raise ConfigError("one port, not a range")
        if not is_address(what):
            raise ConfigError("")
        return parse_host(what), port
    except ConfigError as err:
        reason = f" ({err})" if str(err) else ""
        raise ConfigError(f"not an address with a port or without: `{text}`{reason}") from None


def _split_ports(text: str) -> tuple[str, int, int]:
    """Cut off ``:PORT`` or ``:PORT-PORT``; 0 for what is not there."""
    what, ports = split_port(text)
    return (what, 0, 0) if ports is None else (what, *_parse_ports(ports))


def _parse_ports(text: str) -> tuple[int, int]:
    head, dash, tail = text.partition("-")
    port = parse_port(head)
    last = parse_port(tail) if dash else port
    if port is None or last is None:
        raise ConfigError(f"not a port: `{text}`")
    if last < port:
        raise ConfigError(f"a range of ports that ends before it begins: `{text}`")
    return port, last if last > port else 0


def _parse_single(what: str) -> tuple[str, str]:
    """The network and the name; one of them is ""."""
    suffix = what.startswith("*.")
    host = _parse_name(what[2:] if suffix else what)
    if not is_address(host):
        return "", f"*.{host}" if suffix else host
    if suffix:
        raise ConfigError("a star stands only before names")
    return parse_network(host), ""


def _parse_name(text: str) -> str:
    if "*" in text:
        raise ConfigError("a star stands only for the beginning, as in `*.corp.example`")
    if text.startswith("."):
        raise ConfigError(f"all names below it are `*{text}`")
    if not text:
        raise ConfigError("")
    # Names are compared without the dot at their end.
    return parse_host(text).removesuffix(".")
