"""Settings with a password in them, kept out of the environment: in a file that only their user can read.

The environment holds ``file=PATH`` instead. A descriptor would not do: ``subprocess`` closes all of them in
children, and a path below /proc of the program goes with it, while children that it leaves behind still start
Pythons. Nor would the kernel's keys: containers forbid them, and they need ctypes in the target.

The file is in a folder of the user's own, in memory wherever there is one ($XDG_RUNTIME_DIR, /dev/shm). It is
named after its owner: the process that becomes the program, or the leader of the session of a wrapped shell.
It goes when its owner ends and no process has its path in the environment any more. The first Python of the
run looks at its exit; what that leaves (children that outlive it, a SIGKILL) goes with the next start.

Where another user cannot read the file (a child that has changed its user), or does not see the folder (a
container), Python does not start (``bootstrap``).
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PREFIX = "file="

# Before the name of a file of a wrapped shell: it needs it until it is unwrapped, whoever else has ended.
_OF_SHELL = "shell-"


def store(text: str, owner: int, environ: Mapping[str, str]) -> str:
    """Write ``text`` to a file that belongs to the process ``owner``; return what stands for it.

    Raises:
        OSError: there is no folder that is this user's alone.
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
    """Remove the file behind ``value``, if it is one, as the last process that needs it.

    That is its owner, or a process that its owner has only wrapped (``timeout``, ``sudo``), while no other
    has its path in the environment.
    """
    path = value.removeprefix(PREFIX)
    if path != value and not path.rpartition("/")[2].startswith(_OF_SHELL):
        owner, start = _owner(path)
        wrappers = _up_to(owner) if start and start == _start(owner) else None
        if wrappers is not None:
            _remove_unused([path], wrappers)


def take_back(value: str) -> None:
    """Remove the file behind ``value``, if it is one, unless a process has its path in the environment."""
    path = value.removeprefix(PREFIX)
    if path != value:
        _remove_unused([path])


def _up_to(owner: int) -> set[int] | None:
    """This process and those above it up to ``owner``; None if that is none, or one of them is a Python."""
    pid = os.getpid()
    found = {pid}
    while pid != owner:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                pid = int(file.read().rpartition(")")[2].split()[1])
            if pid <= 1 or os.path.basename(os.readlink(f"/proc/{pid}/exe")).startswith("python"):
                return None
        except OSError:
            # It has just ended, or is of another user (sudo): who could not read this file either.
            return None
        found.add(pid)
    return found


def _sweep(folder: str) -> None:
    """Remove the files whose owners have ended."""
    paths = (f"{folder}/{name}" for name in os.listdir(folder))
    # Those of another container that has this folder too cannot be judged here.
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
            # Another process was faster.
            pass


def _environments(without: set[int]) -> Iterator[bytes]:
    """What each process was started with, but for those ``without``, as far as this one may know."""
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in without:
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    yield file.read()
            except OSError:
                # It has ended, or is another user's, who could not read the file either.
                continue


def _owner(path: str) -> tuple[int, str]:
    """The process after which a file is named, and when that was started."""
    number, _, rest = path.rpartition("/")[2].removeprefix(_OF_SHELL).partition("-")
    return (int(number) if number.isdigit() else 0), rest.partition("-")[0]


def _start(pid: int) -> str:
    """When the process ``pid`` was started (ticks since the boot), and what numbers it; "" for none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            # proc_pid_stat(5): the second field is a name in parentheses, and may contain any of them.
            return f"{file.read().rpartition(')')[2].split()[19]}.{_namespace()}"
    except OSError:
        return ""


def _namespace() -> int:
    """The number of the PID namespace, in which a pid means something."""
    return os.stat("/proc/self/ns/pid").st_ino


def _folder(environ: Mapping[str, str]) -> str:
    """The folder for these files, which is made if it is not there."""
    user = os.geteuid()
    places = [f"/dev/shm/pysocksify-{user}", f"/tmp/pysocksify-{user}"]
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime.startswith("/"):
        places.insert(0, f"{runtime.rstrip('/')}/pysocksify")
    failure: OSError | None = None
    for place in places:
        try:
            os.mkdir(place, 0o700)
        except FileExistsError:
            # Whose it is, and what it is, is looked at below.
            pass
        except OSError as err:
            failure = err
            continue
        status = os.lstat(place)
        if stat.S_ISDIR(status.st_mode) and status.st_uid == user and not status.st_mode & 0o077:
            return place
        failure = PermissionError(1, f"{place} can be changed by others")
    assert failure is not None, "each place either returned or failed"
    raise failure
