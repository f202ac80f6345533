"""The two processes of a confined run: the program, in its namespaces, and the launcher, which is the broker.

The launcher forks. The child enters the namespaces, sets them up, makes the sockets, hands them to its parent
and becomes the program. The parent serves (``broker``), and behaves like the program towards the process that
started it (``supervisor``).

After the fork, each of the two imports the modules that only it needs, so that they do so at the same time.
"""

from __future__ import annotations

# Without the enumerations of ``signal``, whose import takes 1 ms.
import _signal as signal  # type: ignore[import-not-found]
import errno
import gc
import os
import struct
import sys
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, SOL_SOCKET, socket, socketpair

from pywrap import archive
from pywrap.config.config_error import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn

    from pywrap.config.settings import Settings
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
    # What the start makes is kept. A collection would only copy the pages that the two share.
    gc.disable()
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
    from pywrap.confine.supervisor import Supervisor
    from pywrap.relay.loop import Loop

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
    gc.enable()
    Supervisor(loop, broker, pid, namespace, _SIGNALS).run()


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
        archive.read("namespaces")
        from pywrap.confine import kernel

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
    from pywrap.confine import inside_sockets, kernel, mounts, namespaces

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
