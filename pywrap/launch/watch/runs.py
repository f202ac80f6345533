"""The runs of pysocksify on this machine, and the processes of one.

A process belongs to a run when its environment has the settings of that run, when an ancestor belongs to the
run, or when it was seen to belong to the run before, since a daemon leaves its parent.

The states of a process:

* patched: it has the mark of the patches (``pywrap.marker``), which exec() takes away;
* confined: it is in the network of the run's confinement;
* waiting: a Python that is covered by its environment, and has neither the mark nor an IP socket: it has not
  imported ``socket`` yet;
* wrapper: a program that only runs another one, such as ``timeout``, and has no IP socket;
* broker: the command itself, which carries the traffic of the processes that it has confined;
* unprotected: anything else. Its traffic leaves directly.
"""

from __future__ import annotations

import os

import psutil

from pywrap import marker
from pywrap.config import settings_env
from pywrap.errors import ConfigError
from pywrap.frozen import frozen
from pywrap.launch.settings_file import PREFIX
from pywrap.launch.watch.judge import NEITHER, Judge, Way
from pywrap.launch.watch.proc_sockets import Socket, sockets_of, tables_of
from pywrap.launch.wrappers import WRAPPERS
from pywrap.programs import cover
from pywrap.programs.python import is_python_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set

    from pywrap.config.settings import Settings

PATCHED = "patched"
CONFINED = "confined"
WAITING = "waiting"
WRAPPER = "wrapper"
BROKER = "broker"
UNPROTECTED = "unprotected"

_VARIABLE = f"{settings_env.VARIABLE}=".encode()


@frozen
class Connection:
    """A socket and where it leads."""

    sock: Socket
    way: Way


@frozen
class Process:
    """One process of a run. ``states``: one or more of the words above; ``why``: why it is unprotected.

    ``is_readable``: whether this user may look at its sockets.
    """

    pid: int
    parent: int
    started: float
    name: str
    states: tuple[str, ...]
    why: str = ""
    connections: tuple[Connection, ...] = ()
    is_readable: bool = True

    @property
    def is_unprotected(self) -> bool:
        """Whether the process is neither patched nor confined."""
        return UNPROTECTED in self.states

    @property
    def strays(self) -> list[Connection]:
        """Connections that go neither to a hop nor directly by a rule."""
        return [each for each in self.connections if each.way.goes == NEITHER]


def find(pid: int | None = None) -> str:
    """The text of the settings of a run: the run of ``pid``, or by default the one that was started last.

    Raises:
        ConfigError: there is no such run.
    """
    if pid is not None:
        for each in _with_ancestors(pid):
            text = settings_text(each)
            if text:
                return text
        # ``pid`` may be the broker of a run, or the process that has started pysocksify: then look below it.
        # Not below init, of which all processes are descendants.
        below = {text for each in (descendants(pid) if pid > 1 else ()) if (text := settings_text(each))}
        if len(below) == 1:
            return below.pop()
        if below:
            raise ConfigError(
                f"process {pid} has started {len(below)} runs",
                "name a process of one: pysocksify --watch PID",
            )
        raise ConfigError(
            f"process {pid} is of no run that can be seen", "pysocksify --watch, without a number"
        )
    texts = {text for each in psutil.pids() if (text := settings_text(each))}
    if not texts:
        raise ConfigError("no run of pysocksify is seen", "start one in another terminal: pysocksify PROGRAM")
    return max(texts, key=lambda text: _run_of(text))


def _run_of(text: str) -> str:
    try:
        return decode(text).run
    except ConfigError:
        # Settings of another version: they sort as the oldest.
        return ""


def decode(text: str) -> Settings:
    """The settings in ``text``, the value of the variable.

    Raises:
        ConfigError: the settings are of another version, or in a file that cannot be read.
    """
    if text.startswith(PREFIX):
        try:
            with open(text[len(PREFIX) :], encoding="ascii") as file:
                text = file.read()
        except OSError as err:
            raise ConfigError(f"cannot read the settings of the run: {err.strerror}") from err
    return settings_env.decode(text)


