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
from pywrap.launch.check.report import SUBJECTS, YES
from pywrap.launch.init.candidates import find_candidates
from pywrap.launch.init.text import file_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pywrap.launch.check.report import Report
    from pywrap.launch.init.candidates import Candidate

# Seconds for each test of each proxy.
PATIENCE = 3.0

# What is told of one that works.
_TOLD = ("names", "udp", "ipv6")


def init(
    output: str | None,
    environ: Mapping[str, str],
    ask: Callable[[str], str] | None,
    root: str = "",
    patience: float = PATIENCE,
) -> str:
    """Write the file, to ``output`` (``-`` for stdout) or to the user's own place; return what to print.

    ``ask(question)`` returns the user's answer; None where no user is there to ask. ``root``: the folder that
    stands for / where files of other tools are looked for.

    Raises:
        ConfigError: the file is there already, or cannot be written; or no proxy works.
    """
    path = default_path(environ) if output is None else output
    if not path:
        raise ConfigError("no place for a file: $HOME is not set", "`-o FILE` names one, `-o -` is stdout")
    if path != "-" and os.path.lexists(path):
        raise ConfigError(f"{path} is there already, and is not overwritten", "`-o -` prints another one")
    found = find_candidates(environ, root)
    results = _test(found, patience)
    lines = [
        f"{_mark(works)} {each.origin}: {words}\n"
        for each, (works, words) in zip(found, results, strict=True)
    ]
    working = [each for each, (works, _) in zip(found, results, strict=True) if works]
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


def _mark(works: bool) -> str:
    return "+" if works else "-"


def _test(found: Sequence[Candidate], patience: float) -> list[tuple[bool, str]]:
    """Of each, whether a connection through it came about, and what to say of it."""

    def test(candidate: Candidate) -> tuple[bool, str]:
        if candidate.problem:
            return False, candidate.problem
        reports = []
        hops = candidate.chain.proxies
        # In a chain of another type any hop may be the first, so each is tested by itself.
        paths = [hops] if candidate.chain.type in ("strict", "dynamic") else [(hop,) for hop in hops]
        for path in paths:
            reports.append(probe_proxy(path, patience, None, listener, lambda what: None))
        works = any(report.works for report in reports)
        return works, _words(reports, works)

    with Listener() as listener, ThreadPoolExecutor(max(len(found), 1)) as pool:
        return list(pool.map(test, found))


def _words(reports: Sequence[Report], works: bool) -> str:
    if not works:
        return next((report.error for report in reports if report.error), "not seen to work")
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
        # For this user alone: it may have a password.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} is there already, and is not overwritten") from None
    except OSError as err:
        raise ConfigError(f"cannot write {path}: {err.strerror}") from err
