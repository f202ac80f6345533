"""Which process inside asks for a connection, for the log.

The kernel tells the inode of the socket (sock_diag(7)); the process that has it is found by its descriptors.
That takes some 30 µs for a process that has asked before, and 1.7 ms for a new one among 400 processes, so it
is done only where there is a log. A process that may not be looked at stays unknown.
"""

from __future__ import annotations

import os

from pywrap.confine.processes import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.confine.listeners import Listeners
    from pywrap.confine.packets import Syn

# Processes that are remembered; a shell script starts any number.
_MOST = 64


class Askers:
    """``listeners`` ask the kernel of the namespace, in which ``pid`` is a process."""

    def __init__(self, listeners: Listeners, pid: int) -> None:
        self._listeners = listeners
        self._pid = pid
        self._namespace = ""
        # Those that have asked, the latest first.
        self._known: list[int] = []

    def of(self, syn: Syn) -> tuple[int, str] | None:
        """The pid and the name of the process that has sent ``syn``; None when it is not found."""
        inode = self._listeners.inode(syn.source, syn.port, syn.destination, syn.destination_port)
        if not inode:
            return None
        link = f"socket:[{inode}]"
        pid = next((pid for pid in self._known if _has(pid, link)), 0) or self._search(link)
        if not pid:
            return None
        if self._known[:1] != [pid]:
            self._known = [pid, *(each for each in self._known if each != pid)][:_MOST]
        return pid, _name(pid)

    def _search(self, link: str) -> int:
        try:
            # Not at the start: the process was still outside.
            self._namespace = self._namespace or os.readlink(f"/proc/{self._pid}/ns/net")
        except OSError:
            return 0
        others = (pid for pid in processes(self._namespace) if pid not in self._known)
        return next((pid for pid in others if _has(pid, link)), 0)


def _has(pid: int, link: str) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        # It has ended, or may not be looked at.
        return False
    for name in names:
        try:
            if os.readlink(f"{folder}/{name}") == link:
                return True
        except OSError:
            # Closed meanwhile.
            continue
    return False


def _name(pid: int) -> str:
    """What the process is called: up to 15 bytes (proc_pid_comm(5))."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="backslashreplace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""
