"""The broker of children: one confinement for all programs that are not Python and that a run starts.

The first of them starts it (``pywrap.launch.joiner``), in whichever process of the run. The broker is no
child of the run, has neither its terminal nor its descriptors, and makes namespaces in which there is nothing
yet. A process that asks at its Unix socket gets descriptors of these, and enters them by itself (setns(2)).

It stays while one of the processes is there that have started such children, or a process inside; and a
moment longer, since a child between its start and its entry is neither.
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

from pywrap.confine import namespaces, notes
from pywrap.confine.broker import Broker, allow_many_descriptors
from pywrap.confine.inside_sockets import Sockets
from pywrap.confine.last_bytes import PATIENCE, LastBytes
from pywrap.confine.launcher import CannotConfine, receive_sockets, set_up
from pywrap.confine.processes import processes
from pywrap.confine.publish import Maker, Publication, listen
from pywrap.confine.remedies import explain
from pywrap.errors import ConfigError
from pywrap.programs.joining import BECOME, FOLDER, LOOK, Note
from pywrap.relay.loop import IN, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pywrap.config.settings import Settings
    from pywrap.confine.publish import Published

_SCM_RIGHTS = 1
_BACKLOG = 128
# Seconds that it stays without a process to stay for.
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
            # Another one was faster.
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
    """Leave what the process that started this one has: descriptors, folder, signals."""
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):
        os.dup2(null, fd)
    kept = {null, ready, 2}
    for name in os.listdir("/proc/self/fd"):
        # The others are Python's own, and not inheritable.
        if int(name) > 2 and int(name) not in kept and _is_inheritable(int(name)):
            os.close(int(name))
    os.close(null)
    os.chdir("/")
    # What the program ignores is still ignored here.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())


def _is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        # That of the listing itself.
        return False


def _turn_stderr(verbosity: int, owner: int) -> None:
    """To where the program's messages go, if there will be any; the child's may be a pipe of its own."""
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        fd = os.open(f"/proc/{owner}/fd/2", os.O_WRONLY | os.O_APPEND) if verbosity >= 1 else null
    except OSError:
        # A socket, or the owner has ended.
        fd = null
    os.dup2(fd, 2)
    for each in {fd, null}:
        os.close(each)


def _why(err: CannotConfine | ConfigError) -> tuple[str, str]:
    return explain(err.error) if isinstance(err, CannotConfine) else (str(err), err.hint)


class _Inside:
    """The namespaces, with the broker that serves what is in there.

    ``maker``: makes sockets inside. ``names``: of each namespace that is not this process's own, with a
    descriptor. ``namespace``: what identifies them.
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
    """In a child: make the namespaces, and wait until they are held."""
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
    """What children listen at on loopback is reached there from outside too, as if they were not confined.

    Nothing tells of a new listener: they are looked for now and then, and when a program of the run is about
    to connect to this machine.
    """

    def __init__(self, loop: Loop, inside: _Inside) -> None:
        self._loop = loop
        self._inside = inside
        self._published: dict[tuple[str, int], Published] = {}
        self._look_again()

    def look(self) -> None:
        """Publish those that are new; end those that are gone."""
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
# By the address inside, those outside.
_HOSTS = {
    bytes([127, 0, 0, 1]): ("127.0.0.1",),
    bytes(4): ("127.0.0.1",),
    bytes(15) + b"\1": ("::1",),
    bytes(16): ("::1", "127.0.0.1"),
}


class _Requests:
    """Accepts connections at ``listener``, and calls ``asked`` for each, with the process it stays for."""

    def __init__(self, loop: Loop, listener: socket) -> None:
        self.loop = loop
        self.listener = listener
        loop.watch(listener.fileno(), IN, self._accept)

    def answer(self, sock: socket, pid: int, owner: int) -> None:
        """Answer the process ``pid``."""
        raise NotImplementedError

    def look(self) -> None:
        """Look for servers inside."""

    def _accept(self, events: int) -> None:
        try:
            fd, _ = self.listener._accept()  # type: ignore[attr-defined]
        except OSError:
            # It has given up, or no descriptor is left: then it is still in the queue.
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
            # It has ended.
            pass
        self.loop.close(sock)


class _Refusal(_Requests):
    """Tells processes that ask that there is no confinement, and leaves a note that says so."""

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
        # Descriptors of the processes to stay for, each of which tells of its end.
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
            # It has ended.
            return
        self._watched[fd] = pid
        self.loop.watch(fd, IN, lambda events: self._ended(fd))

    def _ended(self, fd: int) -> None:
        self.loop.unwatch(fd)
        del self._watched[fd]
        os.close(fd)
        self._consider()

    def _consider(self) -> None:
        """Go on for what is inside; else end, after a while."""
        if self._watched:
            return
        for pid in self._inside.processes:
            self._stay_for(pid)
        if not self._watched:
            notes.remove(self._note)
            self.loop.after(_GRACE, self._end)

    def _end(self) -> None:
        """Nothing was inside for a while: end, once all is sent that it has sent."""
        if not self._is_needed_again():
            LastBytes(
                self.loop, self._inside.broker, PATIENCE, sent=self._end_at_last, late=self._end_at_last
            )

    def _end_at_last(self) -> None:
        if not self._is_needed_again():
            self.loop.stop()

    def _is_needed_again(self) -> bool:
        """Tell whether there are processes to stay for, and go on for them."""
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
            # Without it every child takes the longer way.
            self._note = ""


_OPTIONS = {"user": "--user", "net": "--net", "mnt": "--mount"}


def _words(names: dict[str, int]) -> tuple[str, ...]:
    """The words by which nsenter(1) enters; () where it cannot do all of it."""
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
    """Does ``program`` have these options? That of Busybox has not."""
    said = subprocess.run([program, "--help"], capture_output=True, text=True).stdout
    return all(option in said for option in options)
