"""The report of ``--check``, as a table with notes for people, or as JSON for programs.

The keys of the JSON are stable; new ones may be added::

    {"works": true,                    all of "proxies" that count work, and at least one counts
     "guards": {"remote": "no", "tor": "yes", "tcp": "yes", "local": "yes"},
                                       by --dns: whether SSRF guards accept the addresses that programs get
     "proxies": [
      {"proxy": "socks5h://u:***@h:1080", "through": ["socks4a://g:1080"],
       "counts": true,                 connections go this way, and it can be tested; false for later hops
                                       directly, and for raw ones
       "works": true,                  a test connection through it succeeded
       "error": "" or why not, "connect_ms": 0.1 or null, "reply_ms": 0.2 or null,
       "reachable", "method_none", "method_password", "method_gssapi", "connect", "names",
       "ipv6", "udp", "udp_names", "bind", "pipelining", "data_behind", "half_close", "resolve":
           {"verdict": "yes", "no", "unknown" or "absent" (its protocol has no such thing), "why": ""},
       "other_clients": {"python-socks": {"verdict", "why"}, "PySocks": …}}]}  when it does not work

Neither form has passwords.
"""

from __future__ import annotations

import json
from ipaddress import ip_network
from textwrap import wrap

from pywrap.config.settings import PLACEHOLDERS
from pywrap.config.url import format_proxy
from pywrap.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pywrap.config.settings import Proxy

YES = "yes"
NO = "no"
UNKNOWN = "unknown"
ABSENT = "absent"

# The authentication methods: their names in the keys, and in the table, where three have to fit.
METHODS = {"none": "none", "password": "pass", "gssapi": "gss"}

# The keys of ``Report.findings``, and their names in notes.
SUBJECTS = {
    "reachable": "reachable",
    **{f"method_{method}": f"method {method}" for method in METHODS},
    "connect": "CONNECT",
    "names": "names",
    "ipv6": "IPv6",
    "udp": "UDP",
    "udp_names": "UDP by name",
    "bind": "BIND",
    "pipelining": "pipelining",
    "data_behind": "data at once",
    "half_close": "half-close",
    "resolve": "RESOLVE",
}

WIDTH = 80


@frozen
class Finding:
    """The result of one test. ``verdict``: YES, NO, UNKNOWN or ABSENT; ``why``: the reason, or ""."""

    verdict: str
    why: str = ""


YES_INDEED = Finding(YES)
NOT_ASKED = Finding(UNKNOWN, "not asked")


class Report:
    """The results for the last proxy of ``path``, through those before it. Times are in seconds.

    ``counts``: whether connections take this path, and it can be tested.
    """

    def __init__(self, path: tuple[Proxy, ...]) -> None:
        self.path = path
        self.counts = True
        self.findings = dict.fromkeys(SUBJECTS, NOT_ASKED)
        self.connect_time: float | None = None
        self.reply_time: float | None = None
        self.error = ""
        self.other_clients: dict[str, Finding] = {}

    @property
    def works(self) -> bool:
        """Whether a test connection through the path succeeded."""
        return self.findings["connect"].verdict == YES

    @property
    def may_pass_on(self) -> bool:
        """Whether later hops can be reached through the proxy: it works, or is raw and cannot be tested."""
        return self.works or self.findings["reachable"] is NOT_ASKED


def all_work(reports: Sequence[Report]) -> bool:
    """Whether all reports that count say that a connection succeeded, and there is at least one."""
    return {report.works for report in reports if report.counts} == {True}


def guards_of(reports: Sequence[Report], placeholders: str) -> dict[str, str]:
    """For each value of --dns, whether SSRF guards, which refuse private addresses, accept those of look-ups.

    A guard can judge real addresses. A placeholder is private for ``ipaddress``, unless the user has chosen
    another network; then guards accept it, and learn nothing about the address that the proxy connects to.
    """
    tor = {report.findings["resolve"].verdict for report in reports if report.counts}
    return {
        "remote": YES if ip_network(placeholders).is_global else NO,
        "tor": NO if tor & {NO, ABSENT} else YES if tor == {YES} else UNKNOWN,
        "tcp": YES,
        "local": YES,
    }


# ---------------------------------------------------------------- for programs


def in_json(reports: Sequence[Report], placeholders: str = PLACEHOLDERS, early: Sequence[str] = ()) -> str:
    """The report as JSON: what ``--check --json`` prints. ``early``: files that run before pysocksify."""
    whole = {
        "works": all_work(reports),
        "guards": guards_of(reports, placeholders),
        "before_pysocksify": list(early),
        "proxies": [_as_json(report) for report in reports],
    }
    return json.dumps(whole, indent=1) + "\n"


def _as_json(report: Report) -> dict[str, object]:
    return {
        "proxy": format_proxy(report.path[-1]),
        "through": [format_proxy(hop) for hop in report.path[:-1]],
        "counts": report.counts,
        "works": report.works,
        "error": report.error,
        "connect_ms": _rounded(report.connect_time),
        "reply_ms": _rounded(report.reply_time),
        **{subject: _finding_as_json(finding) for subject, finding in report.findings.items()},
        "other_clients": {name: _finding_as_json(finding) for name, finding in report.other_clients.items()},
    }


def _finding_as_json(finding: Finding) -> dict[str, str]:
    return {"verdict": finding.verdict, "why": finding.why}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


# ---------------------------------------------------------------- for people

HEAD = ("", "reachable", "latency", "methods", "CONNECT", "names", "IPv6", "UDP", "BIND", "pipe", "half")
CELLS = {YES: "yes", NO: "no", UNKNOWN: "?", ABSENT: "-"}

