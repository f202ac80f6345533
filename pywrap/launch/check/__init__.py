"""``pysocksify --check``: what is wrong with the proxies, before a program has to ask.

Every path, a proxy with those before it, is examined in a thread of its own, and no third party is
asked for anything (``destination``). What was not seen is "?" with a reason: nothing is inferred from
a product's name, and a refusal counts against a proxy only when the destination is known to be there.
"""

from __future__ import annotations

from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread

from pywrap.config.settings import PLACEHOLDERS
from pywrap.frozen import frozen
from pywrap.launch.check.destination import Listener, parse_target
from pywrap.launch.check.probes import probe_proxy, speaks
from pywrap.launch.check.progress import Progress
from pywrap.launch.check.report import Report, all_work, in_json, in_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pywrap.config.settings import Chain, Path
    from pywrap.socks.wire import Endpoint

__all__ = ["PATIENCE", "Role", "check", "parse_target", "paths_of"]

# Seconds for each question, unless the user says otherwise: who sits before a terminal has given up by then.
PATIENCE = 5.0

WORKS = 0
FAILS = 1


@frozen
class Role:
    """What a path is to a program: do connections go that way, and ``around`` hops that do not work?

    What cannot be asked does not count.
    """

    counts: bool = True
    around: bool = False


def paths_of(chains: Sequence[Chain]) -> dict[Path, Role]:
    """What to examine: each hop directly, and in order each but the first through those before it.

    A later hop directly does not count, which may be out of reach there without any harm; nor does one that
    nobody can ask anything.
    """
    direct: dict[Path, Role] = {}
    through: dict[Path, Role] = {}
    for chain in chains:
        # Any hop of the other types may be the first, and any may be before it: too many to try.
        in_order = chain.type in ("strict", "dynamic")
        for number, hop in enumerate(chain.proxies):
            counts = speaks(hop) and (number == 0 or not in_order)
            direct[hop,] = Role(counts or ((hop,) in direct and direct[hop,].counts))
            if in_order and number > 0:
                path = chain.proxies[: number + 1]
                strictly = path in through and not through[path].around
                through[path] = Role(speaks(hop), around=chain.type == "dynamic" and not strictly)
    return {**direct, **through}


def check(
    paths: Mapping[Path, Role],
    patience: float = PATIENCE,
    target: Endpoint | None = None,
    json: bool = False,
    progress: bool = True,
    placeholders: str = PLACEHOLDERS,
) -> tuple[str, int]:
    """Examine ``paths`` side by side; return the report, for stdout, and the exit status.

    ``paths`` as of ``paths_of``. ``patience``: seconds for each question. ``target``: a destination that the
    last proxies can reach. ``progress``: say on a terminal what is being asked. ``placeholders`` as of the
    settings.
    """
    events: SimpleQueue[tuple[int, str | Report | BaseException]] = SimpleQueue()
    results: dict[Path, Future[Report]] = {path: Future() for path in paths}
    with Listener() as listener, Progress(list(paths), progress) as line:

        def find_out(number: int, path: Path, role: Role) -> None:
            try:
                way = _around(path, results) if role.around else path
                if way != path and way in results:
                    # Directly, when none of those before it works.
                    report = results[way].result()
                else:
                    report = probe_proxy(
                        way, patience, target, listener, lambda what: events.put((number, what))
                    )
                results[path].set_result(report)
                events.put((number, report))
            except BaseException as err:
                # A bug of ours; the main thread waits for every path, and reports it.
                events.put((number, err))

        for number, (path, role) in enumerate(paths.items()):
            # Daemons: a Ctrl-C does not wait for the slowest proxy.
            Thread(target=find_out, args=(number, path, role), daemon=True).start()
        waiting = len(paths)
        while waiting:
            number, event = events.get()
            if isinstance(event, BaseException):
                raise event
            waiting -= isinstance(event, Report)
            line.note(number, event if isinstance(event, str) else "")
    reports: list[Report] = []
    for path, role in paths.items():
        report = results[path].result()
        report.counts = role.counts or (report in reports and report.counts)
        reports += [] if report in reports else [report]
    tell = in_json if json else in_words
    return tell(reports, placeholders), WORKS if all_work(reports) else FAILS


def _around(path: Path, results: Mapping[Path, Future[Report]]) -> Path:
    """``path`` without those before its last hop that were not seen to work, as connections go there."""
    before = [hop for number, hop in enumerate(path[:-1], 1) if results[path[:number]].result().may_pass_on]
    return (*before, path[-1])
