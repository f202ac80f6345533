"""The broker of children: one confinement for all children of a run that are not Python.

The first such child starts the broker (``pywrap.launch.joiner``). The broker is no child of the run, has
neither its terminal nor its descriptors, and makes namespaces in which no process is yet. A process that asks
at the broker's Unix socket gets descriptors of the namespaces, and enters them by itself (setns(2)).

The broker stays while there is a process inside, or one that has started such children; and a moment longer,
since a child between its start and its entry is neither.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import struct
import subprocess
import sys
from _socket import (
    AF_UNIX,
    SO_PEERCRED,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socket,
    socketpair,
)

from pywrap.config.config_error import ConfigError
from pywrap.confine import namespaces, notes
from pywrap.confine.broker import Broker, allow_many_descriptors
from pywrap.confine.inside_sockets import Sockets
from pywrap.confine.last_bytes import PATIENCE, LastBytes
from pywrap.confine.launcher import CannotConfine, receive_sockets, set_up
from pywrap.confine.processes import processes
from pywrap.confine.publish import Maker, Publication, listen
from pywrap.confine.remedies import explain
from pywrap.programs.joining import BECOME, FOLDER, LOOK, Note
from pywrap.relay.loop import IN, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pywrap.config.settings import Settings
    from pywrap.confine.publish import Published

_SCM_RIGHTS = 1
_BACKLOG = 128
# Seconds that the broker stays without a process to stay for.
_GRACE = 2.0


def serve(settings: Settings, address: bytes, run: str, owner: int, ready: int) -> None:
    """Serve the children of ``run`` at the abstract ``address`` until there are none.

    ``owner``: a process for which to stay. ``ready``: a descriptor to close when connections are accepted, or
    when another process does that.
    """
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as err:
        if err.errno == errno.EADDRINUSE:
            # Another broker of this run was started before.
            return
        raise
    os.set_inheritable(ready, False)
    _leave(ready)
    os.close(ready)
    allow_many_descriptors()
    loop = Loop()
    try:
        inside = _Inside(settings, loop)
    except (CannotConfine, ConfigError) as err:
        _Refusal(loop, listener, run, owner, *_why(err)).run()
        return
    _turn_stderr(settings.verbosity, owner)
    servers = _Servers(loop, inside) if settings.loopback == "direct" else None
    _Service(loop, listener, inside, servers, run, owner).run()


def _leave(ready: int) -> None:
    """Give up the descriptors, the folder and the signal settings of the process that started this one."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    kept = {null, ready, 2}
    for name in os.listdir("/proc/self/fd"):
        # Descriptors that are not inheritable are Python's own.
        if int(name) > 2 and int(name) not in kept and _is_inheritable(int(name)):
            os.close(int(name))
    os.close(null)
    os.chdir("/")
    # Signals that the program ignores are still ignored here.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        # The descriptor by which the folder was listed.
        return False