LEGEND = (
    "latency: until connected / until the greeting was answered",
    "pipe: takes greeting, request and data at once, without a wait (pipelining)",
    "half: what a server answers to the end of a client's data (shutdown) comes back",
)
CELL_LEGEND = {
    "?": "?: cannot be told (--check-target HOST:PORT may help)",
    "-": "-: its protocol has no such thing",
    "addr": "addr: for datagrams to addresses, not to names",
    "part": "part: greeting and request at once; data right behind them gets lost",
}


def in_words(reports: Sequence[Report], placeholders: str = PLACEHOLDERS, early: Sequence[str] = ()) -> str:
    """The report as a table with notes: what ``--check`` prints.

    ``early``: files that run before pysocksify.
    """
    paths = [report.path for report in reports]
    # All numbers are as wide as the last one.
    numbers = [f"{number:{len(str(len(paths)))}}" for number in range(1, len(paths) + 1)]
    names = [f"{number}  {name_of(paths, at)}" for at, number in enumerate(numbers)]
    rows = [row_of(*each) for each in zip(numbers, reports, strict=True)]
    notes = [line for each in zip(numbers, reports, strict=True) for line in _notes(*each)]
    cells = {cell for row in rows for cell in row}
    legend = [*LEGEND, *(text for cell, text in CELL_LEGEND.items() if cell in cells)]
    verdicts = [f"{mode} {CELLS[verdict]}" for mode, verdict in guards_of(reports, placeholders).items()]
    guards = [f"SSRF guards take the addresses of --dns {', '.join(verdicts)}"]
    verdict = [verdict_of(numbers, reports)]
    blocks = [names, aligned([HEAD, *rows]), notes, legend, [*guards, *before_us(early)], verdict]
    return "\n".join("".join(f"{line}\n" for line in block) for block in blocks if block)


def before_us(early: Sequence[str]) -> list[str]:
    """The line about code that runs before our patches; none where there is no such code."""
    files = ", ".join(early)
    return [f"run before pysocksify, and what they send leaves directly: {files}"] if early else []


def verdict_of(numbers: Sequence[str], reports: Sequence[Report]) -> str:
    """One line on all proxies: whether they work, and the ``numbers`` of those that do not."""
    failing = [number.strip() for number, report in zip(numbers, reports, strict=True) if not report.works]
    if len(reports) == 1:
        return "not seen to work" if failing else "works"
    if not failing:
        return f"all {len(reports)} work"
    if all_work(reports):
        return f"works; not seen to work, which is no harm: {', '.join(failing)}"
    return f"{len(reports) - len(failing)} of {len(reports)} work, not seen to work: {', '.join(failing)}"


def name_of(paths: list[tuple[Proxy, ...]], number: int) -> str:
    """The proxy of path ``number``, and the numbers of the hops before it."""
    *before, last = paths[number]
    if not before:
        return format_proxy(last)
    # Hops are given as numbers: several URLs do not fit into a line.
    numbers = [str(paths.index((hop,)) + 1) for hop in (last, *before)]
    return f"{numbers[0]} through {', '.join(numbers[1:])}"


def row_of(number: str, report: Report) -> tuple[str, ...]:
    """The cells of the table for one proxy."""
    cells = {subject: CELLS[finding.verdict] for subject, finding in report.findings.items()}
    return (
        number,
        cells["reachable"],
        _latency(report),
        _methods(report),
        *(cells[subject] for subject in ("connect", "names", "ipv6")),
        _in_part(cells["udp"], cells["udp_names"], "addr"),
        cells["bind"],
        _in_part(cells["pipelining"], cells["data_behind"], "part"),
        cells["half_close"],
    )


def _in_part(cell: str, other: str, part: str) -> str:
    return part if (cell, other) == (CELLS[YES], CELLS[NO]) else cell


def _latency(report: Report) -> str:
    if report.connect_time is None:
        return "?"
    if report.reply_time is None:
        return f"{_milliseconds(report.connect_time)} ms"
    return f"{_milliseconds(report.connect_time)}/{_milliseconds(report.reply_time)} ms"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f}" if seconds < 0.0095 else f"{seconds * 1000:.0f}"


def _methods(report: Report) -> str:
    verdicts_on = {short: report.findings[f"method_{name}"].verdict for name, short in METHODS.items()}
    taken = [short for short, verdict in verdicts_on.items() if verdict == YES]
    if taken:
        return " ".join(taken)
    verdicts = set(verdicts_on.values())
    return CELLS[verdicts.pop() if len(verdicts) == 1 else UNKNOWN]


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """The lines of a table whose columns are as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _notes(number: str, report: Report) -> list[str]:
    said = [f"error: {report.error}"] if report.error else []
    said += [f"{name}: {other_client(finding)}" for name, finding in report.other_clients.items()]
    for subject, finding in report.findings.items():
        if finding.why and finding is not NOT_ASKED and finding.verdict != ABSENT:
            # No note where the error has the same text.
            if finding.why not in report.error:
                said.append(f"{SUBJECTS[subject]}: {finding.why}")
    margin = f"{number}  "
    lines = []
    for text in said:
        # URLs and addresses are not broken, so that they can be copied.
        lines += wrap(
            text,
            WIDTH,
            initial_indent=margin,
            subsequent_indent=" " * len(margin) + "  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        margin = " " * len(margin)
    return lines


def other_client(finding: Finding) -> str:
    """The words for the attempt of another client, after ours has failed."""
    if finding.verdict == YES:
        return "gets through"
    return f"fails too: {finding.why}" if finding.verdict == NO else finding.why
