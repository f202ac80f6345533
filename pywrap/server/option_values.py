"""The values of the server's options, read from text: addresses, numbers, sizes, words.

``option_table`` names one of these functions in each row. A function gets the text and ``shown``, the
option's name as it was written, for messages; it raises ``ConfigError`` (``UsageError``) for a text that is
no such value.
"""

from __future__ import annotations

from pywrap.config.host import parse_host
from pywrap.config.route_rules import parse_route
from pywrap.config.settings import TO_BLOCK, TO_DIRECT
from pywrap.config.url import parse_proxy
from pywrap.config.words import digits, one_of, seconds
from pywrap.errors import ConfigError
from pywrap.server.access_rules import COMMANDS
from pywrap.server.ident import MODES
from pywrap.socks import wire
from pywrap.socks.gssapi import CONFIDENTIALITY, INTEGRITY, NONE, SELECTIVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pywrap.config.settings import Proxy, Rule

LOG_FORMATS = ("text", "json")
PEERS = ("contacted", "any")

# The levels of protection (RFC 1961 section 4) that the server accepts, by the word for the lowest of them.
PROTECTIONS = {
    "clear": (NONE,),
    "none": (NONE, INTEGRITY, CONFIDENTIALITY, SELECTIVE),
    "integrity": (INTEGRITY, CONFIDENTIALITY, SELECTIVE),
    "confidentiality": (CONFIDENTIALITY,),
}

SEE_HELP = "`pysocksd -h` lists the options"


class UsageError(ConfigError):
    """The command line cannot be understood."""


def parse_address(text: str, shown: str = "") -> tuple[str, int]:
    """Read ``HOST:PORT``, an IPv6 address in brackets; return host and port.

    Raises:
        UsageError: ``text`` is not in this form.
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
        # An address with a zone: the interface to listen on.
        return host
    try:
        return parse_host(host)
    except ConfigError as err:
        raise UsageError(
            f"not HOST:PORT: `{text}` ({err})", "for all IPv4 addresses: `0.0.0.0:1080`"
        ) from None


def loopback_address(text: str, shown: str) -> tuple[str, int]:
    """Read ``HOST:PORT`` that only this machine can reach."""
    host, port = parse_address(text)
    if not is_loopback(host):
        raise UsageError(f"not an address of this machine only: `{text}`", "as in `127.0.0.1:9108`")
    return host, port


def is_loopback(host: str) -> bool:
    """Whether ``host`` is localhost, or a literal of 127.0.0.0/8 or ::1."""
    return host == "localhost" or wire.is_loopback(wire.packed(host) or b"")


def any_peer(text: str, shown: str) -> bool:
    """Whether ``text``, one of PEERS, is `any`."""
    if text not in PEERS:
        raise UsageError(f"not `contacted` or `any`: `{text}`", SEE_HELP)
    return text == "any"


def announced_address(text: str, shown: str) -> str:
    """Read the IP address of one host, which replies to clients will have."""
    address = wire.packed(text)
    # A zone names an interface of this machine: no message has room for it.
    if address is None or "%" in text:
        raise UsageError(f"not an address: `{text}`", f"`{shown}` takes an address, without a port or a zone")
    if address[0] >= (224 if len(address) == 4 else 255):
        raise UsageError(
            f"not the address of one host: `{text}`", f"`{shown}` is where clients find this one"
        )
    return text


def one_of_each_family(addresses: Sequence[str], what: str) -> tuple[str, ...]:
    """``addresses``, at most one of each family; ``what``: the name of the option, for the message.

    Raises:
        UsageError: two are of one family.
    """
    for number, text in enumerate(addresses):
        if any((":" in text) == (":" in other) for other in addresses[:number]):
            family = "IPv6" if ":" in text else "IPv4"
            raise UsageError(
                f"a second {family} address for {what}: `{text}`", "one for each family is announced"
            )
    return tuple(addresses)


def count(text: str, shown: str) -> int:
    """Read a number from 0, which is no limit."""
    number = digits(text)
    if number is None:
        raise UsageError(f"`{shown}` takes a number: `{text}`", "0 is no limit")
    return number


def size(text: str, shown: str) -> int:
    """Read a number of bytes, also as 500K, 10M, 1G (powers of 1024); 0 is no limit."""
    unit = "KMG".find(text[-1:].upper()) + 1 if text else 0
    number = digits(text[:-1] if unit else text)
    if number is None:
        raise UsageError(f"`{shown}` takes bytes: `{text}`", "as 500000, 500K, 10M or 1G; 0 is no limit")
    return number << (10 * unit)


def seconds_or_none(text: str, shown: str) -> float:
    """Read a number of seconds; 0 is no limit."""
    return 0.0 if text == "0" else seconds(text, shown)


def positive(text: str, shown: str) -> int:
    """Read a number from 1."""
    number = digits(text)
    if not number:
        raise UsageError(f"`{shown}` takes a number from 1: `{text}`", SEE_HELP)
    return number


def any_text(text: str, shown: str) -> str:
    """``text`` itself."""
    return text


def log_format(text: str, shown: str) -> str:
    """Read one of LOG_FORMATS."""
    return one_of(LOG_FORMATS, text, shown)


def proxy(text: str, shown: str) -> Proxy:
    """Read the URL of a proxy that takes requests, which a raw one does not."""
    found = parse_proxy(text)
    if found.scheme == "raw":
        raise UsageError(f"not a proxy that can be told where to go: `{text}`", SEE_HELP)
    return found


def route(text: str, shown: str) -> tuple[Rule, ...]:
    """Read a route: the rules for destinations through the server's one chain, directly, or nowhere."""
    rules = parse_route(text.split())
    if any(rule.to not in ("", TO_DIRECT, TO_BLOCK) for rule in rules):
        raise UsageError(f"no such chain: `{text}`", "there is one: `proxy`; and `direct` and `block`")
    return rules


def protection(text: str, shown: str) -> tuple[int, ...]:
    """Read one of the words of PROTECTIONS; return the levels of RFC 1961 that it allows."""
    return PROTECTIONS[one_of(tuple(PROTECTIONS), text, shown)]


def ident_mode(text: str, shown: str) -> str:
    """Read one of ``ident.MODES``."""
    return one_of(MODES, text, shown)


def parse_command(text: str) -> str:
    """Read a command of SOCKS by its word in rules: one of ``access_rules.COMMANDS``.

    Raises:
        UsageError: ``text`` is no such word.
    """
    try:
        return one_of(COMMANDS, text, "--explain")
    except ConfigError as err:
        raise UsageError(str(err), err.hint) from None
