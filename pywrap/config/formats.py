"""The formats of configuration files, and which of them a file has.

Its name tells, or else the first line whose first word is a directive of one format, or a section; a file
without such a line is ours, which is that of proxychains. What is wrong in it may be a word of another one.
"""

from __future__ import annotations

from pywrap.config import proxychains, torsocks, tsocks
from pywrap.config.words import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.partial_settings import PartialSettings

PARSERS = {"proxychains": proxychains.parse, "tsocks": tsocks.parse, "torsocks": torsocks.parse}
FORMATS = tuple(PARSERS)
WORDS = {
    "proxychains": tuple(proxychains.DIRECTIVES),
    "tsocks": tsocks.DIRECTIVES,
    "torsocks": tuple(torsocks.DIRECTIVES),
}


def parse(data: bytes, source: str, file_format: str | None = None) -> PartialSettings:
    """Read the contents of the file ``source``, in one of FORMATS if that is known.

    Raises:
        ConfigError: something in it is wrong.
    """
    told = file_format or _by_name(source) or _by_content(data)
    if told:
        return PARSERS[told](data, source)
    return proxychains.parse(data, source, _hint_where_nothing_tells)


def _by_name(source: str) -> str:
    name = source.rpartition("/")[2]
    # Longest first: one contains the other.
    for known in ("proxychains", "torsocks", "tsocks"):
        if known in name:
            return known
    return "proxychains" if name == "pysocksify.conf" else ""


def _by_content(data: bytes) -> str:
    for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        words = line.replace(b"=", b" ").replace(b"{", b" ").split()
        if words and (found := _format_of(words[0].decode("ascii", "replace"))):
            return found
    return ""


def _format_of(word: str) -> str:
    if word.startswith("["):
        # Nobody else has sections.
        return "proxychains"
    return next((name for name, words in WORDS.items() if word in words), "")


def _hint_where_nothing_tells(word: str) -> str:
    near = nearest(word.rstrip("{"), [each for words in WORDS.values() for each in words])
    found = _format_of(near)
    if found == "proxychains":
        return f"did you mean `{near}`?"
    guess = f"did you mean `{near}`? If so, " if near else ""
    return f"{guess}`--config-format {found or '|'.join(FORMATS)}` says what the file is written in"
