"""The output of --watch: JSON for scripts, and plain text where there is no terminal, or no rich.

The keys of the JSON are stable; new ones may be added::

    {"run": "20261128T111530-4121",
     "processes": [{"pid": 4121, "parent": 1, "name": "python3",
                    "states": ["patched"],     patched, confined, waiting, wrapper, broker, unprotected
                    "why": "",                 why it is unprotected
                    "connections": [{"protocol": "tcp", "state": "connected",
                                     "local": "127.0.0.1:41234", "remote": "127.0.0.1:9050" or null,
                                     "goes": "hop",    hop, direct, broker, listens, accepted, unknown
                                                       or neither
                                     "why": "127.0.0.1:9050"}]}],
     "unprotected": [4130],                    processes, and
     "neither": 1}                             connections, that were seen so
"""

from __future__ import annotations

import json
from contextlib import AbstractContextManager

from pywrap.launch.watch.judge import NEITHER
from pywrap.launch.watch.seen import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Any

    from pywrap.config.settings import Settings
    from pywrap.launch.watch.runs import Connection, Process
    from pywrap.launch.watch.seen import Seen


class View(AbstractContextManager["View"]):
    """Shows what is seen, again and again."""

    def show(self, settings: Settings, processes: Sequence[Process], seen: Seen) -> None:
        """Show ``processes`` of a run with ``settings``, and what was ``seen`` so far."""
        raise NotImplementedError

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to undo."""


class PlainView(View):
    """Prints the whole again whenever it has changed."""

    def __init__(self) -> None:
        self._before = ""

    def show(self, settings: Settings, processes: Sequence[Process], seen: Seen) -> None:
        """Print the tree, if it has changed."""
        text = as_text(settings, processes)
        if text != self._before:
            print(text, flush=True)
            self._before = text


def heading(settings: Settings, processes: Sequence[Process]) -> str:
    """The run in a line: its chains, and how many processes it has."""
    chains = ", ".join(" → ".join(map(str, chain.proxies)) for chain in settings.chains if chain.proxies)
    count = len(processes)
    return f"run {settings.run} through {chains or 'no proxy'}: {count} process{'' if count == 1 else 'es'}"


def as_text(settings: Settings, processes: Sequence[Process]) -> str:
    """The tree of the processes, each with its connections, indented."""
    lines = [heading(settings, processes)]
    depths: dict[int, int] = {}
    for process in processes:
        depth = depths[process.pid] = depths.get(process.parent, -1) + 1
        margin = "  " * (depth + 1)
        lines.append(f"{margin}{process.pid} {printable(process.name)}: {state_of(process)}")
        lines += [f"{margin}    {line}" for line in connections_of(process)]
    return "\n".join(lines)


def state_of(process: Process) -> str:
    """The states of ``process``, in words."""
    states = ", ".join(process.states)
    return f"{states.upper()}: {process.why}" if process.is_unprotected else states


def connections_of(process: Process) -> list[str]:
    """A line for each kind of connection of ``process``: many to the same hop are one line."""
    return [f"{text}{f'  ({count} of them)' if count > 1 else ''}" for text, count, _ in grouped(process)]


def grouped(process: Process) -> list[tuple[str, int, str]]:
    """Connections with the same text, grouped: the text, how many there are, and where they go."""
    counts: dict[tuple[str, str], int] = {}
    for each in process.connections:
        key = _text_of(each), each.way.goes
        counts[key] = counts.get(key, 0) + 1
    return [(text, count, goes) for (text, goes), count in counts.items()]


def _text_of(connection: Connection) -> str:
    sock, way = connection.sock, connection.way
    if not sock.remote:
        where = f"{sock.protocol} at {_place(sock.local, sock.local_port)}"
    else:
        where = f"{sock.protocol} to {_place(sock.remote, sock.remote_port)}"
    if way.goes == NEITHER:
        return f"{where}: NEITHER a hop nor direct by a rule"
    return f"{where}: {way.goes}{f', {way.why}' if way.why else ''}"


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def as_json(settings: Settings, processes: Sequence[Process], seen: Seen) -> str:
    """What ``--watch --json`` prints."""
    whole = {
        "run": settings.run,
        "processes": [_process_as_json(process) for process in processes],
        "unprotected": sorted(seen.processes),
        "neither": len(seen.strays),
    }
    return json.dumps(whole, indent=1)


def _process_as_json(process: Process) -> dict[str, Any]:
    return {
        "pid": process.pid,
        "parent": process.parent,
        "name": process.name,
        "states": list(process.states),
        "why": process.why,
        "connections": [
            {
                "protocol": each.sock.protocol,
                "state": each.sock.state,
                "local": _place(each.sock.local, each.sock.local_port),
                "remote": _place(each.sock.remote, each.sock.remote_port) if each.sock.remote else None,
                "goes": each.way.goes,
                "why": each.way.why,
            }
            for each in process.connections
        ],
    }
