"""Destinations that need no proxy: networks, addresses and names, each with an optional port.

::

    10.0.0.0/8     10.0.0.0/255.0.0.0     10.0.0.5     10.0.0.0/8:443
    fd00::/8       fd00::5                [fd00::5]:443                 [fd00::/8]:443
    host.example   host.example:443       *.corp.example

Nothing is looked up here: a name exempts that name, not the addresses behind it.
"""

from __future__ import annotations

from pywrap.config.host import is_address, parse_host, parse_network, parse_port
from pywrap.config.settings import Direct
from pywrap.errors import ConfigError

HINT = "examples: 10.0.0.0/8, 10.0.0.0/8:443, fd00::/8, [fd00::/8]:443, host.example, *.corp.example"


def parse_directs(text: str) -> tuple[Direct, ...]:
    """Read a list, separated by commas. Raises ConfigError, as ``parse_direct`` does."""
    return tuple(parse_direct(item) for item in text.split(","))


def parse_direct(text: str) -> Direct:
    """Read one network, address or name.

    Raises:
        ConfigError: none of them.
    """
    try:
        what, port = _split_port(text)
        if "/" in what:
            return Direct(network=parse_network(*what.split("/", 1)), port=port)
        return _parse_single(what, port)
    except ConfigError as err:
        # One form for every mistake: which part is wrong, in what, and how it should look.
        reason = f" ({err})" if str(err) else ""
        raise ConfigError(f"not a network, address or name: `{text}`{reason}", HINT) from None


def parse_localnet(text: str) -> Direct:
    """Read ``ADDRESS[:PORT]/MASK``, where proxychains.conf has the port before the mask.

    Raises:
        ConfigError: not in this form.
    """
    place, slash, mask = text.partition("/")
    if not slash:
        raise ConfigError(f"`localnet` needs a netmask: `{text}`", "a single address has /32, in IPv6 /128")
    address, port = _split_port(place)
    return Direct(network=parse_network(address, mask), port=port)


def _split_port(text: str) -> tuple[str, int]:
    """Cut off ``:PORT`` (0 when there is none) and the brackets."""
    if text.startswith("["):
        what, closed, after = text[1:].rpartition("]")
        if not closed or (after and not after.startswith(":")):
            raise ConfigError("wrong brackets")
        colon, port = after[:1], after[1:]
    elif text.count(":") == 1:
        what, colon, port = text.partition(":")
    else:
        # Without brackets, all the colons of an IPv6 address are its own.
        return text, 0
    if not colon:
        return what, 0
    number = parse_port(port)
    if number is None:
        raise ConfigError(f"not a port: `{port}`")
    return what, number


def _parse_single(what: str, port: int) -> Direct:
    suffix = what.startswith("*.")
    host = _parse_name(what[2:] if suffix else what)
    if not is_address(host):
        return Direct(name=f"*.{host}" if suffix else host, port=port)
    if suffix:
        raise ConfigError("a star stands only before names")
    return Direct(network=parse_network(host), port=port)


def _parse_name(text: str) -> str:
    if "*" in text:
        raise ConfigError("a star stands only for the beginning, as in `*.corp.example`")
    if text.startswith("."):
        raise ConfigError(f"all names below it are `*{text}`")
    if not text:
        raise ConfigError("")
    # The dot at the end of a complete name is not there when names are compared.
    return parse_host(text).removesuffix(".")
