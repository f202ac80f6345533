"""The error for settings that are wrong, and how a message quotes them.

All that the launcher needs of ``pywrap.errors``: of a proxy it reports nothing.
"""

from __future__ import annotations


def mask(text: str) -> str:
    """``text``, a URL or not, with ``***`` in the place of what may be its password."""
    head, at, place = text.rpartition("@")
    scheme, separator, login = head.partition("://")
    if not separator or not scheme.replace("+", "").isalnum():
        # The text before this :// is no scheme, and may be a part of the password.
        scheme, separator, login = "", "", head
    user, colon, _ = login.partition(":")
    return f"{scheme}{separator}{user}{':***' if colon else ''}{at}{place}"


def counted(number: int, noun: str) -> str:
    """``1 byte``, ``2 bytes``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


class ConfigError(Exception):
    """The settings are wrong or missing: the user must change something.

    ``hint`` is a second line that says what to do, or "".
    """

    def __init__(self, message: str, hint: str = "") -> None:
        # Text between backquotes is the user's, and may have a password in the wrong place.
        quoted = message.split("`")
        quoted[1::2] = map(mask, quoted[1::2])
        super().__init__("`".join(quoted))
        self.hint = hint
