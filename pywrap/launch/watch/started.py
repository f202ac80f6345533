"""``pysocksify --watch PROGRAM``: PROGRAM is started, and watched until it ends.

The terminal belongs to PROGRAM, so no tree is drawn on it. Each unprotected process or connection has a line
on stderr when it is first seen, and a line at the end sums up. This process stays as the parent of the one
that becomes PROGRAM, as time(1) does: it passes on signals that are sent to it; those of the terminal reach
both.
"""

from __future__ import annotations

import os
import select
import signal
import sys

from pywrap.launch.watch.runs import Watched, descendants, settings_text
from pywrap.launch.watch.seen import Seen, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.launch.watch.runs import Process

# The exit status when PROGRAM has succeeded, but something unprotected was seen.
UNPROTECTED = 3

# Seconds between two looks; and between two looks until the child has executed PROGRAM with its settings.
_PAUSE = 0.5
_SOON = 0.02

_IGNORED = signal.SIGINT, signal.SIGQUIT
_PASSED_ON = signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2


def start_and_watch() -> int | None:
    """Fork. In the child, which becomes PROGRAM, return None; in the parent, watch it and return its status.

    For a PROGRAM that a signal has ended, that is 128 and the number of the signal. It is UNPROTECTED instead
    of 0 when something unprotected was seen.
    """
    pid = os.fork()
    if pid == 0:
        return None
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    for number in _PASSED_ON:
        signal.signal(number, lambda number, frame: os.kill(pid, number))
    seen = Seen()
    looks = _watch(pid, seen)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    said = seen.summary() if looks else "seen: nothing, it has ended before the first look"
    print(f"pysocksify: {said}", file=sys.stderr)
    if status < 0:
        return 128 - status
    return status or (UNPROTECTED if seen.anything else 0)


def _watch(pid: int, seen: Seen) -> int:
    """Watch the run of the child ``pid`` until the child has ended; return how many looks there were."""
    with open(os.pidfd_open(pid)) as end:
        watched: Watched | None = None
        looks = 0
        told: set[object] = set()
        while not select.select([end], [], [], _PAUSE if watched else _SOON)[0]:
            if watched is None:
                text = _settings_of(pid)
                if not text:
                    continue
                watched = Watched(text)
            processes = watched.look()
            looks += 1
            seen.note(processes)
            for process in processes:
                _tell(process, seen, told)
        return looks


def _settings_of(pid: int) -> str:
    """The settings of the run, from the process ``pid`` or, where it is a broker, from a child of it."""
    return next((text for each in (pid, *descendants(pid)) if (text := settings_text(each))), "")


def _tell(process: Process, seen: Seen, told: set[object]) -> None:
    """Print a line for an unprotected process, or for its stray connections, unless it was printed before."""
    facts: dict[object, str] = {}
    if process.pid in seen.processes and process.is_unprotected:
        facts[process.pid] = process.why
    for each in process.strays:
        sock = each.sock
        where = f"{sock.protocol} to {sock.remote} port {sock.remote_port}"
        facts[process.pid, sock.remote, sock.remote_port] = f"{where}, neither to a hop nor direct by a rule"
    for fact, text in facts.items():
        if fact not in told:
            told.add(fact)
            name = f"{printable(process.name)} ({process.pid})"
            print(f"pysocksify: seen unprotected: {name}: {text}", file=sys.stderr)
