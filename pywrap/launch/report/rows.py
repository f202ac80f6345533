"""The lines of a log as rows for the page: short lists, whose texts are indices into one list of texts.

A row is ``[kind, time, seconds, state, route, program, pid, host, port, hops, errno, error, more, run]``:

* ``kind``, ``state`` and ``route`` are indices into ``KINDS``, ``STATES`` and ``ROUTES``;
* ``time`` is in seconds since the first line of the log; ``seconds`` is a duration, null for events without
  one;
* ``hops`` are lists ``[proxy, dial, greeting, login, reply]``;
* ``more`` has the other fields by their names, for the details of a row.

``page.js`` has the same lists. The line of a connection's end is added to its row, and so are the bytes that
the broker has counted for a patched program's connection to its proxy.
"""

from __future__ import annotations

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KINDS = ("connection", "association", "datagrams", "listener", "accepted", "name", "refusal")
STATES = ("ok", "failed", "unknown", "refused")
ROUTES = ("tunnel", "direct", "none")
PHASES = ("dial", "greeting", "login", "reply")

VERSION = 1

# The fields with the counts in the line of a connection's end.
_COUNTS = ("sent", "received", "datagrams_sent", "datagrams_received")
# Fields of a line that are shown in the details of its row, besides those with a place of their own.
_MORE = (
    *("thread", "library", "name", "reason", "chain", "ways", "waited", "client", "local", "remote"),
    *("relay", "place", "how", "answers", "reverse", "protocol", "by", "id"),
)
# Values with which a field of _MORE is left out, since they are the usual ones.
_USUAL: dict[str, tuple[object, ...]] = {
    "ways": (0, 1),
    "waited": (0,),
    "by": ("patch",),
    "answers": ([],),
    "reverse": (False,),
}


class Rows:
    """The rows of the lines that were added. ``strange``: how many lines were not of a log."""

    def __init__(self) -> None:
        self.count = 0
        self.strange = 0
        self._texts: dict[str, int] = {}
        self._rows: list[list[Any]] = []
        self._runs: dict[str, dict[str, Any]] = {}
        # The rows by run and id of the connection; for patched programs also by run and local address.
        self._connections: dict[tuple[str, str], list[Any]] = {}
        self._patched: dict[tuple[str, str], list[Any]] = {}
        self._of_broker: list[tuple[tuple[str, str], list[Any]]] = []
        self._lost = 0

    def add(self, text: str) -> None:
        """Add one line of a log."""
        if not text.strip():
            return
        try:
            line = json.loads(text)
            if line["v"] != VERSION:
                raise ValueError
            self._add(line)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            # The line is incomplete, of another version, or not of a log.
            self.strange += 1
        else:
            self.count += 1

    def _add(self, line: dict[str, Any]) -> None:
        event, run = str(line["event"]), str(line["run"])
        known = self._runs.setdefault(run, {"run": run, "program": "", "confined": False, "chains": []})
        if event == "run":
            known.update(program=str(line["program"]), confined=bool(line["confined"]), chains=line["chains"])
        elif event == "lost":
            self._lost += int(line["lines"])
        elif event == "end":
            row = self._connections.get((run, str(line["id"])))
            if row is not None:
                counted = {name: int(line[name]) for name in _COUNTS if line.get(name) is not None}
                row[12].update(counted, open=float(line["seconds"]))
        elif event in KINDS:
            self._add_row(event, run, line)

    def _add_row(self, event: str, run: str, line: dict[str, Any]) -> None:
        more = {name: line[name] for name in _MORE if line.get(name) not in (None, *_USUAL.get(name, ()))}
        route = str(line.get("route", "none"))
        state = "refused" if event == "refusal" else str(line.get("result", "ok"))
        host = line.get("host") or line.get("place") or line.get("relay")
        if event == "name":
            host = line["name"]
        seconds = line.get("seconds")
        row = [
            KINDS.index(event),
            float(line["time"]),
            None if seconds is None else float(seconds),
            STATES.index(state),
            ROUTES.index(route),
            self._text(line["program"]),
            int(line["pid"]),
            self._text(host),
            int(line.get("port") or 0),
            [self._hop(hop) for hop in line.get("hops", ())],
            self._text(line.get("errno")),
            self._text(line.get("error")),
            more,
            run,
        ]
        self._rows.append(row)
        # In logs of earlier versions an association has no id.
        if line.get("id") is not None:
            self._connections[run, str(line["id"])] = row
        if event == "connection":
            if line["by"] == "patch" and line["local"]:
                self._patched[run, str(line["local"])] = row
            elif line["client"]:
                self._of_broker.append(((run, str(line["client"])), row))

    def _hop(self, hop: dict[str, Any]) -> list[Any]:
        times = (hop[phase] for phase in PHASES)
        return [self._text(hop["proxy"]), *(None if each is None else float(each) for each in times)]

    def _text(self, text: object) -> int:
        """The index of ``text``; -1 for None."""
        return -1 if text is None else self._texts.setdefault(str(text), len(self._texts))

    def json(self, version: str) -> str:
        """All rows and texts as JSON, for the page; ``version``: of pysocksify."""
        self._fold()
        rows = sorted(self._rows, key=lambda row: row[1])
        begin = rows[0][1] if rows else 0.0
        runs = list(self._runs)
        for row in rows:
            row[1] = round(row[1] - begin, 6)
            row[13] = runs.index(row[13]) if isinstance(row[13], str) else row[13]
        data = {
            "version": version,
            "begin": begin,
            "runs": list(self._runs.values()),
            "texts": list(self._texts),
            "rows": rows,
            "lost": self._lost,
            "strange": self.strange,
        }
        return json.dumps(data, separators=(",", ":"))

    def _fold(self) -> None:
        """Add the bytes of the broker's direct connections to a proxy to the rows of the patched programs."""
        folded = set()
        for key, row in self._of_broker:
            patched = self._patched.get(key)
            if patched is not None:
                counted = {name: row[12][name] for name in ("sent", "received", "open") if name in row[12]}
                patched[12].update(counted)
                folded.add(id(row))
        self._rows = [row for row in self._rows if id(row) not in folded]
        self._of_broker = []
