"""Keeps settings with a password out of the environment, in a file that only the user can read.

The environment has ``file=PATH`` instead. Other places would not do. Descriptors are closed in children by
``subprocess``; a path below the program's /proc ends with the program, while children that it leaves behind
still start Pythons; and the kernel's keyrings are forbidden in containers, and need ctypes in the target.

The file is in a folder of the user, in memory if possible ($XDG_RUNTIME_DIR, /dev/shm). Its name contains the
pid of its owner: the process that becomes the program, or the session leader of a wrapped shell. It is
removed when the owner has ended and no process has its path in the environment. The first Python of the run
does that at its exit; files that are left (children outlive it, or it gets a SIGKILL) are removed by the next
start.

A child that has changed its user cannot read the file, and a child in a container may not see it: Python then
refuses to start (``bootstrap``).
"""

from __future__ import annotations

import os

from pywrap.launch.settings_file import PREFIX
from pywrap.programs.private_folder import private_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The prefix of the file of a wrapped shell, which is kept until the shell is unwrapped or ends.
_OF_SHELL = "shell-"


def store(text: str, owner: int, environ: Mapping[str, str]) -> str:
    """Write ``text`` to a file for the process ``owner``; return ``file=PATH``.

    Raises:
        OSError: there is no folder that only this user can change.
    """
    folder = _folder(environ)
    _sweep(folder)
    kind = "" if owner == os.getpid() else _OF_SHELL
    path = f"{folder}/{kind}{owner}-{_start(owner)}-{os.urandom(8).hex()}"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="ascii") as file:
        file.write(text)
    return PREFIX + path


def discard(value: str) -> None:
    """At the exit of a process: remove the file that ``value`` names, if no other process needs it.

    Only the owner of the file does that, or the Python that the owner, a wrapper (``timeout``, ``sudo``), has
    started; and only while no other process has its path in the environment.
    """
    path = value.removeprefix(PREFIX)
    if path != value and not path.rpartition("/")[2].startswith(_OF_SHELL):
        owner, start = _owner(path)
        wrappers = _up_to(owner) if start and start == _start(owner) else None
        if wrappers is not None:
            _remove_unused([path], wrappers)


def take_back(value: str) -> None:
    """Remove the file that ``value`` names, if any, unless a process has its path in the environment."""
    path = value.removeprefix(PREFIX)
    if path != value:
        _remove_unused([path])


def _up_to(owner: int) -> set[int] | None:
    """The pids of this process and its parents up to ``owner``.

    None: ``owner`` is no ancestor of this process, or one in between is a Python.
    """
    pid = os.getpid()
    found = {pid}
    while pid != owner:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
            if pid <= 1 or os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith("python"):
                return None
        except OSError:
            # The parent has just ended, or is of another user (sudo), which cannot read the file either.
            return None
        found.add(pid)
    return found


def _sweep(folder: str) -> None:
    """Remove the files whose owners have ended."""
    paths = (f"{folder}/{name}" for name in os.listdir(folder))
    # Only files of this PID namespace: the folder may be shared with a container, which has other pids.
    known = [path for path in paths if _owner(path)[1].endswith(f".{_namespace()}")]
    orphans = [path for path in known if _start(_owner(path)[0]) != _owner(path)[1]]
    if orphans:
        _remove_unused(orphans)


def _remove_unused(paths: list[str], without: set[int] | None = None) -> None:
    for environment in _environments(without or {os.getpid()}):
        paths = [path for path in paths if os.fsencode(path) not in environment]
    for path in paths:
        try:
            os.unlink(path)
        except OSError:
            # Another process has removed it.
            pass


def _environments(without: set[int]) -> Iterator[bytes]:
    """The environments of all processes that this one may read, except those ``without``."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in without:
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    yield file.read()
            except OSError:
                # The process has ended, or is of another user, and cannot read the file either.
                continue


def _owner(path: str) -> tuple[int, str]:
    """The pid of the owner in the name of a file, and the owner's start (``_start``)."""
    number, _, rest = path.rpartition("/")[2].removeprefix(_OF_SHELL).partition("-")
    return (int(number) if number.isdigit() else 0), rest.partition("-")[0]


def _start(pid: int) -> str:
    """The start of the process ``pid`` (clock ticks since boot) and its PID namespace; "" for no process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            # proc_pid_stat(5): the second field is a name in parentheses, and may contain any of them.
            return f"{file.read().rpartition(')')[2].split()[19]}.{_namespace()}"
    except OSError:
        return ""


def _namespace() -> int:
    """The number of this process's PID namespace."""
    return os.stat("/proc/self/ns/pid").st_ino


def _folder(environ: Mapping[str, str]) -> str:
    """The folder for these files, which is made if need be.

    Raises:
        OSError: other users can change each possible folder, or none can be made.
    """
    user = os.geteuid()
    places = [f"/dev/shm/pysocksify-{user}", f"/tmp/pysocksify-{user}"]
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):
        places.insert(0, f"{runtime.rstrip('/')}/pysocksify")
    return private_folder(places)
