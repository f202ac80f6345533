"""``pysocksify --report``: a log (``--log``) as one page that opens from disk and loads nothing.

The page is drawn by ``page.js``, plain JavaScript. No charting library has bars that are divided into a hop's
phases, with rows that exist only while they are visible: without that, ten thousand connections would be ten
thousand elements. ``rows`` turns the lines of a log into the rows of the page.

Names in a log are hostile input. They are in the page as JSON in which no ``<`` is left, the script sets text
and never markup, and a Content-Security-Policy allows that one script and that one style by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import os
import sys

from pywrap import __version__
from pywrap.errors import ConfigError, counted
from pywrap.launch.report.rows import Rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

HERE = os.path.dirname(__file__)

# Characters that could end a script element, or a string where JSON is read as JavaScript.
_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def report(log: str, output: str | None) -> str:
    """Make a page of the file ``log``, ``-`` for stdin; return what to print on stdout.

    ``output``: the file for the page, ``-`` for stdout; by default the name of the log with the ending .html.

    Raises:
        ConfigError: the log cannot be read, or has no line of a log; or the page cannot be written.
    """
    rows = Rows()
    try:
        if log == "-":
            _read(rows, sys.stdin)
        else:
            with open(log, encoding="utf-8", errors="backslashreplace") as file:
                _read(rows, file)
    except OSError as err:
        raise ConfigError(f"cannot read the log {log}: {err.strerror}") from err
    if not rows.count:
        hint = "it is written by `pysocksify --log FILE PROGRAM`"
        raise ConfigError(f"no line of a log in {log}", hint)
    text = page(rows)
    if output is None:
        output = "report.html" if log == "-" else f"{log.removesuffix('.jsonl')}.html"
    if output == "-":
        return text
    try:
        with open(output, "w", encoding="utf-8", opener=_for_this_user) as file:
            file.write(text)
    except OSError as err:
        raise ConfigError(f"cannot write {output}: {err.strerror}") from err
    strange = f", {counted(rows.strange, 'line')} not understood" if rows.strange else ""
    return f"{output}: {counted(rows.count, 'line')}{strange}\n"


def _read(rows: Rows, file: TextIO) -> None:
    for line in file:
        rows.add(line)


def _for_this_user(path: str, flags: int) -> int:
    # Only this user may read the page, as the log itself: it shows what a program did.
    return os.open(path, flags, 0o600)


def page(rows: Rows) -> str:
    """The page for ``rows``."""
    template, style, script = (_asset(name) for name in ("page.html", "page.css", "page.js"))
    data = rows.json(__version__)
    for character, escape in _ESCAPES.items():
        data = data.replace(character, escape)
    parts = {
        "{{style-hash}}": _hash(style),
        "{{script-hash}}": _hash(script),
        "{{style}}": style,
        "{{script}}": script,
        # The last replacement, so that no placeholder is replaced inside of texts that came from a log.
        "{{data}}": data,
    }
    for place, text in parts.items():
        before, _, after = template.partition(place)
        template = before + text + after
    return template


def _asset(name: str) -> str:
    with open(f"{HERE}/{name}", encoding="utf-8") as file:
        return file.read()


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
