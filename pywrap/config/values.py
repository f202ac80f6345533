"""Readers of the settings that are one word, the same for the command line, files and ``install()``."""

from __future__ import annotations

import os

from pywrap.config.config_error import ConfigError
from pywrap.config.host import parse_host, parse_network, parse_port, split_port
from pywrap.config.settings import CHAIN_TYPES, DNS
from pywrap.config.words import digits, one_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    # A function of the text, and of the name of the setting for messages.
    Reader: TypeAlias = Callable[[str, str], object]

OVER_TCP = "tcp://"
OVER_TCP_FORM = f"{OVER_TCP}HOST[:PORT]"
DNS_PORT = 53

# Limits for the placeholders' network: a /8 is that of proxychains, and a /30 has two addresses.
WIDEST = 8
NARROWEST = 30

VERBOSITIES = ("-1", "0", "1", "2")


def parse_log(text: str, what: str) -> str:
    """Read ``log``: a file, whose path is made absolute; ``-``, which is stdout; or ``fd:NUMBER``.

    Raises:
        ConfigError: no number behind ``fd:``, or nothing at all.
    """
    if text == "-":
        return "fd:1"
    if text.startswith("fd:"):
        number = digits(text[3:])
        if number is None:
            raise ConfigError(f"not a descriptor: `{text}`", "as in fd:3; a file of that name is ./fd:…")
        return f"fd:{number}"
    if not text or "\0" in text:
        raise ConfigError(f"`{what}` takes a file: `{text}`")
    return os.path.abspath(text)


def parse_dns(text: str, what: str) -> str:
    """Read ``dns``: one of DNS, or ``tcp://HOST[:PORT]``, to which the port is added.

    Raises:
        ConfigError: neither.
    """
    if not text.startswith(OVER_TCP):
        return one_of((*DNS, OVER_TCP_FORM), text, what)
    try:
        host, port = split_port(text.removeprefix(OVER_TCP))
        number = DNS_PORT if port is None else parse_port(port)
        if number is None:
            raise ConfigError(f"not a port: `{port}`")
        host = parse_host(host)
    except ConfigError as err:
        raise ConfigError(f"not a name server: `{text}` ({err})", f"it is written {OVER_TCP_FORM}") from None
    return f"{OVER_TCP}[{host}]:{number}" if ":" in host else f"{OVER_TCP}{host}:{number}"


def parse_placeholders(text: str, what: str) -> str:
    """Read ``placeholders``: an IPv4 network, ADDRESS/MASK, for the addresses that stand for names.

    Raises:
        ConfigError: not an IPv4 network, or it is too small, too large, or has this machine's addresses.
    """
    address, slash, mask = text.partition("/")
    if not slash:
        raise ConfigError(f"`{what}` needs a netmask: `{text}`", f"as in {address}/24")
    network = parse_network(address, mask)
    literal, _, length = network.partition("/")
    if ":" in literal:
        raise ConfigError(f"`{what}` takes an IPv4 network: `{text}`", "IPv6 placeholders need none")
    if not WIDEST <= int(length) <= NARROWEST:
        raise ConfigError(f"`{what}` takes a network from /{WIDEST} to /{NARROWEST}: `{text}`")
    if literal in ("0.0.0.0", "127.0.0.0"):
        raise ConfigError(
            f"`{what}` with an address of this machine: `{text}`", "a part without it, as 127.42.42.0/24"
        )
    return network


def parse_chain_type(text: str, what: str) -> tuple[str, int]:
    """Read ``TYPE[:LENGTH]``; return both, with length 0 for chains that take all their proxies.

    Raises:
        ConfigError: not in this form.
    """
    name, colon, length = text.partition(":")
    one_of(CHAIN_TYPES, name, what)
    if colon and not picks_some(name):
        hint = "a length is for random and round_robin"
        raise ConfigError(f"`{what}` with a length, and a {name} chain takes all its proxies: `{text}`", hint)
    return name, parse_length(length, what) if colon else usual_length(name)


def parse_length(text: str, what: str) -> int:
    """Read the number of proxies that a connection goes through.

    Raises:
        ConfigError: not a positive number.
    """
    length = digits(text)
    if not length:
        raise ConfigError(f"`{what}` takes a positive number of proxies: `{text}`")
    return length


def picks_some(chain_type: str) -> bool:
    """Whether connections through a chain of this type take a given number of its proxies, and not all."""
    return chain_type in ("random", "round_robin")


def usual_length(chain_type: str) -> int:
    """The default length of a chain: as in proxychains, 1 where it picks some; else 0, which means all."""
    return 1 if picks_some(chain_type) else 0
