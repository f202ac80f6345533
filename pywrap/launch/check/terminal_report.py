"""The report of ``--check`` for a terminal: a table that fits, in colour, and hints under what is wrong."""

from __future__ import annotations

import os
import sys
from textwrap import wrap

from pywrap.config.url import format_proxy
from pywrap.launch.check.report import (
    ABSENT,
    CELL_LEGEND,
    CELLS,
    HEAD,
    LEGEND,
    NO,
    NOT_ASKED,
    SUBJECTS,
    YES,
    before_us,
    guards_of,
    name_of,
    other_client,
    row_of,
    verdict_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pywrap.launch.check.report import Report

# ECMA-48, SGR.
_BOLD, _FAINT, _RED, _GREEN, _YELLOW = "1", "2", "31", "32", "33"
_COLOURS = {CELLS[YES]: _GREEN, CELLS[NO]: _RED, "?": _YELLOW, "part": _YELLOW, "addr": _YELLOW, "-": _FAINT}

# The hint for each test with the result "no".
_REMEDIES = {
    "names": "`--dns tcp://HOST` or `--dns local` give it addresses instead of names",
    "ipv6": "with `--dns remote`, names that have IPv6 alone still reach the proxy as names",
    "udp": "datagrams fail with EOPNOTSUPP; `--udp direct` lets them leave directly, if they may",
    "udp_names": "for datagrams to names: `--dns tcp://HOST` or `--dns local`",
    "bind": "active FTP (`--listen bind`) does not work through it; passive FTP does",
    "half_close": "programs that end their half first (`nc -N`) lose the answer; no client can mend that",
}
# The hint for errors, by words that their text contains; the first entry that matches counts.
_ADVICE = (
    ("username or the password", "USER:PASSWORD@ in the URL; %XX stands for a byte that a URL cannot have"),
    ("asks for authentication", "it wants a user: socks5h://USER:PASSWORD@HOST:PORT"),
    ("answers like an HTTP server", "an HTTP proxy is written http://HOST:PORT"),
    ("not a SOCKS", "is that the right port?"),
    ("cannot resolve", "a proxy's own name is looked up here: try its address"),
    ("in time", "`--timeout SECONDS` waits longer for each answer"),
    ("timed out", "`--timeout SECONDS` waits longer for each answer"),
    ("cannot reach", "is the proxy running, and the port right?"),
)


def on_terminal(
    reports: Sequence[Report], placeholders: str, width: int, colour: bool, early: Sequence[str] = ()
) -> str:
    """The report for a terminal of ``width`` columns. ``early``: as of ``check``."""
    return _Terminal(width, colour).text(reports, placeholders, early)


def wants_colour(environ: Mapping[str, str]) -> bool:
    """Whether the user wants colours (https://no-color.org), and the terminal has them."""
    return not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


def width_of_stdout() -> int:
    """The columns of the terminal that stdout is; 80 where it has no size set."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except OSError:
        return 80


class _Terminal:
    def __init__(self, width: int, colour: bool) -> None:
        self._width = max(width, 20)
        self._colour = colour

    def text(self, reports: Sequence[Report], placeholders: str, early: Sequence[str]) -> str:
        paths = [report.path for report in reports]
        numbers = [f"{number:{len(str(len(paths)))}}" for number in range(1, len(paths) + 1)]
        rows = [row_of(*each) for each in zip(numbers, reports, strict=True)]
        names = [f"{number}  {name_of(paths, at)}" for at, number in enumerate(numbers)]
        blocks = [
            self._table(names, rows),
            [line for each in zip(numbers, reports, strict=True) for line in self._notes(*each)],
            self._legend(rows, guards_of(reports, placeholders)),
            [line for text in before_us(early) for line in wrap(text, self._width, break_on_hyphens=False)],
            [self._verdict(verdict_of(numbers, reports))],
        ]
        return "\n".join("".join(f"{line}\n" for line in block) for block in blocks if block)

    # ------------------------------------------------------------ the table

    def _table(self, names: list[str], rows: list[tuple[str, ...]]) -> list[str]:
        named = [(name, *row[1:]) for name, row in zip(names, rows, strict=True)]
        for gap in (2, 1):
            if _width_of([HEAD, *named], gap) <= self._width:
                return self._grid(named, gap)
        for gap in (2, 1):
            if _width_of([HEAD, *rows], gap) <= self._width:
                return [*self._names(names), "", *self._grid(rows, gap)]
        widest = max(len(cell) for row in rows for cell in row[1:])
        lines: list[str] = []
        for name, row in zip(names, rows, strict=True):
            lines += [*([""] if lines else []), *self._names([name]), *self._pairs(row, widest)]
        return lines

    def _names(self, names: list[str]) -> list[str]:
        lines = []
        for name in names:
            # A URL is not broken at its dashes.
            wrapped = wrap(name, self._width, subsequent_indent="   ", break_on_hyphens=False)
            lines += [self._styled(line, _BOLD) for line in wrapped]
        return lines

    def _grid(self, rows: list[tuple[str, ...]], gap: int) -> list[str]:
        widths = [max(map(len, column)) for column in zip(HEAD, *rows, strict=True)]
        between = " " * gap
        head = between.join(map(str.ljust, HEAD, widths)).rstrip()
        lines = [self._styled(head, _FAINT), self._styled("─" * _width_of([HEAD, *rows], gap), _FAINT)]
        for row in rows:
            cells = [
                self._cell(cell, width, _BOLD if at == 0 else "")
                for at, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append(between.join(cells).rstrip())
        return lines

    def _pairs(self, row: tuple[str, ...], cell: int) -> list[str]:
        """As many of "label cell" beside each other as the terminal has room for."""
        pairs = list(zip(HEAD[1:], row[1:], strict=True))
        label = max(len(name) for name, _ in pairs)
        # Each pair has a margin of three columns.
        beside = max(1, self._width // (label + 1 + cell + 3))
        lines = []
        for start in range(0, len(pairs), beside):
            part = pairs[start : start + beside]
            cells = [
                f"{self._styled(name.ljust(label), _FAINT)} {self._cell(text, cell)}" for name, text in part
            ]
            lines.append(f"   {'   '.join(cells)}".rstrip())
        return lines

    def _cell(self, text: str, width: int, style: str = "") -> str:
        # The blanks are outside of the colour, which is for the word.
        return self._styled(text, style or _COLOURS.get(text, "")) + " " * (width - len(text))

    # ------------------------------------------------------------ what is wrong

    def _notes(self, number: str, report: Report) -> list[str]:
        lines: list[str] = []
        if report.error:
            lines += self._note(number, f"error: {report.error}", _RED, _advice(report.error))
        for name, finding in report.other_clients.items():
            lines += self._note(number, f"{name}: {other_client(finding)}", "", "")
        for subject, finding in report.findings.items():
            if finding is NOT_ASKED or finding.verdict in (YES, ABSENT) and not finding.why:
                continue
            remedy = _REMEDIES.get(subject, "") if finding.verdict == NO and report.works else ""
            why = "" if finding.why in report.error else finding.why
            if finding.verdict != ABSENT and (why or remedy):
                style = _RED if finding.verdict == NO else _YELLOW
                lines += self._note(number, f"{SUBJECTS[subject]}: {why or finding.verdict}", style, remedy)
        title = self._styled(f"{number}  {format_proxy(report.path[-1])}", _BOLD)
        return [title, *lines] if lines else []

    def _note(self, number: str, text: str, style: str, hint: str) -> list[str]:
        margin = " " * (len(number) + 2)
        lines = [self._styled(line, style) for line in self._wrapped(text, margin)]
        if hint:
            lines += [self._styled(line, _FAINT) for line in self._wrapped(f"hint: {hint}", f"{margin}  ")]
        return lines

    def _wrapped(self, text: str, margin: str) -> list[str]:
        return wrap(
            text,
            self._width,
            initial_indent=margin,
            subsequent_indent=f"{margin}  ",
            break_long_words=False,
            break_on_hyphens=False,
        )

    def _legend(self, rows: list[tuple[str, ...]], guards: Mapping[str, str]) -> list[str]:
        cells = {cell for row in rows for cell in row}
        texts = [*LEGEND, *(text for cell, text in CELL_LEGEND.items() if cell in cells)]
        modes = ", ".join(f"{mode} {CELLS[verdict]}" for mode, verdict in guards.items())
        texts.append(f"SSRF guards take the addresses of --dns {modes}")
        return [self._styled(line, _FAINT) for text in texts for line in self._wrapped(text, "")]

    def _verdict(self, text: str) -> str:
        good = text == "works" or text.startswith(("all ", "works;"))
        return self._styled(text, f"{_BOLD};{_GREEN if good else _RED}")

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._colour and style and text else text


def _width_of(rows: Sequence[tuple[str, ...]], gap: int) -> int:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return sum(widths) + gap * (len(widths) - 1)


def _advice(error: str) -> str:
    return next((advice for words, advice in _ADVICE if words in error), "")
