"""The lines of a log, one method for each kind; docs/log.md and ``schema.json`` describe their fields.

No line has a password: a hop is written by its scheme and address alone, and of the program only its name,
not its arguments.
"""

from __future__ import annotations

import errno
import os
from itertools import count
from time import monotonic, time

from pywrap.log import asker
from pywrap.log.encoder import encoded, or_null, quoted, seconds
from pywrap.log.handshake_times import PHASES, HandshakeTimes
from pywrap.log.writer import LineWriter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pywrap.config.settings import Path, Proxy
    from pywrap.log.handshake_times import HopTimes

# The version of the format. It is raised when a field is removed or changes its meaning, not for new fields
# and new kinds of lines.
VERSION = 1

# The parts of pysocksify that write lines.
PATCH = "patch"
BROKER = "broker"
LAUNCHER = "launcher"

# The routes of connections and datagrams.
TUNNEL = "tunnel"
DIRECT = "direct"

OK = "ok"
FAILED = "failed"
UNKNOWN = "unknown"

# The phases of a handshake, each with its key as JSON.
_KEYS = tuple((phase, f'"{phase}":') for phase in PHASES)

# The error numbers of socket.herror, which gethostbyaddr() raises (netdb.h).
_HERRORS = {1: "HOST_NOT_FOUND", 2: "TRY_AGAIN", 3: "NO_RECOVERY", 4: "NO_DATA"}

# How many destinations of datagrams are remembered, so that each is written once.
_MOST = 4096
# The longest text, and the most hops, in a line that had to be shortened for a pipe.
_SHORT_TEXT = 160
_FEW = 12


class Begun:
    """A call or request that has begun: the moment, the thread, the library; and the times of its hops.

    ``others``: for an association through a chain, the times of the connections to the hops before the last.
    ``asker``: the pid and the name of the process that has asked, if it is not this one.
    """

    __slots__ = ("asker", "library", "others", "started", "thread", "time", "times")

    def __init__(self, thread: str | None, library: str | None) -> None:
        self.time = time()
        self.started = monotonic()
        self.thread = thread
        self.library = library
        self.asker: tuple[int, str] | None = None
        self.times = HandshakeTimes()
        self.others: list[HandshakeTimes] = []

    def next_times(self) -> HandshakeTimes:
        """Begin the times of one more connection of an association; the one before it is open."""
        self.others.append(HandshakeTimes())
        return self.others[-1]


