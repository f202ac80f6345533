"""Writes values as JSON (RFC 8259), in ASCII, without the module ``json``, whose import takes 8 ms.

A lone surrogate, by which Python represents a byte that is not UTF-8, is written as ``\\uXXXX``, from which
``json.loads`` makes the same surrogate.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# RFC 8259 section 7.
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}

_INFINITE = (float("inf"), float("-inf"))


def quoted(text: str) -> str:
    """``text`` as a JSON string."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        # Nearly all texts of a log need no escapes.
        return f'"{text}"'
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    number = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if 0x20 <= number < 0x7F:
        return character
    if number < 0x10000:
        return f"\\u{number:04x}"
    number -= 0x10000
    return f"\\u{0xD800 | number >> 10:04x}\\u{0xDC00 | number & 0x3FF:04x}"


def or_null(text: str | None) -> str:
    """``text`` as a JSON string; null for None."""
    return "null" if text is None else quoted(text)


def seconds(value: float | None) -> str:
    """``value`` in seconds, to the microsecond; null for None."""
    return "null" if value is None else f"{value:.6f}"


def encoded(value: Any) -> str:
    """``value`` as JSON: None, truth values, numbers, texts, and lists, tuples and dictionaries of them.

    Raises:
        TypeError: ``value`` is of another type.
    """
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        # JSON has no infinity and no NaN.
        return "null" if value != value or value in _INFINITE else float.__repr__(value)
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(encoded, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{quoted(key)}:{encoded(each)}' for key, each in value.items())}}}"
    raise TypeError(f"no JSON for a {type(value).__name__}")
