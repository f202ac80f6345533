"""``pysocksify --watch``: the processes of a run, and where each of their connections goes, as it happens.

It reads /proc once or twice a second, as far as this user may. A connection that lives shorter than that is
missed, and a process that forges the mark of the patches is believed. So it reports what was seen, and never
that nothing leaks: that only the kernel can ensure, by ``--confine on``.
"""

from __future__ import annotations

import sys
from time import sleep

from pywrap.errors import ConfigError
from pywrap.launch.watch.runs import Watched, find
from pywrap.launch.watch.seen import Seen
from pywrap.launch.watch.started import UNPROTECTED
from pywrap.launch.watch.view import PlainView, View, as_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Seconds between two looks.
_PAUSE = 0.5


def watch(words: Sequence[str], json: bool) -> int:
    """Watch the run of the process ``words[0]``, or the latest, until it ends; return the exit status.

    ``json``: print what is seen now, as JSON, and return at once.

    Raises:
        ConfigError: there is no such run.
    """
    watched = Watched(find(_pid(words)))
    seen = Seen()
    if json:
        # It looks twice: a Python that is just starting has no mark yet.
        seen.note(watched.look())
        sleep(_PAUSE)
        processes = watched.look()
        seen.note(processes)
        print(as_json(watched.settings, processes, seen), flush=True)
        return UNPROTECTED if seen.anything else 0
    try:
        with _view() as view:
            while processes := watched.look():
                seen.note(processes)
                view.show(watched.settings, processes, seen)
                sleep(_PAUSE)
    except KeyboardInterrupt:
        pass
    print(seen.summary(), flush=True)
    return UNPROTECTED if seen.anything else 0


def is_program(words: Sequence[str]) -> bool:
    """Whether ``words`` are a PROGRAM to start, and not the pid of a process."""
    return bool(words) and not (words[0].isascii() and words[0].isdigit())


def _pid(words: Sequence[str]) -> int | None:
    if not words:
        return None
    if len(words) > 1 or is_program(words):
        hint = "its number, or nothing; a PROGRAM of digits is ./NAME"
        raise ConfigError(f"`--watch` takes one process: `{' '.join(words)}`", hint)
    return int(words[0])


def _view() -> View:
    if sys.stdout.isatty():
        try:
            from pywrap.launch.watch.terminal_view import TerminalView
        except ImportError:
            # rich is not installed: it comes with the extra ``watch``.
            pass
        else:
            return TerminalView()
    return PlainView()