class Log:
    """Writes this process's lines into the log of the run ``run`` at ``path``.

    ``by``: PATCH, BROKER or LAUNCHER. ``say``: prints a message for the user when lines are lost.
    ``program``: the name of the program, by default that of this process; the broker passes that of the
    confined program.
    """

    def __init__(
        self,
        path: str,
        run: str,
        by: str = PATCH,
        say: Callable[[str], None] = lambda text: None,
        program: str = "",
    ) -> None:
        self._writer = LineWriter(path, self._on_loss)
        self._run = run
        self._by = by
        self._say = say
        self._program = program
        self._pid = 0
        self._head = ""
        self._numbers = count(1)
        self._hops: dict[Proxy, str] = {}
        self._told: set[tuple[str, int, str, tuple[int, str] | None]] = set()
        # How many of the lost lines were reported by a line in the log.
        self._reported = 0

    def begin(self) -> Begun:
        """Note the moment, the thread and the library of a call that begins now."""
        if self._by == PATCH:
            return Begun(asker.thread(), asker.library())
        return Begun(None, None)

    # ------------------------------------------------------------ kinds

    def connection(
        self,
        begun: Begun,
        host: str,
        port: int,
        route: str,
        *,
        name: str | None = None,
        reason: str | None = None,
        chain: str | None = None,
        error: BaseException | None = None,
        result: str = "",
        local: str | None = None,
        remote: str | None = None,
        client: str | None = None,
    ) -> str:
        """Write that a TCP connection is open, or has failed with ``error``; return its id."""
        now = monotonic()
        times = begun.times
        hops = times.hops(now) if times.ways else ()
        number = f"{os.getpid()}-{next(self._numbers)}"
        result = result or (OK if error is None else FAILED)
        fields = (
            f'"id":"{number}","route":"{route}",'
            f'{_place(host, port)},"name":{or_null(name)},'
            f'"reason":{or_null(reason)},"chain":{or_null(chain)},"hops":{self._list(hops)},'
            f'"ways":{times.ways},"waited":{seconds(times.waited)},"seconds":{seconds(now - begun.started)},'
            f'"result":"{result}",{_failure(error)},'
            f'"client":{or_null(client)},"local":{or_null(local)},"remote":{or_null(remote)},'
            '"end":null,"sent":null,"received":null'
        )
        self._write("connection", begun, fields)
        return number

    def end(
        self,
        number: str,
        begun: Begun,
        sent: int,
        received: int,
        complete: bool | None,
        datagrams_sent: int | None = None,
        datagrams_received: int | None = None,
    ) -> None:
        """Write that the connection or association with the id ``number``, relayed here, has ended."""
        fields = (
            f'"id":{quoted(number)},"seconds":{seconds(monotonic() - begun.started)},'
            f'"sent":{sent},"received":{received},"complete":{encoded(complete)},'
            f'"datagrams_sent":{encoded(datagrams_sent)},"datagrams_received":{encoded(datagrams_received)}'
        )
        # The line has the time of the end.
        ended = Begun(None, None)
        ended.asker = begun.asker
        self._write("end", ended, fields)

    def association(
        self, begun: Begun, path: Path, error: BaseException | None = None, relay: str | None = None
    ) -> str:
        """Write that a UDP association through ``path`` is open, or has failed; return its id."""
        now = monotonic()
        times = begun.times
        # Each connection begins when the one before it is open.
        ends = [*(each.begun for each in begun.others), now]
        hops: Sequence[HopTimes] = times.hops(ends[0]) if times.ways else [(hop, {}) for hop in path]
        others = [
            self._list(each.hops(end)) for each, end in zip(begun.others, ends[1:], strict=True) if each.ways
        ]
        number = f"{os.getpid()}-{next(self._numbers)}"
        fields = (
            f'"id":"{number}","route":"{TUNNEL}","hops":{self._list(hops)},"others":[{",".join(others)}],'
            f'"ways":{times.ways},"waited":{seconds(times.waited)},"relay":{or_null(relay)},'
            f'"seconds":{seconds(now - begun.started)},"result":"{OK if error is None else FAILED}",'
            f'{_failure(error)},"end":null,"sent":null,"received":null'
        )
        self._write("association", begun, fields)
        return number

    def datagrams(
        self,
        host: str,
        port: int,
        route: str,
        reason: str | None,
        chain: str | None,
        begun: Begun | None = None,
    ) -> None:
        """Write that a process sends its first datagram to a destination; later ones are not written."""
        key = host, port, route, None if begun is None else begun.asker
        if key in self._told:
            return
        if len(self._told) >= _MOST:
            self._told.clear()
        self._told.add(key)
        fields = f'"route":"{route}",{_place(host, port)},"reason":{or_null(reason)},"chain":{or_null(chain)}'
        self._write("datagrams", begun or self.begin(), fields)

    def listener(
        self, place: str | None, route: str, path: Path = (), error: BaseException | None = None
    ) -> None:
        """Write that a socket listens at ``place``, here or on the last proxy of ``path``, or failed to."""
        fields = (
            f'"route":"{route}","place":{or_null(place)},'
            f'"hops":{self._list([(hop, {}) for hop in path])},'
            f'"result":"{OK if error is None else FAILED}",{_failure(error)}'
        )
        self._write("listener", self.begin(), fields)

    def accepted(self, host: str, port: int, path: Path) -> None:
        """Write that a peer has connected to a listener on the last proxy of ``path``."""
        fields = f'{_place(host, port)},"hops":{self._list([(hop, {}) for hop in path])}'
        self._write("accepted", self.begin(), fields)

    def name(
        self,
        begun: Begun,
        name: str,
        how: str,
        answers: Sequence[str],
        error: BaseException | None = None,
        *,
        reverse: bool = False,
    ) -> None:
        """Write that ``name`` was looked up; ``how``: the source of the answers.

        ``reverse``: whether ``name`` is an address whose names were looked up.
        """
        fields = (
            f'"name":{quoted(name)},"reverse":{encoded(reverse)},"how":"{how}","answers":{encoded(list(answers))},'
            f'"seconds":{seconds(monotonic() - begun.started)},"result":"{OK if error is None else FAILED}",'
            f"{_failure(error)}"
        )
        self._write("name", begun, fields)

    def refusal(
        self,
        host: str | None,
        port: int | None,
        protocol: str | None,
        number: int,
        why: str,
        begun: Begun | None = None,
    ) -> None:
        """Write that pysocksify refused a call, without asking a proxy. ``number``: the program's errno."""
        place = f'"host":{or_null(host)},"port":{"null" if port is None else port}'
        fields = f'{place},"protocol":{or_null(protocol)},"errno":"{_errno(number)}","error":{quoted(why)}'
        self._write("refusal", begun or self.begin(), fields)

    def run(self, version: str, confined: bool, chains: Sequence[tuple[str, str, Path]]) -> None:
        """Write that a run begins. ``chains``: name, type and proxies of each."""
        texts = [
            f'{{"name":{quoted(name)},"type":{quoted(kind)},'
            f'"proxies":[{",".join([quoted(_url(hop)) for hop in path])}]}}'
            for name, kind, path in chains
        ]
        fields = (
            f'"version":{quoted(version)},"confined":{"true" if confined else "false"},'
            f'"chains":[{",".join(texts)}]'
        )
        self._write("run", self.begin(), fields)

    # ------------------------------------------------------------ lines

    def close(self) -> None:
        """Write how many lines were lost, if the log can be written to again, and close it."""
        self._report_lost()
        self._writer.close()

    def _write(self, event: str, begun: Begun, fields: str) -> None:
        pid = os.getpid()
        if pid != self._pid:
            # The first line of this process, or of a forked child.
            self._pid = pid
            # The parent reports the lines that it has lost.
            self._reported = self._writer.lost
            self._head = self._head_of(pid, self._program or asker.program())
        head = self._head if begun.asker is None else self._head_of(*begun.asker)
        line = (
            f'{head}"{event}","time":{begun.time:.6f},"thread":{or_null(begun.thread)},'
            f'"library":{or_null(begun.library)},{fields}}}\n'
        )
        if self._writer.lost != self._reported:
            self._report_lost()
        longest = self._writer.longest
        if longest and len(line) > longest:
            line = _shortened(line)
        self._writer.write(line.encode("ascii"))

    def _head_of(self, pid: int, program: str) -> str:
        return (
            f'{{"v":{VERSION},"run":{quoted(self._run)},"by":"{self._by}",'
            f'"pid":{pid},"program":{quoted(program)},"event":'
        )

    def _report_lost(self) -> None:
        lost = self._writer.lost - self._reported
        if not lost or not self._head:
            return
        line = f'{self._head}"lost","time":{time():.6f},"thread":null,"library":null,"lines":{lost}}}\n'
        if self._writer.write(line.encode("ascii")):
            self._reported += lost
        else:
            # The loss of this line itself.
            self._reported += 1

    def _on_loss(self, error: OSError) -> None:
        self._say(f"warning: the log {self._writer.path} loses lines: {error.strerror}")
        # At the end, it may be possible to write how many.
        import atexit

        atexit.register(self._report_lost)

    def _list(self, hops: Sequence[HopTimes]) -> str:
        return f"[{','.join([self._hop(*hop) for hop in hops])}]"

    def _hop(self, hop: Proxy, phases: dict[str, float]) -> str:
        head = self._hops.get(hop)
        if head is None:
            head = self._hops[hop] = f'{{"proxy":{quoted(_url(hop))},'
        times = [f"{key}{phases[phase]:.6f}" if phase in phases else f"{key}null" for phase, key in _KEYS]
        return f"{head}{','.join(times)}}}"


