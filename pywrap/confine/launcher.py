"""The two processes of a confined run: the program, in its namespaces, and the launcher, which is the broker.

The launcher forks. The child enters the namespaces, sets them up, makes the sockets, hands them to its parent
and becomes the program. The parent serves, and stands for the program before the process that started it:

* Both are in one process group, so the terminal's signals (Ctrl-C, Ctrl-Z, SIGWINCH, a hang-up) reach the
  program by themselves, and a pipeline stays one job. The launcher acts on none of these itself.
* Signals that another process sends to the launcher are passed on.
* The launcher stops when the program has stopped, and continues it when it is continued itself.
* It ends as the program ends: with its status, or by the same signal.
* The kernel kills the program when the launcher is killed: that is what killing an unconfined program by its
  process id does. Its descendants then have no network.
* Processes that the program leaves behind keep their network: a copy of the launcher goes on as the broker
  until the last of them has ended.
"""

from __future__ import annotations

# Without the enumerations of ``signal``, whose import takes 1 ms.
import _signal as signal  # type: ignore[import-not-found]
import errno
import os
import resource
import struct
import sys
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, SOL_SOCKET, socket, socketpair

from pywrap import archive
from pywrap.confine import kernel
from pywrap.confine.last_bytes import MOMENT, LastBytes
from pywrap.confine.left_behind import take_over
from pywrap.confine.processes import processes
from pywrap.errors import ConfigError
from pywrap.relay.loop import IN, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn

    from pywrap.config.settings import Settings
    from pywrap.confine.broker import Broker
    from pywrap.confine.publish import Publication

_SCM_RIGHTS = 1
_MOST_SOCKETS = 8

# What the launcher learns by its descriptor, instead of being interrupted or ended.
_SIGNALS = frozenset(
    {
        *(signal.SIGCHLD, signal.SIGCONT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
        *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2),
        *(signal.SIGALRM, signal.SIGWINCH, signal.SIGPIPE, signal.SIGPWR, signal.SIGIO),
    }
)
# Passed on when a process has sent them. What the terminal sends, it sends to the program as well.
_PASSED_ON = _SIGNALS - {signal.SIGCHLD, signal.SIGPIPE, signal.SIGTTIN, signal.SIGTTOU}
_FROM_KERNEL = 0x80  # SI_KERNEL


class CannotConfine(Exception):
    """This machine does not allow it, or not all of it; ``error`` is the kernel's word."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error.strerror or error))
        self.error = error


class CannotExecute(Exception):
    """The program cannot be executed; ``errno`` is that of execve(2)."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.errno = number


def run(
    settings: Settings,
    file: str,
    command: list[str],
    environment: Callable[[str], Mapping[str, str]],
    publications: Sequence[Publication] = (),
) -> NoReturn:
    """Execute ``command``, whose file is ``file``, in a confinement; end as it ends.

    ``environment(namespace)`` is the program's, ``namespace`` being what its ``/proc/self/ns/net`` says.
    ``settings`` are the broker's. ``publications``: servers inside that are reached from outside.

    Raises:
        CannotConfine: nothing was started.
        CannotExecute: likewise.
        ConfigError: the program would inherit a way out, or a port outside is not to be had.
    """
    places = _listen(publications)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    near, far = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        near.close()
        _become_program(far, settings, file, command, environment, must_wait=bool(places))
    far.close()

    # While the child sets itself up.
    archive.read("broker")
    from pywrap.confine.broker import Broker, allow_many_descriptors
    from pywrap.confine.inside_sockets import Sockets

    made, repeats, namespace = receive_sockets(near, pid)
    allow_many_descriptors()
    loop = Loop()
    broker = Broker(settings, Sockets(made), loop, repeats, pid, os.path.basename(file))
    if places:
        # While the child is still what it was: a process that executes a setuid program is not entered.
        from pywrap.confine.publish import Maker

        broker.publish(places, Maker(pid))
        near.send(b"go")
    said = near.recv(64)
    near.close()
    if said:
        _reap(pid)
        raise CannotExecute(int(said))
    _Launcher(loop, broker, pid, namespace).run()


def _listen(publications: Sequence[Publication]) -> list[tuple[socket, int]]:
    if not publications:
        return []
    from pywrap.confine.publish import listen

    return [(listen(each), each.inside) for each in publications]


# ---------------------------------------------------------------- in the child


def _become_program(
    channel: socket,
    settings: Settings,
    file: str,
    command: list[str],
    environment: Callable[[str], Mapping[str, str]],
    must_wait: bool,
) -> NoReturn:
    """``must_wait``: for the parent's word. Otherwise the program starts while the parent is still getting
    ready to serve: what it sends meanwhile waits in the sockets.
    """
    status = 125
    try:
        kernel.die_with_parent(signal.SIGKILL)
        if set_up(channel, settings) and (not must_wait or channel.recv(2) == b"go"):
            variables = dict(environment(os.readlink("/proc/self/ns/net")))
            # Python ignores these, and what is ignored stays so through an exec.
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, set())
            try:
                os.execve(file, command, variables)
            except OSError as err:
                channel.send(str(err.errno).encode())
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def set_up(channel: socket, settings: Settings) -> bool:
    """Take this process into namespaces of its own; hand the sockets, or what went wrong, to ``channel``."""
    try:
        _set_up(channel, settings)
    except ConfigError as err:
        channel.send(b"C" + f"{err}\0{err.hint}".encode())
    except OSError as err:
        channel.send(b"E" + f"{err.errno} {err.strerror}".encode())
    else:
        return True
    return False


