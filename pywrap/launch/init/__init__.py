"""``pysocksify --init``: looks for proxies, tests each as ``--check`` does, and writes a configuration file.

It overwrites nothing. On a terminal it asks which proxy to take when several work; elsewhere it asks nothing,
and takes the first.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from pywrap.config.search import default_path
from pywrap.errors import ConfigError
from pywrap.launch.check.destination import Listener
from pywrap.launch.check.probes import probe_proxy
from pywrap.launch.check.report import SUBJECTS, UNKNOWN, YES
from pywrap.launch.init.candidates import find_candidates
from pywrap.launch.init.text import file_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pywrap.launch.check.report import Report
    from pywrap.launch.init.candidates import Candidate

# Seconds for each test of each proxy.
PATIENCE = 3.0

# The sign of each proxy: a connection through it succeeded; it speaks SOCKS5, but no connection was seen;
# neither.
WORKS, ANSWERS, FAILS = "+", "~", "-"

_METHODS = "method_none", "method_password"
# The findings that are printed for a proxy that works.
_TOLD = ("names", "udp", "ipv6")


def init(
    output: str | None,
    environ: Mapping[str, str],
    ask: Callable[[str], str] | None,
    root: str = "",
    patience: float = PATIENCE,
) -> str:
    """Write the file, to ``output`` (``-`` for stdout) or to the user's own place; return the text to print.

    ``ask(question)`` returns the user's answer; None where no user can be asked. ``root``: the folder in the
    place of / for the files of other tools. ``patience``: seconds for each test.

    Raises:
        ConfigError: the file exists already, or cannot be written; or no proxy works.
    """
    path = default_path(environ) if output is None else output
    if not path:
        raise ConfigError("no place for a file: $HOME is not set", "`-o FILE` names one, `-o -` is stdout")
    if path != "-" and os.path.lexists(path):
        raise ConfigError(f"{path} is there already, and is not overwritten", "`-o -` prints another one")
    found = find_candidates(environ, root)
    results = _test(found, patience)
    lines = [f"{grade} {each.origin}: {words}\n" for each, (grade, words) in zip(found, results, strict=True)]
    by_grade = {
        mark: [each for each, (grade, _) in zip(found, results, strict=True) if grade == mark]
        for mark in (WORKS, ANSWERS)
    }
    # Through Tor and most remote proxies no test connection to this machine succeeds: so ANSWERS counts as
    # well.
    working = by_grade[WORKS] or by_grade[ANSWERS]
    if not working:
        print("".join(lines), end="", file=sys.stderr)
        hint = "start one, or name one: pysocksify -x socks5h://HOST:PORT PROGRAM"
        raise ConfigError("no proxy that works was found", hint)
    chosen = _choose(working, lines, ask)
    others = [(each, words) for each, (_, words) in zip(found, results, strict=True) if each is not chosen]
    text = file_text(chosen, others)
    if path == "-":
        print("".join(lines), end="", file=sys.stderr)
        return text
    _write(path, text)
    proxies = ", ".join(map(str, chosen.chain.proxies))
    return "".join([*lines, f"{path}: through {proxies}\n", "next: pysocksify -v PROGRAM\n"])


def _test(found: Sequence[Candidate], patience: float) -> list[tuple[str, str]]:
    """For each candidate: its sign (WORKS, ANSWERS, FAILS), and the words about its tests."""

    def test(candidate: Candidate) -> tuple[str, str]:
        if candidate.problem:
            return FAILS, candidate.problem
        reports = []
        hops = candidate.chain.proxies
        # In a chain of another type any hop may be the first, so each hop is tested by itself.
        paths = [hops] if candidate.chain.type in ("strict", "dynamic") else [(hop,) for hop in hops]
        for path in paths:
            reports.append(probe_proxy(path, patience, None, listener, lambda what: None))
        if any(report.works for report in reports):
            return WORKS, _words(reports)
        if all(_answers(report) for report in reports):
            return ANSWERS, _words_of_answering(reports[-1])
        return FAILS, next((report.error for report in reports if report.error), "not seen to work")

    with Listener() as listener, ThreadPoolExecutor(max(len(found), 1)) as pool:
        return list(pool.map(test, found))


def _answers(report: Report) -> bool:
    """Whether the proxy speaks SOCKS5, and no test showed that it cannot connect to other destinations."""
    findings = report.findings
    picks = any(findings[method].verdict == YES for method in _METHODS)
    return picks and findings["connect"].verdict == UNKNOWN


def _words_of_answering(report: Report) -> str:
    is_tor = report.findings["resolve"].verdict == YES
    what = "answers, as Tor does" if is_tor else "answers"
    return f"{what}, and leads to no address of this machine, so no connection was seen"


def _words(reports: Sequence[Report]) -> str:
    report = next(report for report in reports if report.works)
    can = [SUBJECTS[subject] for subject in _TOLD if report.findings[subject].verdict == YES]
    return ", ".join(["works", *can])


def _choose(
    working: Sequence[Candidate], lines: Sequence[str], ask: Callable[[str], str] | None
) -> Candidate:
    if len(working) == 1 or ask is None:
        return working[0]
    print("".join(lines), end="", flush=True)
    for number, candidate in enumerate(working, 1):
        print(f"{number}  {', '.join(map(str, candidate.chain.proxies))} ({candidate.origin})")
    while True:
        answer = ask(f"which one? [1 to {len(working)}, default 1] ").strip() or "1"
        if answer.isascii() and answer.isdigit() and 1 <= int(answer) <= len(working):
            return working[int(answer) - 1]


def _write(path: str, text: str) -> None:
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        # Only this user may read the file: it may contain a password.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} is there already, and is not overwritten") from None
    except OSError as err:
        raise ConfigError(f"cannot write {path}: {err.strerror}") from err
