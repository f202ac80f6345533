"""The ways of ``tests/programs/ways.toml``, and a network in which each child has a server of its own.

What a child sends tells by its destination in which way it was started, also when it leaves directly.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.programs.start_every_way import PORT, TABLE, address
from tests.support import namespaces, peers
from tests.support.run import PROGRAMS, ROOT, environment

NET = "10.3.0.0/16"
OPTIONS = {"refuse": ("--children", "refuse"), "warn": ("--children", "warn")}
# What may leave directly.
DIRECT = ("warned",)


class Way(NamedTuple):
    number: int
    run: str
    must: str
    name: str
    source: str

    @property
    def address(self) -> str:
        return address(self.number)


def ways() -> list[Way]:
    table = tomllib.loads(TABLE.read_text())
    rows = [
        (run, must, name, source)
        for run, outcomes in table.items()
        for must, named in outcomes.items()
        for name, source in named.items()
    ]
    return [Way(number, *row) for number, row in enumerate(rows)]


@contextlib.contextmanager
def answering(made: namespaces.Networks, asked: Path) -> Iterator[None]:
    """A server behind the proxy on every address of NET; ``asked`` gets those that it is asked at."""
    asked.touch()
    route = ("ip", "route", "add", NET, "via", namespaces.SERVER[4])
    subprocess.run([*made.at("proxy"), *route], check=True)
    server = (sys.executable, str(PROGRAMS / "answer_everywhere.py"), NET, str(PORT), str(asked))
    with namespaces.running(made, "server", *server, ready=(namespaces.SERVER[4], PORT)):
        yield
    subprocess.run([*made.at("proxy"), "ip", "route", "del", NET], check=True)


def start(
    made: namespaces.Networks,
    run: str,
    folder: Path,
    python: str = sys.executable,
    part: tuple[int, int] = (0, 1),
    names: Sequence[str] = (),
) -> subprocess.Popen[str]:
    """Start the children of ``run`` in the client's namespace; ``outcomes`` has what it prints."""
    words = [sys.executable, "-m", "pywrap", "-x", namespaces.url(4), *OPTIONS.get(run, ()), "--"]
    program = [python, str(TABLE.with_name("start_every_way.py")), run, str(folder), namespaces.url(4)]
    return subprocess.Popen(
        [*made.at("client"), *(words if run != "install" else ()), *program, *map(str, part), *names],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment({"PYTHONPATH": str(ROOT)}),
        start_new_session=True,
    )


def outcomes(process: subprocess.Popen[str]) -> dict[str, tuple[str, str]]:
    """By the name of each way: what became of the child, and what was said."""
    out, err = process.communicate(timeout=600)
    try:
        found: dict[str, tuple[str, str]] = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        raise peers.DidNotStart(f"{out}\n{err}") from None
    return found


def wrong(way: Way, outcome: str, leaks: Sequence[str], asked: str) -> str:
    """What is not as it must be; "" for nothing. ``asked``: what the server has written."""
    left = any(f" to {way.address} " in leak for leak in leaks)
    if left != (way.must in DIRECT):
        return "left directly" if left else "did not leave directly, and so the test sees nothing"
    if way.run == "tools" and outcome == "nothing" and f"{way.address}\n" in asked:
        return ""
    return "" if outcome == way.must else outcome
