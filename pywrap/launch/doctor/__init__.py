"""``pysocksify --check``: what is wrong with the proxies, before a program has to ask.

Every path, a proxy with those before it, is examined in a thread of its own, and no third party is
asked for anything (``destination``). What was not seen is "?" with a reason: nothing is inferred from
a product's name, and a refusal counts against a proxy only when the destination is known to be there.
"""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread

from pywrap.launch.doctor.destination import Listener, parse_target
from pywrap.launch.doctor.examination import examine
from pywrap.launch.doctor.progress import Progress
from pywrap.launch.doctor.report import Report, all_work, in_json, in_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, TypeAlias

    from pywrap.config.settings import Chain, Proxy
    from pywrap.socks.wire import Endpoint

    Path: TypeAlias = tuple[Proxy, ...]

__all__ = ["PATIENCE", "check", "parse_target", "paths_of"]

# Seconds for each question, unless the user says otherwise: who sits before a terminal has given up by then.
PATIENCE = 5.0

WORKS = 0
FAILS = 1


def paths_of(chains: Sequence[Chain]) -> dict[Path, bool]:
    """What to examine: each hop directly, and in order each but the first through those before it.

    The value tells whether connections go that way: not to a later hop directly, which may be out of reach
    there without any harm.
    """
    direct: dict[Path, bool] = {}
    through: dict[Path, bool] = {}
    for chain in chains:
        # Any hop of the other types may be the first, and any may be before it: too many to try.
        in_order = chain.type in ("strict", "dynamic")
        for number, hop in enumerate(chain.proxies):
            direct[hop,] = direct.get((hop,), False) or number == 0 or not in_order
            if in_order and number > 0:
                through[chain.proxies[: number + 1]] = True
    return {**direct, **through}


def check(
    paths: Mapping[Path, bool],
    patience: float = PATIENCE,
    target: Endpoint | None = None,
    json: bool = False,
    progress: bool = True,
) -> tuple[str, int]:
    """Examine ``paths`` side by side; return the report, for stdout, and the exit status.

    The value of each path is whether it counts, as of ``paths_of``.
    ``patience``: seconds for each question. ``target``: a destination that the last proxies can reach.
    ``progress``: say on a terminal what is being asked.
    """
    events: SimpleQueue[tuple[int, str | Report | BaseException]] = SimpleQueue()
    reports: dict[int, Report] = {}
    with Listener() as listener, Progress(list(paths), progress) as line:
        for number, path in enumerate(paths):
            # Daemons: a Ctrl-C does not wait for the slowest proxy.
            arguments: Any = (events, number, path, patience, target, listener)
            Thread(target=_examine, args=arguments, daemon=True).start()
        while len(reports) < len(paths):
            number, event = events.get()
            if isinstance(event, BaseException):
                raise event
            if isinstance(event, Report):
                reports[number] = event
            line.note(number, event if isinstance(event, str) else "")
    ordered = [reports[number] for number in range(len(paths))]
    for report in ordered:
        report.counts = paths[report.path]
    return in_json(ordered) if json else in_words(ordered), WORKS if all_work(ordered) else FAILS


def _examine(
    events: SimpleQueue[tuple[int, str | Report | BaseException]],
    number: int,
    path: Path,
    patience: float,
    target: Endpoint | None,
    listener: Listener,
) -> None:
    try:
        events.put(
            (number, examine(path, patience, target, listener, lambda what: events.put((number, what))))
        )
    except BaseException as err:
        # A bug of ours; the main thread waits for every path, and reports it.
        events.put((number, err))