def _turn_stderr(verbosity: int, owner: int) -> None:
    """Turn stderr to that of the process ``owner``, if messages may come; a child's may be a pipe."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        fd = os.open(f"/proc/{owner}/fd/2", os.O_WRONLY | os.O_APPEND) if verbosity >= 1 else null
    except OSError:
        # The stderr is a socket, or the owner has ended.
        fd = null
    os.dup2(fd, 2)
    for each in {fd, null}:
        os.close(each)


def _why(err: CannotConfine | ConfigError) -> tuple[str, str]:
    return explain(err.error) if isinstance(err, CannotConfine) else (str(err), err.hint)


class _Inside:
    """The namespaces, with the broker that serves the processes in them.

    ``maker``: makes sockets inside. ``names``: by the name of each namespace that is not this process's own,
    a descriptor of it. ``namespace``: the target of ``/proc/PID/ns/net`` inside.
    """

    def __init__(self, settings: Settings, loop: Loop) -> None:
        near, far = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            near.close()
            _make(far, settings)
        far.close()
        made, repeats, self.namespace = receive_sockets(near, pid)
        self.names = {
            name: os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC)
            for name in ("user", "net", "mnt")
            if os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")
        }
        self.maker = Maker(pid)
        near.close()
        os.waitpid(pid, 0)
        self.broker = Broker(settings, Sockets(made), loop, repeats, self.maker.pid)
        self.broker.publish([], self.maker)

    @property
    def processes(self) -> set[int]:
        return set(processes(self.namespace, self.broker.helpers))


def _make(channel: socket, settings: Settings) -> NoReturn:
    """In a child: make the namespaces, and wait until the parent has descriptors of them."""
    status = 1
    try:
        if set_up(channel, settings):
            channel.recv(1)
            status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


class _Servers:
    """Makes servers of children on loopback reachable from outside, as if they were not confined.

    The kernel does not report new listeners: they are looked for now and then, and when a program of the run
    is about to connect to this machine.
    """

    def __init__(self, loop: Loop, inside: _Inside) -> None:
        self._loop = loop
        self._inside = inside
        self._published: dict[tuple[str, int], Published] = {}
        self._look_again()

    def look(self) -> None:
        """Publish servers that are new; end the publication of those that are gone."""
        wanted = {
            (host, port)
            for address, port in self._inside.broker.servers()
            for host in _HOSTS.get(address, ())
        }
        for place in set(self._published) - wanted:
            self._published.pop(place).close()
        for host, port in wanted - set(self._published):
            try:
                listener = listen(Publication(host, port, port))
            except ConfigError:
                # Another program has the port outside.
                continue
            broker, maker = self._inside.broker, self._inside.maker
            self._published[host, port] = broker.publish_server(listener, port, maker)

    def _look_again(self) -> None:
        self.look()
        self._loop.after(_INTERVAL, self._look_again)


_INTERVAL = 0.25
# By the address at which a server inside listens: the addresses outside.
_HOSTS = {
    bytes([127, 0, 0, 1]): ("127.0.0.1",),
    bytes(4): ("127.0.0.1",),
    bytes(15) + b"\1": ("::1",),
    bytes(16): ("::1", "127.0.0.1"),
}


class _Requests:
    """Accepts connections at ``listener``, and calls ``answer`` for each request."""

    def __init__(self, loop: Loop, listener: socket) -> None:
        self.loop = loop
        self.listener = listener
        loop.watch(listener.fileno(), IN, self._accept)

    def answer(self, sock: socket, pid: int, owner: int) -> None:
        """Answer the process ``pid``; ``owner``: the process for which the broker has to stay."""
        raise NotImplementedError

    def look(self) -> None:
        """Look for servers inside."""

    def _accept(self, events: int) -> None:
        try:
            fd, _ = self.listener._accept()  # type: ignore[attr-defined]
        except OSError:
            # The process has given up; or no descriptor is left, and the connection stays in the queue.
            return
        sock = socket(AF_UNIX, SOCK_SEQPACKET, 0, fd)
        sock.setblocking(False)
        pid, user, _ = struct.unpack("@iII", sock.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))
        if user == os.geteuid():
            self.loop.watch(fd, IN, lambda events: self._read(sock, pid))
        else:
            sock.close()

    def _read(self, sock: socket, pid: int) -> None:
        try:
            text = sock.recv(64)
            if text == LOOK:
                self.look()
                sock.send(text)
            elif text.isdigit():
                self.answer(sock, pid, int(text))
        except OSError:
            # The process has ended.
            pass
        self.loop.close(sock)


class _Refusal(_Requests):
    """Answers requests with the reason why there is no confinement, and leaves a note with it."""

    def __init__(self, loop: Loop, listener: socket, run: str, owner: int, cause: str, remedy: str) -> None:
        super().__init__(loop, listener)
        self._text = b"N" + f"{cause}\0{remedy}".encode()
        if owner:
            notes.write(run, Note((), cause=cause, remedy=remedy), owner)

    def run(self) -> None:
        self.loop.after(_GRACE, self.loop.stop)
        self.loop.run()

    def answer(self, sock: socket, pid: int, owner: int) -> None:
        sock.send(self._text)


class _Service(_Requests):
    """Hands out the namespaces while there are processes to stay for."""

    def __init__(
        self, loop: Loop, listener: socket, inside: _Inside, servers: _Servers | None, run: str, owner: int
    ) -> None:
        super().__init__(loop, listener)
        self._servers = servers
        self._inside = inside
        self._run = run
        self._note = ""
        # The processes to stay for, by pidfds, which become readable at their ends.
        self._watched: dict[int, int] = {}
        self._write_note()
        self._stay_for(owner)
        self._consider()

    def run(self) -> None:
        self.loop.run()
        self._inside.broker.close()

    def look(self) -> None:
        if self._servers is not None:
            self._servers.look()

    def answer(self, sock: socket, pid: int, owner: int) -> None:
        numbers = list(self._inside.names.values())
        rights = [(SOL_SOCKET, _SCM_RIGHTS, struct.pack(f"@{len(numbers)}i", *numbers))]
        self._stay_for(pid)
        self._stay_for(owner)
        sock.sendmsg([b"Y" + self._inside.namespace.encode()], rights)

    def _stay_for(self, pid: int) -> None:
        if not pid or pid in self._watched.values():
            return
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            # The process has ended.
            return
        self._watched[fd] = pid
        self.loop.watch(fd, IN, lambda events: self._ended(fd))

    def _ended(self, fd: int) -> None:
        self.loop.unwatch(fd)
        del self._watched[fd]
        os.close(fd)
        self._consider()

    def _consider(self) -> None:
        """Go on while there are processes inside; else end, after a while."""
        if self._watched:
            return
        for pid in self._inside.processes:
            self._stay_for(pid)
        if not self._watched:
            notes.remove(self._note)
            self.loop.after(_GRACE, self._end)

    def _end(self) -> None:
        """End, since no process was inside for a while, once the last bytes are sent."""
        if not self._is_needed_again():
            LastBytes(
                self.loop, self._inside.broker, PATIENCE, sent=self._end_at_last, late=self._end_at_last
            )

    def _end_at_last(self) -> None:
        if not self._is_needed_again():
            self.loop.stop()

    def _is_needed_again(self) -> bool:
        """Whether there are processes to stay for; if so, go on for them."""
        if not self._watched and not self._inside.processes:
            return False
        self._write_note()
        self._consider()
        return True

    def _write_note(self) -> None:
        link = f"/proc/{os.getpid()}/fd/{self._inside.names['net']}"
        note = Note(_words(self._inside.names), self._inside.namespace, link)
        try:
            self._note = notes.write(self._run, note, os.getpid())
        except OSError:
            # Without a note every child takes the slower way (``pywrap.launch.join``).
            self._note = ""


_OPTIONS = {"user": "--user", "net": "--net", "mnt": "--mount"}


def _words(names: dict[str, int]) -> tuple[str, ...]:
    """The words of a command by which nsenter(1) enters the namespaces; () where it cannot do all of it."""
    enter = shutil.which("nsenter")
    if enter is None or not _can(enter, "--wdns", "--preserve-credentials"):
        return ()
    words = [f"{_OPTIONS[name]}=/proc/{os.getpid()}/fd/{fd}" for name, fd in names.items()]
    words.append(f"--wdns={FOLDER}")
    if "user" in names:
        words.append("--preserve-credentials")
    if os.geteuid() != 0:
        return (enter, *words, "--")
    drop = shutil.which("setpriv")
    if drop is None or not _can(drop, "--bounding-set"):
        return ()
    return (enter, *words, "--", drop, "--bounding-set", namespaces.given_up(), BECOME, "--")


def _can(program: str, *options: str) -> bool:
    """Whether ``program`` has these options: the one of Busybox lacks some."""
    said = subprocess.run([program, "--help"], capture_output=True, text=True).stdout
    return all(option in said for option in options)
