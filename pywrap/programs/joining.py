"""Makes the command lines by which a child that is not Python enters the confinement of its run.

The first such child of a process is started by our script ``launch/join.py``, which finds the broker of the
run, or starts one, enters the namespaces and becomes the program. The broker leaves a note with a command
that enters them by nsenter(1), which takes a millisecond instead of the start of a Python. Later children are
started by that.

The note is a file that only the user can read, named after the run. It is ignored when its broker has ended.
"""

from __future__ import annotations

import os

from pywrap.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_HERE = os.path.dirname(os.path.abspath(__file__))
_LAUNCH = os.path.join(os.path.dirname(_HERE), "launch")
# Our scripts, and the options of the interpreter that runs them.
JOIN = os.path.join(_LAUNCH, "join.py")
BROKER = os.path.join(_LAUNCH, "child_broker.py")
ALONE = ("-I", "-S", "-E")

# The folders for notes, of which the first that is usable is taken (``launch.secrets`` has others besides).
FOLDERS = ("/dev/shm/pysocksify-{user}", "/tmp/pysocksify-{user}")
NOTE = "children-"
# Stands for the current folder of the child in the words of a note.
FOLDER = "{folder}"
# Stands for options of setpriv(1) that change the child's user, in the notes of root.
BECOME = "{become}"
YES, NO = "yes", "no"
# The message that asks the broker to look for servers among the children.
LOOK = b"look"


@frozen
class Note:
    """The content of a broker's note.

    ``words``: a command that enters the confinement and executes the words after it; () where nsenter(1)
    cannot. ``namespace``: the target of ``/proc/self/ns/net`` inside. ``link``: the path of a link with the
    same target while the broker runs. ``cause``, ``remedy``: why there is no confinement; "" where there is
    one.
    """

    words: tuple[str, ...]
    namespace: str = ""
    link: str = ""
    cause: str = ""
    remedy: str = ""

    @property
    def is_valid(self) -> bool:
        """Whether the broker that wrote the note still runs."""
        try:
            return bool(self.cause) or os.readlink(self.link) == self.namespace
        except OSError:
            return False


@frozen
class Joining:
    """The first argument of ``join.py``.

    ``run``: as in ``Settings``. ``owner``: the pid of the process that starts the child, for which the broker
    stays; 0 for none. ``must``: whether the child must not be started without a confinement. ``ignores``:
    whether the child inherits SIGPIPE and SIGXFSZ as ignored signals, as a Python ignores them. ``user``,
    ``group``, ``groups``: the ids that the child changes to, as for os.setuid() and its like; None: no
    change.
    """

    run: str
    owner: int = 0
    must: bool = False
    ignores: bool = False
    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] | None = None

    def encode(self) -> str:
        """The text of it, without blanks, which ``decode`` reads."""
        groups = None if self.groups is None else ",".join(map(str, self.groups))
        values = (self.run, self.owner, int(self.must), int(self.ignores), self.user, self.group, groups)
        return ":".join("-" if value is None else str(value) for value in values)


def decode(text: str) -> Joining:
    """Read a text of ``Joining.encode``."""
    run, owner, must, ignores, user, group, groups = text.split(":")
    return Joining(
        run,
        int(owner),
        must == "1",
        ignores == "1",
        None if user == "-" else int(user),
        None if group == "-" else int(group),
        None if groups == "-" else tuple(int(each) for each in groups.split(",") if each),
    )


def joined(python: str, told: Joining, file: str, argv: Sequence[str]) -> list[str]:
    """The command line that starts ``file`` with ``argv`` by ``join.py``, run by ``python``."""
    return [python, *ALONE, JOIN, told.encode(), file, *argv]


def becoming(user: int | None, group: int | None, groups: Sequence[int] | None) -> tuple[str, ...]:
    """The words for BECOME; the arguments are as in ``Joining``."""
    words = [] if user is None else [f"--reuid={user}"]
    words += [] if group is None else [f"--regid={group}"]
    if groups:
        words.append(f"--groups={','.join(map(str, groups))}")
    elif groups is not None:
        words.append("--clear-groups")
    elif group is not None:
        words.append("--keep-groups")
    return tuple(words)


def entering(
    note: Note, folder: str, file: str, argv: Sequence[str], path: str | None, become: tuple[str, ...] = ()
) -> list[str] | None:
    """The command line that enters by nsenter(1), to execute ``file`` with ``argv`` in ``folder``.

    ``path``: the child's $PATH. ``become``: the result of ``becoming``. None: nsenter(1) cannot pass this
    argv to the program.
    """
    if not note.words or not argv:
        return None
    # nsenter(1) executes the first word of argv, which execvp(3) searches: that has to find ``file``.
    if argv[0] != file and ("/" in argv[0] or not path or not _is_found(argv[0], path, file)):
        return None
    words: list[str] = []
    for word in note.words:
        words += become if word == BECOME else [word.replace(FOLDER, folder)]
    return [*words, *argv]


def _is_found(name: str, path: str, file: str) -> bool:
    for each in path.split(os.pathsep):
        found = os.path.join(each, name)
        if os.path.isfile(found) and os.access(found, os.X_OK):
            return os.path.isabs(found) and os.path.samefile(found, file)
    return False


# ---------------------------------------------------------------- notes


def read_note(run: str) -> Note | None:
    """The note of ``run``; None where there is none."""
    user = os.geteuid()
    for folder in FOLDERS:
        try:
            fd = os.open(
                os.path.join(folder.format(user=user), NOTE + run), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
            )
        except OSError:
            continue
        try:
            status = os.fstat(fd)
            if status.st_uid != user or status.st_mode & 0o077:
                continue
            kind, _, first, second, *words = (
                os.read(fd, status.st_size).decode("utf-8", "surrogateescape").split("\n")
            )
        finally:
            os.close(fd)
        if kind == NO:
            return Note((), cause=first, remedy=second)
        return Note(tuple(words), first, second)
    return None


def address(run: str) -> bytes:
    """The abstract address (unix(7)) of the broker of ``run``: only this network namespace knows it."""
    return f"\0pysocksify/{os.geteuid()}/{run}".encode()
