"""The work of ``join.py``: finds or starts the broker of the run, enters its namespaces, executes a child."""

from __future__ import annotations

import os
import signal
import struct
import sys
from _socket import AF_UNIX, SO_PEERCRED, SOCK_CLOEXEC, SOCK_SEQPACKET, SOL_SOCKET, socket

from pywrap.config.settings_env import CONFINED, VARIABLE
from pywrap.launch.settings_file import text_of
from pywrap.programs import joining

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from pywrap.programs.joining import Joining

_SCM_RIGHTS = 1
# How many times a broker is started. A broker ends at once if another process has started one before, and
# that one may have ended when it is asked.
_ATTEMPTS = 5
_CANNOT_RUN, _NOT_FOUND, _REFUSED = 126, 127, 126


class NoConfinement(Exception):
    """This machine does not allow a confinement; the text has the cause and the remedy."""


def join(word: str, file: str, argv: Sequence[str]) -> NoReturn:
    """Execute ``file`` with ``argv`` in the confinement of the run in ``word``, the text of a ``Joining``."""
    told = joining.decode(word)
    variables = _environment()
    try:
        namespace = _enter(told)
        variables[os.fsencode(CONFINED)] = os.fsencode(namespace)
    except NoConfinement as err:
        cause, remedy = err.args
        if told.must:
            _end(f"error: `{file}` not started: it cannot be confined: {cause}\nhint: {remedy}", _REFUSED)
        _say(
            f"warning: `{file}` is not Python: what it sends leaves directly, unseen "
            f"(it cannot be confined: {cause})\nhint: {remedy}"
        )
    except (OSError, RuntimeError, EOFError) as err:
        _end(f"error: `{file}` not started: {err}", _REFUSED)
    if not told.ignores:
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
    try:
        _become(told)
        os.execve(file, list(argv), variables)
    except OSError as err:
        status = _NOT_FOUND if isinstance(err, FileNotFoundError) else _CANNOT_RUN
        _end(f"error: cannot run {file}: {err.strerror}", status)


def _environment() -> dict[bytes, bytes]:
    """The environment as this process was executed: in some locales Python adds LC_CTYPE to its own."""
    with open("/proc/self/environ", "rb") as file:
        rows = [row.partition(b"=") for row in file.read().split(b"\0") if b"=" in row]
    return {name: value for name, _, value in rows}


def _enter(told: Joining) -> str:
    """Enter the namespaces of the run; return the name of the network namespace (``/proc/PID/ns/net``).

    Raises:
        NoConfinement: this machine allows none.
    """
    from pywrap.confine import kernel, namespaces

    answer, rights = _ask(told)
    try:
        if not rights:
            cause, remedy = answer[1:].decode().split("\0")
            raise NoConfinement(cause, remedy)
        try:
            folder = os.getcwd()
        except FileNotFoundError:
            folder = ""
        # When a process enters a user namespace, the kernel forgets this setting of it (PR_SET_PDEATHSIG).
        death = kernel.signal_of_parent()
        for fd in rights:
            kernel.enter(fd)
        namespaces.give_up_capabilities()
        if death:
            kernel.die_with_parent(death)
        if folder:
            os.chdir(folder)
    finally:
        for fd in rights:
            os.close(fd)
    return answer[1:].decode()


def _become(told: Joining) -> None:
    if told.groups is not None:
        os.setgroups(told.groups)
    if told.group is not None:
        os.setregid(told.group, told.group)
    if told.user is not None:
        os.setreuid(told.user, told.user)


# ---------------------------------------------------------------- the broker


def _ask(told: Joining) -> tuple[bytes, list[int]]:
    """The broker's answer and the descriptors with it."""
    for _ in range(_ATTEMPTS):
        sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        try:
            sock.connect(joining.address(told.run))
        except ConnectionRefusedError:
            sock.close()
            _start_broker(told.run, told.owner)
            continue
        if _owner(sock) != os.geteuid():
            raise PermissionError(1, "the broker of the run is another user's")
        sock.send(str(told.owner).encode())
        data, extra, *_ = sock.recvmsg(4096, 256)
        sock.close()
        if data:
            numbers = struct.unpack(f"@{len(extra[0][2]) // 4}i", extra[0][2]) if extra else ()
            for number in numbers:
                os.set_inheritable(number, False)
            return data, list(numbers)
    raise EOFError("the process that is to carry its traffic has ended")


def _owner(sock: socket) -> int:
    """The user id of the process at the other end."""
    return int(struct.unpack("@iII", sock.getsockopt(SOL_SOCKET, SO_PEERCRED, 12))[1])


def _start_broker(run: str, owner: int) -> None:
    """Start a broker, and wait until it accepts connections, or has found that another one does."""
    value = os.environ.get(VARIABLE)
    if not value:
        raise RuntimeError(f"{VARIABLE} is not set")
    text = text_of(value).encode("ascii")
    # This process may have inherited SIGCHLD as ignored: then waitpid(2) would find no process to wait for.
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ready, tell = os.pipe()
    settings, give = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            if os.fork() == 0:
                os.dup2(settings, 0)
                os.set_inheritable(tell, True)
                # Without our variable, whose path keeps a file with passwords in use (``launch.secrets``).
                variables = {name: each for name, each in os.environ.items() if name != VARIABLE}
                words = [sys.executable, *joining.ALONE, joining.BROKER, run, str(owner), str(tell)]
                os.execve(sys.executable, words, variables)
        finally:
            os._exit(1)
    os.close(tell)
    os.close(settings)
    try:
        # Settings that do not fit into a pipe are written as the broker reads them.
        with open(give, "wb") as file:
            file.write(text)
    except BrokenPipeError:
        # The broker has ended, which the end of the other pipe shows below.
        pass
    os.waitpid(child, 0)
    signal.signal(signal.SIGCHLD, before)
    os.read(ready, 1)
    os.close(ready)


def _say(text: str) -> None:
    os.write(2, f"pysocksify: {text}\n".encode("utf-8", "backslashreplace"))


def _end(text: str, status: int) -> NoReturn:
    _say(text)
    os._exit(status)
