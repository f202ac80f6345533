"""The formats of configuration files, and which of them a file has.

The name of the file decides; else the first line that begins with a directive of one format, or with a
section. A file without such a line is read as pysocksify's own format, which is that of proxychains. For
unknown directives in it, the hint considers the directives of all formats.
"""

from __future__ import annotations

from pywrap import archive
from pywrap.config.words import nearest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.partial_settings import PartialSettings

FORMATS = ("proxychains", "tsocks", "torsocks")


def parse(data: bytes, source: str, file_format: str | None = None) -> PartialSettings:
    """Read ``data``, the contents of the file ``source``. ``file_format``: one of FORMATS, None to find out.

    Raises:
        ConfigError: something in it is wrong.
    """
    told = file_format or _by_name(source) or _by_content(data)
    # Each reader is imported when a file needs it: a start reads one file at the most.
    archive.read("file")
    if told == "tsocks":
        from pywrap.config import tsocks

        return tsocks.parse(data, source)
    if told == "torsocks":
        from pywrap.config import torsocks

        return torsocks.parse(data, source)
    from pywrap.config import proxychains

    if told:
        return proxychains.parse(data, source)
    return proxychains.parse(data, source, _hint_where_nothing_tells)


def _by_name(source: str) -> str:
    name = source.rpartition("/")[2]
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
        # The other formats have no sections.
        return "proxychains"
    return next((name for name, words in directives().items() if word in words), "")


def directives() -> dict[str, tuple[str, ...]]:
    """The words of each format."""
    from pywrap.config import proxychains, torsocks, tsocks

    return {
        "proxychains": tuple(proxychains.DIRECTIVES),
        "tsocks": tsocks.DIRECTIVES,
        "torsocks": tuple(torsocks.DIRECTIVES),
    }


def _hint_where_nothing_tells(word: str) -> str:
    near = nearest(word.rstrip("{"), [each for words in directives().values() for each in words])
    found = _format_of(near)
    if found == "proxychains":
        return f"did you mean `{near}`?"
    guess = f"did you mean `{near}`? If so, " if near else ""
    return f"{guess}`--config-format {found or '|'.join(FORMATS)}` says what the file is written in"
