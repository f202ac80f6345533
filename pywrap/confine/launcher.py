"""The two processes of a confined run: the program, in its namespaces, and the launcher, which is the broker.

The launcher forks. The child enters the namespaces, sets them up, makes the sockets, hands them to its parent
and becomes the program. The parent serves, and behaves like the program towards the process that started it:

* Both are in one process group, so the terminal's signals (Ctrl-C, Ctrl-Z, SIGWINCH, a hang-up) reach the
  program by themselves, and a pipeline stays one job. The launcher acts on none of these itself.
* Signals that another process sends to the launcher are passed on.
* The launcher stops when the program has stopped, and continues it when it is continued itself.
* It ends as the program ends: with its status, or by the same signal.
* When the launcher is killed, the kernel kills the program, so that a SIGKILL to the pid that the caller
  knows ends the program. Its descendants then have no network.
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

# Signals that the launcher reads from a descriptor (signalfd(2)), instead of being interrupted or ended by
# them.
_SIGNALS = frozenset(
    {
        *(signal.SIGCHLD, signal.SIGCONT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
        *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2),
        *(signal.SIGALRM, signal.SIGWINCH, signal.SIGPIPE, signal.SIGPWR, signal.SIGIO),
    }
)
# Signals that are passed on to the program when a process has sent them; the terminal sends its own to both.
_PASSED_ON = _SIGNALS - {signal.SIGCHLD, signal.SIGPIPE, signal.SIGTTIN, signal.SIGTTOU}
_FROM_KERNEL = 0x80  # SI_KERNEL


class CannotConfine(Exception):
    """This machine does not allow a confinement; ``error``: that of the kernel."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error.strerror or error))
        self.error = error


class CannotExecute(Exception):
    """The program cannot be executed; ``errno``: that of execve(2)."""

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

    ``environment(namespace)``: the environment of the program; ``namespace``: the target of its
    ``/proc/self/ns/net``. ``settings``: those of the broker. ``publications``: servers inside that are
    reached from outside.

    Raises:
        CannotConfine, CannotExecute: nothing was started.
        ConfigError: the program would inherit a socket of the network outside, or a port outside is not free.
    """
    places = _listen(publications)
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    near, far = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        near.close()
        _become_program(far, settings, file, command, environment, must_wait=bool(places))
    far.close()

    # Read here, while the child sets itself up.
    archive.read("broker")
    from pywrap.confine.broker import Broker, allow_many_descriptors
    from pywrap.confine.inside_sockets import Sockets

    made, repeats, namespace = receive_sockets(near, pid)
    allow_many_descriptors()
    loop = Loop()
    broker = Broker(settings, Sockets(made), loop, repeats, pid, os.path.basename(file))
    if places:
        # Before the child executes the program: the namespaces of a process that has executed a setuid
        # program cannot be entered.
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
    """Set up the namespaces, and execute the program in them.

    ``must_wait``: whether to wait for a byte of the parent before the exec. Without it, the program starts
    while the parent is still getting ready to serve: its packets wait in the sockets meanwhile.
    """
    status = 125
    try:
        kernel.die_with_parent(signal.SIGKILL)
        if set_up(channel, settings) and (not must_wait or channel.recv(2) == b"go"):
            variables = dict(environment(os.readlink("/proc/self/ns/net")))
            # Python ignores these signals, and an ignored signal stays ignored through an exec.
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
    """Take this process into namespaces of its own; send the sockets, or the error, to ``channel``.

    Return whether it succeeded.
    """
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
    # Set again: the kernel forgets it when a process enters a user namespace.
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
    """The message of ``set_up`` in the child ``pid``: sockets, whether SYNs are repeated, the namespace.

    Raises:
        CannotConfine, ConfigError: the child has ended with this error.
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
        # The program may have ended, or stopped, before the descriptor for signals was made.
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
                # A process has continued the launcher, so the program is continued too.
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
        """End as the program has; a copy of this process goes on as the broker of what is left."""
        if os.fork():
            _end_as(status)
        self._status = 0
        self._loop.unwatch(self._signals)
        take_over(self._loop, self._broker, self._namespace)

    def _stop_too(self, number: int) -> None:
        """Stop as the program has, so that the shell that started it sees a stopped job."""
        if number not in (signal.SIGTSTP, signal.SIGSTOP, signal.SIGTTIN, signal.SIGTTOU):
            return
        # By SIGSTOP, since the other stop signals are blocked here.
        os.kill(os.getpid(), signal.SIGSTOP)
        # It goes on here when it is continued; the descriptor then reports SIGCONT.

    def _tell(self, number: int) -> None:
        if self._status is None:
            os.kill(self._pid, number)


def _leave_closing_to_a_child() -> None:
    """Let a child close the packet socket, whose last close takes 12 ms (packet_release(), an RCU wait).

    The child holds the socket until this process has ended, and no process waits for the child.
    """
    read, write = os.pipe()
    if os.fork():
        return
    try:
        os.setsid()
        # Closed, so that a reader of the caller's output sees its end with this process, not with the child.
        os.closerange(0, 3)
        os.close(write)
        os.read(read, 1)
    finally:
        os._exit(0)


def _end_as(status: int) -> NoReturn:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        # No core dump of the launcher: the program has made its own, if any.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(number, signal.SIG_DFL) if number not in (signal.SIGKILL, signal.SIGSTOP) else None
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
