"""Writes the notes of ``pywrap.programs.joining``, and removes those of brokers that have ended."""

from __future__ import annotations

import os

from pywrap.programs.joining import FOLDERS, NO, NOTE, YES
from pywrap.programs.private_folder import private_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.programs.joining import Note


# Stands for the start time of a process that has ended.
_ENDED = "ended"


def write(run: str, note: Note, keeper: int) -> str:
    """Write the note of ``run``; return its path. It may be removed when the process ``keeper`` has ended.

    Raises:
        OSError: there is no folder that only this user can change.
    """
    folder = _folder()
    _sweep(folder)
    kind = [NO, note.cause, note.remedy] if note.cause else [YES, note.namespace, note.link]
    path = os.path.join(folder, NOTE + run)
    half = f"{path}.{os.getpid()}"
    fd = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write("\n".join([kind[0], _start(keeper), *kind[1:], *note.words]))
    os.rename(half, path)
    return path


def remove(path: str) -> None:
    """Remove the note at ``path``."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        # Another run has removed the note.
        pass


def _sweep(folder: str) -> None:
    for name in os.listdir(folder):
        if name.startswith(NOTE):
            path = os.path.join(folder, name)
            try:
                with open(path, encoding="utf-8", errors="surrogateescape") as file:
                    keeper = file.read().split("\n", 2)[1]
            except (OSError, IndexError):
                # Another process has removed the note, or is writing it.
                continue
            pid = keeper.partition(" ")[0]
            # Only notes of this PID namespace: the folder may be shared with a container.
            is_here = pid.isdigit() and keeper.endswith(_namespace())
            if is_here and (_ENDED in keeper or _start(int(pid)) != keeper):
                remove(path)


def _start(pid: int) -> str:
    """The process ``pid``, its start (clock ticks since boot) and its PID namespace."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            # proc_pid_stat(5): the second field is a name in parentheses, and may contain any of them.
            ticks = file.read().rpartition(")")[2].split()[19]
    except OSError:
        ticks = _ENDED
    return f"{pid} {ticks} {_namespace()}"


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid")


def _folder() -> str:
    user = os.geteuid()
    return private_folder(each.format(user=user) for each in FOLDERS)
