"""Settings as the value of one environment variable, by which the launcher passes them to the target.

The text is a version, a checksum, a word and a value, as in::

    5f3a… 1c07… hide_env
    Settings((Chain((Proxy('socks5h,'127.0.0.1,1080,b'alice,b's%20cret)),','strict,0)),(),…)

The word says whether ``keep_env`` is set, for ``bootstrap``, which reads it before this module is imported.
How a value is written depends on its type alone: the code below names no fields, so a new field needs no
change here. Texts (') and bytes (b') are percent-encoded, so they contain no punctuation.

``decode`` refuses any text that is not a complete one of ``encode``: with a guessed setting, traffic could
leave directly. It imports nothing that the target has not imported already.
"""

from __future__ import annotations

from pywrap.config.config_error import ConfigError
from pywrap.config.settings import Chain, Kerberos, Proxy, Rewrite, Rule, Settings, Tls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VARIABLE = "PYSOCKSIFY_SETTINGS"
# The variable of programs in a confinement. Its value is the target of their link ``/proc/self/ns/net``.
CONFINED = "PYSOCKSIFY_CONFINED"

HINT = "start the program with pysocksify again, and leave this variable alone"

_CLASSES = {cls.__name__: cls for cls in (Settings, Chain, Proxy, Tls, Kerberos, Rule, Rewrite)}
_CONSTANTS: dict[str, object] = {"none": None, "on": True, "off": False}
_WORDS = {id(value): word for word, value in _CONSTANTS.items()}

# The word for settings with ``keep_env``. Texts are encoded, so with blanks around it it occurs nowhere else.
KEEPS_ENV = "keep_env"
_HIDES_ENV = "hide_env"

# RFC 3986 section 2.3.
_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
# Characters that are not encoded either, since names, addresses and paths are full of them.
_PLAIN = _UNRESERVED + b"*:/[]"

# The modulus of the checksum, a Mersenne prime: any burst of errors of less than 61 bits is found. Dividing
# integers is fast and needs no import.
_PRIME = (1 << 61) - 1


def _checksum(text: str) -> str:
    """The checksum of ``text``, which is ASCII, in hexadecimal digits."""
    return f"{int.from_bytes(text.encode('ascii'), 'big') % _PRIME:x}"


# The version of the text: the launcher and the target can be different installations, and an upgrade can
# happen between the start of a program and the start of its child. Raise the number when the meaning of a
# field changes; a change of the names of fields changes the version by itself.
_FORMAT = 5
_VERSION = _checksum(f"{_FORMAT} {[(name, cls.__match_args__) for name, cls in _CLASSES.items()]}")


def encode(settings: Settings) -> str:
    """Write ``settings`` as ASCII text, with no control characters and exactly three blanks."""
    rest = f"{KEEPS_ENV if settings.keep_env else _HIDES_ENV} {_write(settings)}"
    return f"{_VERSION} {_checksum(rest)} {rest}"


def decode(text: str) -> Settings:
    """Read a text of ``encode``.

    Raises:
        ConfigError: the text is of another version, or damaged. The message has no part of it, since that
            may be a password.
    """
    version, _, checked = text.partition(" ")
    checksum, _, rest = checked.partition(" ")
    if version != _VERSION:
        raise ConfigError(f"{VARIABLE} was written by another version of pysocksify", HINT)
    if not rest.isascii() or checksum != _checksum(rest):
        raise ConfigError(f"{VARIABLE} is damaged", HINT)
    value = rest.partition(" ")[2]
    settings, end = _read(value, 0)
    assert isinstance(settings, Settings) and end == len(value), "the checksum is right"
    return settings


def has_secrets(settings: Settings) -> bool:
    """Whether ``settings`` have a password, also one in ``proxy_variables``."""
    return any(hop.password is not None for chain in settings.chains for hop in chain.proxies) or any(
        "@" in value for _, value in settings.proxy_variables
    )


# ---------------------------------------------------------------- values


def _write(value: object) -> str:
    if isinstance(value, str):
        # surrogatepass: install() accepts any str, so any must be written.
        return f"'{quote(value.encode('utf-8', 'surrogatepass'), _PLAIN)}"
    if isinstance(value, bytes):
        return f"b'{quote(value, _PLAIN)}"
    if id(value) in _WORDS:
        return _WORDS[id(value)]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, tuple):
        return f"({','.join(map(_write, value))})"
    name = type(value).__name__
    if name not in _CLASSES:
        raise AssertionError(f"settings hold a {name}, which has no form in the environment")
    fields = (getattr(value, field) for field in _CLASSES[name].__match_args__)
    return f"{name}({','.join(map(_write, fields))})"


def _read(text: str, at: int) -> tuple[Any, int]:
    """The value that begins at index ``at``, and the index of its end."""
    end = at
    while end < len(text) and text[end] not in "(,)":
        end += 1
    word = text[at:end]
    if text[end : end + 1] == "(":
        items, end = _read_items(text, end + 1)
        return _CLASSES[word](*items) if word else items, end
    if word in _CONSTANTS:
        return _CONSTANTS[word], end
    if word.startswith("'"):
        return unquote(word[1:]).decode("utf-8", "surrogatepass"), end
    if word.startswith("b'"):
        return unquote(word[2:]), end
    return (int(word) if word.lstrip("-").isdigit() else float(word)), end


def _read_items(text: str, at: int) -> tuple[tuple[Any, ...], int]:
    """The values up to the closing parenthesis, and the index after that."""
    items = []
    while text[at] != ")":
        item, at = _read(text, at)
        items.append(item)
        if text[at] == ",":
            at += 1
    return tuple(items), at + 1


def quote(data: bytes, plain: bytes = _UNRESERVED) -> str:
    """Percent-encode the bytes that are not in ``plain``."""
    return "".join(chr(byte) if byte in plain else f"%{byte:02X}" for byte in data)


def unquote(text: str) -> bytes:
    """Undo ``quote``.

    Raises:
        ValueError: an escape is not complete.
    """
    head, *escapes = text.split("%")
    data = bytearray(head.encode("ascii"))
    for escape in escapes:
        # The length is checked too: fromhex() ignores blanks.
        byte = bytes.fromhex(escape[:2])
        if len(byte) != 1:
            raise ValueError("an incomplete escape")
        data += byte + escape[2:].encode("ascii")
    return bytes(data)
