"""Which process inside asks for a connection, or for a name: for the log, whose broker is outside.

The kernel tells the inode of the socket (sock_diag(7)); the process that has the socket is found by its
descriptors. The kernel has no table from sockets to processes, so likely places are searched first, from
cheap to expensive ones:

1. processes that have asked before, at the number of their last socket and the next number: some 10 µs;
2. the latest children of these processes and of their parents, since a shell may start ``curl`` after
``curl``:
   0.2 ms, most of it in the kernel, which makes the entries of a new process below /proc;
3. all descriptors of processes that have asked before;
4. all processes of the namespace: 1.7 ms among 400 processes.

A process whose descriptors this user may not read stays unknown. The folder below /proc of a known process is
kept open: the open folder belongs to that process, while its pid may be given to another one later (as
pidfd_open(2)).
"""

from __future__ import annotations

import os

from pywrap.confine.processes import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from pywrap.confine.listeners import Listeners

    # A pid, and the name of the process.
    Asker: TypeAlias = tuple[int, str]
    # Address and port of the program's end of a connection, and of the other one.
    Ends: TypeAlias = tuple[bytes, int, bytes, int]

# Processes that are remembered, with two descriptors each.
_MOST = 32
# Processes whose children are looked at, with a descriptor each.
_PARENTS = 16
# How many of the latest children of each are looked at: a server may have hundreds.
_LATEST = 16
# The number of the first socket of most programs: behind stdin, stdout, stderr and a pipe or two.
_FIRST = 5

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_CLOEXEC
_COMM = 16
_CHILDREN = 65536


class Askers:
    """Finds the processes of one confinement. ``listeners``: asks its kernel. ``pid``: a process inside."""

    def __init__(self, listeners: Listeners, pid: int) -> None:
        self._listeners = listeners
        self._pid = pid
        self._namespace = ""
        # The processes that have asked, the latest first.
        self._known: list[_Process] = []
        self._parents: dict[int, _Parent] = {}
        # The descriptor number of the latest asker's socket: the next process may be of the same program.
        self._likely = _FIRST

    def of(self, ends: Ends, datagram: bool = False) -> Asker | None:
        """The process inside whose socket has these ``ends``, or sends a ``datagram``; None if not found."""
        listeners = self._listeners
        return self._having(listeners.udp_inode(*ends) if datagram else listeners.inode(*ends))

    def _having(self, inode: int) -> Asker | None:
        if not inode:
            return None
        link = f"socket:[{inode}]"
        process = self._known_at_once(link) or self._just_started(link) or self._known_with(link)
        process = process or self._anywhere(link)
        if process is None:
            return None
        if self._known[:1] != [process]:
            self._remember(process)
        self._likely = process.likely
        return process.pid, process.name()

    def _known_at_once(self, link: str) -> _Process | None:
        for process in list(self._known):
            if not process.name():
                # The process has ended, and its children have another parent.
                self._known.remove(process)
                process.close()
                parent = self._parents.pop(process.pid, None)
                if parent is not None:
                    parent.close()
            elif process.has_at_once(link):
                return process
        return None

    def _just_started(self, link: str) -> _Process | None:
        known = {process.pid for process in self._known}
        for parent in self._parents.values():
            new = [pid for pid in parent.latest() if pid not in known]
            process = next((found for pid in new if (found := self._at_likely(pid, link))), None)
            process = process or next((found for pid in new if (found := self._opened(pid, link))), None)
            if process is not None:
                return process
        return None

    def _at_likely(self, pid: int, link: str) -> _Process | None:
        """As ``_opened``, but only by the likely descriptor number."""
        try:
            if os.readlink(f"/proc/{pid}/fd/{self._likely}") != link:
                return None
        except OSError:
            # The process has no descriptor of this number, or has ended.
            return None
        return self._opened(pid, link)

    def _known_with(self, link: str) -> _Process | None:
        return next((process for process in self._known if process.has(link)), None)

    def _anywhere(self, link: str) -> _Process | None:
        try:
            # Read now: at the start, the process was still outside.
            self._namespace = self._namespace or os.readlink(f"/proc/{self._pid}/ns/net")
        except OSError:
            return None
        known = {process.pid for process in self._known}
        found = (self._opened(pid, link) for pid in processes(self._namespace) if pid not in known)
        return next((process for process in found if process is not None), None)

    def _opened(self, pid: int, link: str) -> _Process | None:
        """The process ``pid`` if it has the socket."""
        try:
            process = _Process(pid, self._likely)
        except OSError:
            # The process has ended, or no descriptor is left in this one.
            return None
        if process.has_at_once(link) or process.has(link):
            return process
        process.close()
        return None

    def _remember(self, process: _Process) -> None:
        if process in self._known:
            self._known.remove(process)
        else:
            for pid in (process.parent(), process.pid):
                self._watch_children(pid)
        self._known.insert(0, process)
        for old in self._known[_MOST:]:
            old.close()
        del self._known[_MOST:]

    def _watch_children(self, pid: int) -> None:
        parent = self._parents.pop(pid, None)
        if parent is None:
            try:
                parent = _Parent(pid)
            except OSError:
                # The process has ended, or the kernel was built without these files (CONFIG_PROC_CHILDREN).
                return
        # With the latest one first.
        self._parents = {pid: parent, **self._parents}
        for old in list(self._parents)[_PARENTS:]:
            self._parents.pop(old).close()