def _url(hop: Proxy) -> str:
    # Without the username, which is a secret token for some proxies.
    return f"{hop.scheme}://{hop}"


def _place(host: str, port: int) -> str:
    return f'"host":{quoted(host)},"port":{port}'


def _errno(number: int) -> str:
    return errno.errorcode.get(number) or str(number)


def _failure(error: BaseException | None) -> str:
    if error is None:
        return '"errno":null,"error":null'
    number = getattr(error, "errno", None)
    # The number of a gaierror is no errno (EAI_NONAME is -2), and the program's own timeout has none.
    if isinstance(number, int):
        if type(error).__name__ == "herror":
            code = _HERRORS.get(number, str(number))
        else:
            code = _eai(number) if number < 0 else _errno(number)
    else:
        code = "ETIMEDOUT" if isinstance(error, TimeoutError) else type(error).__name__
    words = getattr(error, "strerror", None) or str(error)
    return f'"errno":{quoted(code)},"error":{quoted(words)}'


def _eai(number: int) -> str:
    import _socket

    names = (name for name in vars(_socket) if name.startswith("EAI_"))
    return next((name for name in names if getattr(_socket, name) == number), str(number))


def _shortened(line: str) -> str:
    """``line`` with its long texts and lists cut, for a pipe. It is rarely needed, so it imports ``json``."""
    import json

    value = json.loads(line)
    for key, each in value.items():
        if isinstance(each, str):
            value[key] = each[:_SHORT_TEXT]
        elif isinstance(each, list):
            value[key] = each[:_FEW]
    value["shortened"] = True
    return json.dumps(value) + "\n"