def _set_up(channel: socket, settings: Settings) -> None:
    archive.read("namespaces")
    from pywrap.confine import inside_sockets, mounts, namespaces

    namespaces.refuse_foreign_sockets()
    port = namespaces.unprivileged_port()
    namespaces.enter()
    # Into a namespace of its own, the kernel forgets it.
    kernel.die_with_parent(signal.SIGKILL)
    ipv6 = namespaces.set_up(settings.timeout, port)
    mounts.set_up()
    made = inside_sockets.make(ipv6)
    namespaces.give_up_capabilities()
    numbers = [sock.fileno() for sock in made]
    repeats = os.path.exists(f"/proc/sys/net/ipv4/{namespaces.LINEAR}")
    rights = [(SOL_SOCKET, _SCM_RIGHTS, struct.pack(f"@{len(numbers)}i", *numbers))]
    channel.sendmsg([b"S" + bytes([repeats]) + os.readlink("/proc/self/ns/net").encode()], rights)
    for sock in made:
        sock.close()


# ---------------------------------------------------------------- in the launcher


def receive_sockets(channel: socket, pid: int) -> tuple[list[socket], bool, str]:
    """What ``set_up`` in the child ``pid`` hands out: sockets, whether SYNs are repeated, the namespace.

    Raises:
        CannotConfine, ConfigError: the child has ended with this.
    """
    data, extra, *_ = channel.recvmsg(4096, 256)
    if data[:1] == b"S":
        numbers = struct.unpack(f"@{len(extra[0][2]) // 4}i", extra[0][2])
        return [_adopted(number) for number in numbers], bool(data[1]), data[2:].decode()
    _reap(pid)
    if data[:1] == b"C":
        message, _, hint = data[1:].decode().partition("\0")
        raise ConfigError(message, hint)
    if data[:1] == b"E":
        number, _, text = data[1:].decode().partition(" ")
        raise CannotConfine(OSError(int(number), text))
    raise CannotConfine(OSError(errno.EIO, "the process that was to be confined has ended"))


def _adopted(number: int) -> socket:
    os.set_inheritable(number, False)
    return socket(fileno=number)


def _reap(pid: int) -> None:
    os.waitpid(pid, 0)


class _Launcher:
    """Serves until the program has ended, and longer if it leaves processes or unsent bytes behind."""

    def __init__(self, loop: Loop, broker: Broker, pid: int, namespace: str) -> None:
        self._loop = loop
        self._broker = broker
        self._pid = pid
        self._namespace = namespace
        self._status: int | None = None
        self._signals = kernel.signalfd({int(number) for number in _SIGNALS})
        loop.watch(self._signals, IN, self._on_signal)

    def run(self) -> NoReturn:
        # It may have ended, or stopped, before there was a descriptor to tell.
        self._look_at_program()
        self._loop.run()
        self._broker.close()
        assert self._status is not None, "the loop ends with the program"
        _leave_closing_to_a_child()
        _end_as(self._status)

    def _on_signal(self, events: int) -> None:
        try:
            data = os.read(self._signals, kernel.SIGINFO * 16)
        except BlockingIOError:
            return
        for start in range(0, len(data), kernel.SIGINFO):
            number, _, code, sender = struct.unpack_from("=IiiI", data, start)
            if number == signal.SIGCHLD:
                self._look_at_program()
            elif number == signal.SIGCONT:
                # Continued, by any process: so is the program.
                self._tell(signal.SIGCONT)
            elif code != _FROM_KERNEL and number in _PASSED_ON and sender != self._pid:
                self._tell(number)

    def _look_at_program(self) -> None:
        while self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if not pid:
                return
            if os.WIFSTOPPED(status):
                self._stop_too(os.WSTOPSIG(status))
            elif not os.WIFCONTINUED(status):
                self._status = status
                self._program_has_ended(status)

    def _program_has_ended(self, status: int) -> None:
        if set(processes(self._namespace)).difference(self._broker.helpers):
            self._leave_a_copy(status)
        else:
            LastBytes(
                self._loop,
                self._broker,
                MOMENT,
                sent=self._loop.stop,
                late=lambda: self._leave_a_copy(status),
                extends=False,
            )

    def _leave_a_copy(self, status: int) -> None:
        """End as the program has; a copy of this process goes on with what is still to be done."""
        if os.fork():
            _end_as(status)
        self._status = 0
        self._loop.unwatch(self._signals)
        take_over(self._loop, self._broker, self._namespace)

    def _stop_too(self, number: int) -> None:
        """The program has stopped: so does its job, as the shell that started it sees it."""
        if number not in (signal.SIGTSTP, signal.SIGSTOP, signal.SIGTTIN, signal.SIGTTOU):
            return
        # Not by the others: they are blocked here.
        os.kill(os.getpid(), signal.SIGSTOP)
        # Here it is continued, and the descriptor tells of SIGCONT.

    def _tell(self, number: int) -> None:
        if self._status is None:
            os.kill(self._pid, number)


def _leave_closing_to_a_child() -> None:
    """The last close of a packet socket takes 12 ms (packet_release(), an RCU grace period): wait not for it.

    A child that holds it until this process has ended pays for that, and nothing waits for the child.
    """
    read, write = os.pipe()
    if os.fork():
        return
    try:
        os.setsid()
        # The caller's output ends with this process, and not with the child.
        os.closerange(0, 3)
        os.close(write)
        os.read(read, 1)
    finally:
        os._exit(0)


def _end_as(status: int) -> NoReturn:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        # The program's core, if any, is there already.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(number, signal.SIG_DFL) if number not in (signal.SIGKILL, signal.SIGSTOP) else None
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
