"""``pysocksify --check``: tests what the proxies can do, before a program depends on it.

Each path, that is a proxy with those before it, is tested in a thread of its own. No third party takes part
(``destination``). A property that the tests could not see is "?" with a reason: nothing is inferred from the
name of a product, and a refusal counts against a proxy only when the destination is known to exist.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread

from pywrap.config.settings import PLACEHOLDERS
from pywrap.frozen import frozen
from pywrap.launch.check.destination import Listener, parse_target
from pywrap.launch.check.hop_requests import speaks
from pywrap.launch.check.probes import probe_proxy
from pywrap.launch.check.progress import Progress
from pywrap.launch.check.report import Report, all_work, in_json, in_words
from pywrap.launch.check.terminal_report import on_terminal, wants_colour, width_of_stdout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pywrap.config.settings import Chain, Path
    from pywrap.socks.wire import Endpoint

__all__ = ["PATIENCE", "Role", "check", "parse_target", "paths_of"]

# Seconds for each test, unless --timeout is given: a user at a terminal waits no longer.
PATIENCE = 5.0

WORKS = 0
FAILS = 1


@frozen
class Role:
    """How programs use a path.

    ``counts``: whether connections take this path, and it can be tested, so that it must work. ``around``:
    whether connections leave out hops of it that do not work.
    """

    counts: bool = True
    around: bool = False


def paths_of(chains: Sequence[Chain]) -> dict[Path, Role]:
    """The paths to test: each hop directly, and each but the first through those before it.

    A later hop need not be reachable directly, so that path does not count; nor does a path to a raw hop,
    which has no protocol to test.
    """
    direct: dict[Path, Role] = {}
    through: dict[Path, Role] = {}
    for chain in chains:
        # In chains of the other types any hop may be the first, and any before any other: too many paths to
        # test, so each hop is tested directly.
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
    early: Sequence[str] = (),
) -> tuple[str, int]:
    """Test ``paths`` in parallel; return the report, for stdout, and the exit status.

    ``paths``: as ``paths_of`` returns them. ``patience``: seconds for each test. ``target``: a destination
    that the last proxies can reach. ``progress``: whether to show the progress on a terminal.
    ``placeholders``: as in ``Settings``. ``early``: files whose code runs before ours (``early_code``).
    """
    events: SimpleQueue[tuple[int, str | Report | BaseException]] = SimpleQueue()
    results: dict[Path, Future[Report]] = {path: Future() for path in paths}
    with Listener() as listener, Progress(list(paths), progress) as line:

        def find_out(number: int, path: Path, role: Role) -> None:
            try:
                way = _around(path, results) if role.around else path
                if way != path and way in results:
                    # No hop before the last works, so the result is that of the direct path to the last.
                    report = results[way].result()
                else:
                    report = probe_proxy(
                        way, patience, target, listener, lambda what: events.put((number, what))
                    )
                results[path].set_result(report)
                events.put((number, report))
            except BaseException as err:
                # A bug of ours. The main thread waits for all paths, and raises it.
                events.put((number, err))

        for number, (path, role) in enumerate(paths.items()):
            # Daemon threads: after a Ctrl-C the process does not wait for the slowest proxy.
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
    status = WORKS if all_work(reports) else FAILS
    if not json and sys.stdout.isatty():
        return on_terminal(reports, placeholders, width_of_stdout(), wants_colour(os.environ), early), status
    tell = in_json if json else in_words
    return tell(reports, placeholders, early), status


def _around(path: Path, results: Mapping[Path, Future[Report]]) -> Path:
    """``path`` without the hops before its last that did not work: connections leave those out."""
    before = [hop for number, hop in enumerate(path[:-1], 1) if results[path[:number]].result().may_pass_on]
    return (*before, path[-1])