class _Process:
    """A process that may have asked. ``likely``: the descriptor number at which its socket is expected.

    Raises:
        OSError: there is no process with that pid.
    """

    __slots__ = ("_comm", "_folder", "likely", "pid")

    def __init__(self, pid: int, likely: int) -> None:
        self.pid = pid
        self.likely = likely
        self._folder = os.open(f"/proc/{pid}", _FOLDER)
        try:
            self._comm = os.open("comm", _READ, dir_fd=self._folder)
        except OSError:
            os.close(self._folder)
            raise

    def has_at_once(self, link: str) -> bool:
        """Whether it has the socket ``link`` at the number where it had one before, or at the next."""
        return self._is_at(self.likely, link) or self._is_at(self.likely + 1, link)

    def has(self, link: str) -> bool:
        """Whether it has the socket ``link`` at any descriptor."""
        try:
            names = os.listdir(f"/proc/{self.pid}/fd")
        except OSError:
            # The process has ended, or this user may not read its descriptors.
            return False
        return any(self._is_at(int(name), link) for name in names)

    def _is_at(self, number: int, link: str) -> bool:
        try:
            found = os.readlink(f"fd/{number}", dir_fd=self._folder) == link
        except OSError:
            # The process has no descriptor of this number, or has ended.
            return False
        if found:
            self.likely = number
        return found

    def name(self) -> str:
        """The name of the process, up to 15 bytes (proc_pid_comm(5)); "" when it has ended."""
        try:
            return os.pread(self._comm, _COMM, 0).decode("utf-8", "backslashreplace").rstrip("\n")
        except OSError:
            return ""

    def parent(self) -> int:
        """The pid of its parent; 0 when the process has ended."""
        try:
            fd = os.open("stat", _READ, dir_fd=self._folder)
        except OSError:
            return 0
        try:
            # proc_pid_stat(5): the name, in parentheses, may contain any of them.
            return int(os.read(fd, 4096).rpartition(b")")[2].split()[1])
        except OSError:
            return 0
        finally:
            os.close(fd)

    def close(self) -> None:
        os.close(self._comm)
        os.close(self._folder)


class _Parent:
    """A process whose main thread may start others (proc_tid_children(5)).

    Raises:
        OSError: the process has ended, or the kernel has no list of children.
    """

    __slots__ = ("_file",)

    def __init__(self, pid: int) -> None:
        self._file = os.open(f"/proc/{pid}/task/{pid}/children", _READ)

    def latest(self) -> list[int]:
        """The processes that it has started latest and that have not ended, the latest first."""
        try:
            pids = os.pread(self._file, _CHILDREN, 0).split()
        except OSError:
            # The process has ended.
            return []
        return [int(pid) for pid in reversed(pids[-_LATEST:])]

    def close(self) -> None:
        os.close(self._file)
