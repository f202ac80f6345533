"""Single words: choices, numbers, and the word that was probably meant."""

from __future__ import annotations

from pywrap.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def one_of(known: tuple[str, ...], text: str, what: str) -> str:
    """``text`` if it is one of ``known``.

    Raises:
        ConfigError: it is not; the hint guesses which was meant.
    """
    if text not in known:
        raise ConfigError(f"unknown value of `{what}`: `{text}`", suggest(text, known, "values"))
    return text


def switch(text: str, what: str) -> bool:
    """``on`` or ``off``.

    Raises:
        ConfigError: neither.
    """
    return one_of(("on", "off"), text, what) == "on"


def seconds(text: str, what: str) -> float:
    """A positive span of time.

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
    """A positive span of time in whole milliseconds, as seconds.

    Raises:
        ConfigError: anything else.
    """
    value = digits(text)
    if not value:
        raise ConfigError(f"`{what}` takes a positive number of milliseconds: `{text}`")
    return value / 1000


def digits(text: str) -> int | None:
    """A number in plain ASCII digits; None for what int() would take beyond that: signs, 1_0, ٣."""
    # Ten digits hold every number here, and int() itself refuses more than 4300.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def suggest(word: str, known: Iterable[str], plural: str) -> str:
    """The hint for an unknown ``word``: the nearest of ``known``, and all of them."""
    known = tuple(known)
    everything = f"nown {plural}: {', '.join(known)}"
    near = nearest(word, known)
    return f"did you mean `{near}`? K{everything}" if near else f"k{everything}"


# Of 1. Two letters in the wrong order leave 2/3 of a word of three (tpc), and who wrote a part of the word
# left at least as much (--chain-type). What was meant otherwise has mostly less: --bogus and --verbose 1/2.
_NEAR = 0.66


def nearest(word: str, known: Iterable[str]) -> str:
    """The one of ``known`` that looks most like ``word``, or ""."""
    # Here, not on top: it costs 10 ms, and only the person who mistyped should pay.
    from difflib import get_close_matches

    # The dashes, which all options have, would make each of them near to every other.
    spelling = {name.removeprefix("--").lower(): name for name in known}
    found = get_close_matches(word.removeprefix("--").lower(), spelling, n=1, cutoff=_NEAR)
    return spelling[found[0]] if found else ""