class Watched:
    """One run, looked at again and again. ``text``: as ``find`` returns it.

    Raises:
        ConfigError: as ``decode``.
    """

    def __init__(self, text: str) -> None:
        self.settings = decode(text)
        self._value = _VARIABLE + text.encode()
        self._judge = Judge(self.settings)
        self._own = _network("self")
        # The start time of each process that was seen, by its pid; a pid may be used again.
        self._seen: dict[int, float] = {}

    def look(self) -> list[Process]:
        """The processes of the run as they are now, parents before children."""
        table = _processes()
        environments = {pid: _environment(pid) for pid in table}
        members = self._members(table, environments)
        networks = {pid: _network(str(pid)) for pid in members}
        confinements = {
            variables[settings_env.CONFINED]
            for pid in members
            if settings_env.CONFINED in (variables := _variables(environments[pid]))
        } - {self._own}
        tables: dict[str, dict[int, Socket]] = {}
        found = []
        brokers = {table[pid].parent for pid in members if networks[pid] in confinements} - {*members}
        brokers = {pid for pid in brokers if pid in table and _network(str(pid)) == self._own}
        networks.update(dict.fromkeys(brokers, self._own))
        for pid in (*brokers, *members):
            network = networks[pid]
            try:
                if network not in tables:
                    tables[network] = tables_of(pid)
                if pid in brokers:
                    sockets = self._sockets(pid, tables[network], False)
                    known = table[pid]
                    states = (BROKER,)
                    found.append(Process(pid, known.parent, known.started, known.name, states, "", sockets))
                    continue
                process = self._process(
                    table[pid], environments[pid], tables[network], network in confinements, network
                )
            except (FileNotFoundError, ProcessLookupError):
                # The process has ended meanwhile.
                continue
            except PermissionError:
                name, parent, started = table[pid].name, table[pid].parent, table[pid].started
                why = "another user's: it cannot be looked at"
                process = Process(pid, parent, started, name, (UNPROTECTED,), why, (), False)
            found.append(process)
        return _in_order(found)

    def _members(self, table: dict[int, _Known], environments: dict[int, bytes]) -> list[int]:
        named = {pid for pid, data in environments.items() if self._value in data.split(b"\0")}
        seen = {
            pid
            for pid, started in self._seen.items()
            if pid in table and table[pid].started == started and _VARIABLE not in environments[pid]
        }
        known = named | seen
        # A process with the settings of another run belongs to that one.
        ends = known | {pid for pid, data in environments.items() if _VARIABLE in data}
        members = set(known)
        for pid in table:
            line = _line_of(pid, table, ends)
            if line and line[-1] in known:
                members.update(line)
        members.discard(os.getpid())
        self._seen = {pid: table[pid].started for pid in members}
        return sorted(members)

    def _process(
        self,
        known: _Known,
        environment: bytes,
        table: dict[int, Socket],
        is_confined: bool,
        network: str,
    ) -> Process:
        with open(f"/proc/{known.pid}/maps", encoding="utf-8", errors="replace") as file:
            is_patched = marker.is_put(file.read())
        connections = self._sockets(known.pid, table, is_confined)
        states = [state for state, is_it in ((PATCHED, is_patched), (CONFINED, is_confined)) if is_it]
        why = ""
        if not states:
            state, why = self._unmarked(known, environment, bool(connections), network)
            states = [state]
        return Process(known.pid, known.parent, known.started, known.name, tuple(states), why, connections)

    def _sockets(self, pid: int, table: dict[int, Socket], is_confined: bool) -> tuple[Connection, ...]:
        listening = {sock.local_port for sock in table.values() if sock.state == "listening"}
        return tuple(
            Connection(sock, self._judge.way(sock, is_confined, listening)) for sock in sockets_of(pid, table)
        )

    def _unmarked(
        self, known: _Known, environment: bytes, has_sockets: bool, network: str
    ) -> tuple[str, str]:
        """The state of a process without the mark and outside of a confinement, and why it is unprotected."""
        if network not in ("", self._own):
            return UNPROTECTED, "in a network of its own, which is not that of the run"
        try:
            file = os.readlink(f"/proc/{known.pid}/exe")
        except OSError:
            # The process is a kernel thread, or has just ended.
            file = ""
        if not is_python_name(file):
            if known.name in WRAPPERS and not has_sockets:
                return WRAPPER, ""
            return UNPROTECTED, "not a Python, and not confined"
        if not cover.has_all(_variables(environment)):
            return UNPROTECTED, "a Python that was started without the settings of pysocksify"
        if has_sockets:
            return UNPROTECTED, "a Python whose sockets are not patched"
        return WAITING, ""


@frozen
class _Known:
    pid: int
    parent: int
    started: float
    name: str


def _processes() -> dict[int, _Known]:
    found = {}
    for process in psutil.process_iter(["ppid", "create_time", "name", "status"]):
        info = process.info
        if info["status"] == psutil.STATUS_ZOMBIE:
            # The process has ended, and its parent has not waited for it yet.
            continue
        # psutil returns None for values that this user may not read.
        started, name = info["create_time"] or 0.0, info["name"] or "?"
        found[process.pid] = _Known(process.pid, info["ppid"] or 0, started, name)
    return found


def _line_of(pid: int, table: dict[int, _Known], ends: Set[int]) -> list[int]:
    """``pid`` and its ancestors, up to the nearest of ``ends``; [] when none is an ancestor."""
    line: list[int] = []
    while pid in table and pid not in line:
        line.append(pid)
        if pid in ends:
            return line
        pid = table[pid].parent
    return []


def _with_ancestors(pid: int) -> list[int]:
    try:
        process = psutil.Process(pid)
        return [pid, *(each.pid for each in process.parents())]
    except psutil.NoSuchProcess:
        raise ConfigError(f"no process {pid}") from None


def descendants(pid: int) -> list[int]:
    """The children of ``pid``, their children, and so on; [] when ``pid`` has ended."""
    try:
        return [each.pid for each in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _environment(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:
        # The process has ended, or is of another user.
        return b""


def settings_text(pid: int) -> str:
    """The settings in the environment of the process ``pid``; "" where there are none, or it has ended."""
    return _variables(_environment(pid)).get(settings_env.VARIABLE, "")


def _variables(environment: bytes) -> dict[str, str]:
    pairs = (os.fsdecode(each).partition("=") for each in environment.split(b"\0"))
    return {name: value for name, _, value in pairs}


def _network(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def _in_order(processes: list[Process]) -> list[Process]:
    """``processes`` with parents before children, and children of one parent in the order of their start."""
    by_pid = {process.pid: process for process in processes}
    children: dict[int, list[Process]] = {}
    for process in processes:
        children.setdefault(process.parent if process.parent in by_pid else 0, []).append(process)
    found: list[Process] = []
    waiting = sorted(children.get(0, []), key=lambda each: -each.started)
    while waiting:
        process = waiting.pop()
        found.append(process)
        waiting += sorted(children.get(process.pid, []), key=lambda each: -each.started)
    return found
