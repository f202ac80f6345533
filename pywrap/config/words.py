"""Single words: choices, numbers, and the word that was probably meant."""

from __future__ import annotations

from pywrap.config.config_error import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def one_of(known: tuple[str, ...], text: str, what: str) -> str:
    """Return ``text``, which must be one of ``known``; ``what`` is the name of the setting for messages.

    Raises:
        ConfigError: ``text`` is none of them; the hint has the nearest one.
    """
    if text not in known:
        raise ConfigError(f"unknown value of `{what}`: `{text}`", suggest(text, known, "values"))
    return text


def switch(text: str, what: str) -> bool:
    """Read ``on`` or ``off``.

    Raises:
        ConfigError: ``text`` is neither.
    """
    return one_of(("on", "off"), text, what) == "on"


def seconds(text: str, what: str) -> float:
    """Read a positive number of seconds.

    Raises:
        ConfigError: 0, a negative number, infinity or no number at all.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    # The comparison is false for nan as well.
    if not 0 < value < float("inf"):
        raise ConfigError(f"`{what}` takes a positive number of seconds: `{text}`")
    return value


def milliseconds(text: str, what: str) -> float:
    """Read a positive whole number of milliseconds; return seconds.

    Raises:
        ConfigError: anything else.
    """
    value = digits(text)
    if not value:
        raise ConfigError(f"`{what}` takes a positive number of milliseconds: `{text}`")
    return value / 1000


def digits(text: str) -> int | None:
    """Read a number in ASCII digits; None for other text, also for what int() accepts: signs, 1_0, ٣."""
    # No number here needs more than ten digits, and int() raises an error for more than 4300.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def suggest(word: str, known: Iterable[str], plural: str) -> str:
    """The hint for an unknown ``word``: the nearest of ``known``, if one is near, and the list of all."""
    known = tuple(known)
    everything = f"nown {plural}: {', '.join(known)}"
    near = nearest(word, known)
    return f"did you mean `{near}`? K{everything}" if near else f"k{everything}"


# The least similarity, from 0 to 1, for a suggestion. Two exchanged letters in a word of three (tpc) leave
# 2/3, and an abbreviated option (--chain) at least as much. Unrelated words mostly have less: --bogus and
# --verbose have 1/2.
_NEAR = 0.66


def nearest(word: str, known: Iterable[str]) -> str:
    """The one of ``known`` that is most similar to ``word``; "" when none is similar enough."""
    # Imported here: difflib takes 10 ms, which only a mistyped command should cost.
    from difflib import get_close_matches

    # Without the dashes that all options have, which would make them similar to each other.
    spelling = {name.removeprefix("--").lower(): name for name in known}
    found = get_close_matches(word.removeprefix("--").lower(), spelling, n=1, cutoff=_NEAR)
    return spelling[found[0]] if found else ""
