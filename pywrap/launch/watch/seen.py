"""The unprotected processes and the stray connections that were seen during a watch."""

from __future__ import annotations

from pywrap.errors import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pywrap.launch.watch.runs import Process


class Seen:
    """``processes``: names of unprotected processes, by pid.

    ``strays``: connections that lead neither to a hop nor directly by a rule.
    """

    def __init__(self) -> None:
        self.processes: dict[int, str] = {}
        self.strays: set[tuple[int, str, int]] = set()
        self._before: set[tuple[int, float]] = set()

    def note(self, processes: Sequence[Process]) -> None:
        """Note the states and connections of ``processes`` at this moment.

        A process counts when it is seen unprotected twice, or with a socket: a program that is just starting
        is not patched yet.
        """
        now = set()
        for process in processes:
            self.strays |= {(process.pid, each.sock.remote, each.sock.remote_port) for each in process.strays}
            if process.is_unprotected:
                key = process.pid, process.started
                now.add(key)
                if key in self._before or process.connections:
                    self.processes[process.pid] = process.name
        self._before = now

    @property
    def anything(self) -> bool:
        """Whether any unprotected process or stray connection was seen."""
        return bool(self.processes or self.strays)

    def summary(self) -> str:
        """A line for the user about what was seen."""
        if not self.anything:
            return "seen: nothing unprotected"
        names = ", ".join(f"{printable(name)} ({pid})" for pid, name in sorted(self.processes.items())[:8])
        parts = []
        if self.processes:
            count = len(self.processes)
            parts.append(f"{count} unprotected {'process' if count == 1 else 'processes'}: {names}")
        if self.strays:
            parts.append(f"{counted(len(self.strays), 'connection')} past the proxies, and no rule allows it")
        return f"seen: {'; '.join(parts)}"


def printable(text: str) -> str:
    """``text`` without control characters, by which a name could change the terminal."""
    return text if text.isprintable() else ascii(text)[1:-1]
