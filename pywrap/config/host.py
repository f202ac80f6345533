"""Hosts, ports and networks as users write them, turned into one spelling.

No name is resolved. IPv6 addresses are read by ``_socket`` instead of ``ipaddress``: it gives the same
results, and importing it takes a hundredth of the time. IPv4 addresses are read here: as a rule the launcher
has no others, and that import takes a thirtieth of its start.
"""

from __future__ import annotations

from pywrap.config.config_error import ConfigError
from pywrap.config.words import digits

# RFC 1035 section 2.3.4, without the dot at the end.
LONGEST_NAME = 253
LONGEST_LABEL = 63

# RFC 952 has no underscore, but names with one resolve (Docker Compose, SRV, Windows).
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_")


def parse_host(text: str) -> str:
    """An address as inet_ntop(3) writes it, or a name in lower case with IDNA applied.

    ``text`` is an IPv6 address without brackets, an IPv4 address, or a name.

    Raises:
        ConfigError: neither an address nor a name.
    """
    if "://" in text:
        raise ConfigError(f"a URL in the place of a host: `{text}`")
    if "@" in text:
        # The message does not quote the text, most of which may be a password.
        raise ConfigError("a username in the place of a host")
    if text.count(":") == 1 and text[0] != ":":
        raise ConfigError(f"a port in the place of a host: `{text}`")
    if ":" in text:
        return _parse_ipv6(text)
    name = _to_ascii(text).lower()
    if is_address(name):
        return name
    labels = name.removesuffix(".").split(".")
    # getaddrinfo() takes 127.1, 0x7f.1 and 2130706433 for 127.0.0.1, and proxies disagree. No
    # top-level domain is a number (RFC 3696 section 2), so this refuses no name.
    if digits(labels[-1]) is not None or labels[-1].startswith("0x"):
        raise ConfigError(f"not an IPv4 address: `{text}`")
    if not all(0 < len(label) <= LONGEST_LABEL and _LETTERS.issuperset(label) for label in labels):
        raise ConfigError(f"not a host name: `{text}`")
    if len(name.removesuffix(".")) > LONGEST_NAME:
        raise ConfigError(f"host name of more than {LONGEST_NAME} characters: `{text[:20]}...`")
    return name


def parse_port(text: str) -> int | None:
    """A port from 1 to 65535, or None."""
    port = digits(text)
    return port if port and port <= 65535 else None


def without_brackets(text: str) -> str:
    """``::1`` for ``[::1]``; any other text unchanged."""
    return text[1:-1] if text.startswith("[") and text.endswith("]") else text


def split_port(text: str) -> tuple[str, str | None]:
    """Split ``text`` into the host, an IPv6 address without its brackets, and the text of the port or None.

    Raises:
        ConfigError: the brackets are not in pairs.
    """
    if text.startswith("["):
        what, closed, after = text[1:].rpartition("]")
        if not closed or (after and not after.startswith(":")):
            raise ConfigError("wrong brackets")
        return what, after[1:] if after else None
    if text.count(":") == 1:
        what, _, port = text.partition(":")
        return what, port
    # Without brackets, all colons belong to the IPv6 address.
    return text, None


def parse_network(address: str, mask: str | None = None) -> str:
    """A network in its normal form, ``10.0.0.0/8``; without a ``mask``, that of the one address (/32, /128).

    ``mask``: a prefix length, or for IPv4 also a netmask. Bits of the address outside the mask are cleared,
    as by proxychains: a host's address with its mask means the network of the host.

    Raises:
        ConfigError: not an address, or not a mask for it.
    """
    packed = _packed(address)
    if packed is None:
        raise ConfigError(f"not an address: `{address}`")
    bits = len(packed) * 8
    length = bits if mask is None else _prefix_length(mask, bits)
    host_bits = bits - length
    network = int.from_bytes(packed, "big") >> host_bits << host_bits
    return f"{_unpacked(network.to_bytes(len(packed), 'big'))}/{length}"


def is_inside(network: str, outer: str) -> bool:
    """Whether ``network`` is ``outer`` or a part of it; literals, or networks of ``parse_network``."""
    (low, bits, length), (start, outer_bits, outer_length) = _numbers(network), _numbers(outer)
    shift = bits - outer_length
    return bits == outer_bits and length >= outer_length and low >> shift == start >> shift


def _numbers(network: str) -> tuple[int, int, int]:
    """The first address as a number, the bits of an address (32 or 128), and the length of the prefix."""
    literal, _, length = network.partition("/")
    packed = _packed(literal)
    assert packed is not None, "these were read before"
    bits = len(packed) * 8
    return int.from_bytes(packed, "big"), bits, int(length) if length else bits


def is_address(text: str) -> bool:
    """Whether ``text`` is an IPv4 or IPv6 address, without brackets."""
    return _packed(text) is not None


def _packed(text: str) -> bytes | None:
    """The bytes of an address, as inet_pton(3) reads it; None for any other text."""
    if ":" not in text:
        parts = text.split(".")
        return bytes(map(int, parts)) if len(parts) == 4 and all(map(_is_byte, parts)) else None
    from _socket import AF_INET6, inet_pton

    try:
        return inet_pton(AF_INET6, text)
    except (OSError, ValueError):
        # ValueError: a NUL or a lone surrogate in it.
        return None


def _is_byte(text: str) -> bool:
    """Is ``text`` a number from 0 to 255? Some would read one with a 0 before it as octal."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= 3
    return is_number and int(text) <= 255 and (text[0] != "0" or text == "0")


def _unpacked(packed: bytes) -> str:
    """The address, as inet_ntop(3) writes it."""
    if len(packed) == 4:
        return ".".join(map(str, packed))
    from _socket import AF_INET6, inet_ntop

    return inet_ntop(AF_INET6, packed)


def _parse_ipv6(text: str) -> str:
    if "%" in text:
        raise ConfigError(f"IPv6 zones are not supported: `{text}`")
    packed = _packed(text)
    if packed is None:
        raise ConfigError(f"not an IPv6 address: `{text}`")
    return _unpacked(packed)


def _to_ascii(text: str) -> str:
    if text.isascii():
        return text
    try:
        # IDNA 2003, which socket.getaddrinfo() applies too, so the name is the one that a program asks for.
        return text.encode("idna").decode("ascii")
    except UnicodeError:
        raise ConfigError(f"not a host name: `{text}`") from None


def _prefix_length(mask: str, bits: int) -> int:
    length = digits(mask)
    netmask = _packed(mask) if length is None and bits == 32 else None
    if netmask is not None and len(netmask) == 4:
        value = int.from_bytes(netmask, "big")
        length = value.bit_count()
        if value != (1 << 32) - (1 << 32 - length):
            length = None
    if length is None or length > bits:
        raise ConfigError(f"not a netmask: `{mask}`")
    return length
