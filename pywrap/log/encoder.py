"""Values as JSON (RFC 8259), in ASCII. ``json`` takes 8 ms to import, which the target does not pay.

A lone surrogate, as Python has it for a byte that is no UTF-8, is written as its ``\\uXXXX``: ``json.loads``
gives it back.
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
        # Nearly all texts of a log.
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
        TypeError: it is something else.
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
