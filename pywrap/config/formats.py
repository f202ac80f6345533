"""The formats of configuration files, and which of them a file has.

Its name tells, or else the first line whose first word is a directive of one format; a file without such a
line is ours, which is that of proxychains.
"""

from __future__ import annotations

from pywrap.config import proxychains, torsocks, tsocks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.choices import Choices

PARSERS = {"proxychains": proxychains.parse, "tsocks": tsocks.parse, "torsocks": torsocks.parse}
FORMATS = tuple(PARSERS)
WORDS = {
    "proxychains": tuple(proxychains.DIRECTIVES),
    "tsocks": tsocks.DIRECTIVES,
    "torsocks": tuple(torsocks.DIRECTIVES),
}


def parse(data: bytes, source: str, file_format: str | None = None) -> Choices:
    """Read the contents of the file ``source``, in one of FORMATS if that is known.

    Raises:
        ConfigError: something in it is wrong.
    """
    return PARSERS[file_format or _by_name(source) or _by_content(data)](data, source)


def _by_name(source: str) -> str:
    name = source.rpartition("/")[2]
    # Longest first: one contains the other.
    for known in ("proxychains", "torsocks", "tsocks"):
        if known in name:
            return known
    return "proxychains" if name == "pysocksify.conf" else ""


def _by_content(data: bytes) -> str:
    for line in data.split(b"\n"):
        word = line.strip().replace(b"=", b" ").replace(b"{", b" ").split(b" ")[0].decode("ascii", "replace")
        for name, words in WORDS.items():
            if word in words:
                return name
    return "proxychains"
