"""Decides what becomes of a child that is not Python: confined, told of, refused, or left alone.

What starts children (``child_starts``) asks here. In a process that is confined itself, all children are so
already. Otherwise the child's command line gets words before it that enter the confinement of the run
(``programs.joining``). No socket and no thread is needed for that here, and no descriptor is kept.
"""

from __future__ import annotations

import errno
import os
import sys

from pywrap.frozen import frozen
from pywrap.intercept.loading import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pywrap.config.settings import Settings
    from pywrap.messages import Messages
    from pywrap.programs.joining import Note

# ``config.settings_env.CONFINED``, of which a test holds the copy equal.
CONFINED = "PYSOCKSIFY_CONFINED"

# What Linux executes without a binfmt_misc(7) of its own: a binary, and a script.
_ELF, _SCRIPT = b"\x7fELF", b"#!"
_FORMATS = "/proc/sys/fs/binfmt_misc"

_S_ISUID = 0o4000

# Seconds for the broker's answer.
_PATIENCE = 1.0


def is_inside(environ: Mapping[str, str]) -> bool:
    """Is this process in the confinement that ``environ`` names? The variable alone proves nothing."""
    try:
        return CONFINED in environ and environ[CONFINED] == os.readlink("/proc/self/ns/net")
    except OSError:
        return False


@frozen
class Start:
    """How a child is started, beside what is executed.

    ``folder``: its current folder, None for that of this process. ``ignores``: it inherits SIGPIPE as an
    ignored signal. ``prepared``: code of the program runs in it before the exec (``preexec_fn``). ``user``,
    ``group``, ``groups``: what it becomes; None: what this process is.
    """

    folder: str | None = None
    ignores: bool = False
    prepared: bool = False
    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] | None = None


@frozen
class Command:
    """What to execute: a file with a command line and an environment, which makes the child another user.

    ``slower``: another one, if the code of the program that runs in the child has made this one impossible.
    """

    file: str
    words: list[str]
    environ: dict[str, str]
    slower: Command | None = None


class Children:
    """Of one process, and those that are forked from it. ``settings()`` are those of the run."""

    def __init__(self, settings: Callable[[], Settings], messages: Callable[[int], Messages]) -> None:
        self._read = settings
        self._make_messages = messages
        self._settings: Settings | None = None
        # The process for which the broker stays, and its note.
        self._registered = 0
        self._note: Note | None = None
        # Names of programs that were told of.
        self._told: set[str] = set()

    @property
    def settings(self) -> Settings:
        """The settings of this process, decoded when the first child is started."""
        if self._settings is None:
            self._settings = self._read()
        return self._settings

    def place(
        self, file: str, path: str, argv: Sequence[str], environ: Mapping[str, str], start: Start
    ) -> Command | None:
        """What to execute instead of ``file``, which is no Python; None: that itself.

        ``path``: of the same file, in the current folder of this process. ``environ``: the child's, in which
        a Python below it finds the settings.

        Raises:
            PermissionError: it must not be started.
        """
        mode = self.settings.children
        if mode == "auto" and self.settings.confine == "off":
            mode = "warn"
        if mode == "direct" or _has_no_traffic(path):
            return None
        if mode == "refuse":
            what = f"pysocksify refused: `{file}` is not Python (--children refuse)"
            raise PermissionError(errno.EPERM, what, file)
        if mode == "warn":
            self._warn(file, "--children confine sends it through the proxies")
            return None
        if not _is_executed(path):
            # The kernel's error is the program's.
            return None
        note = self._current()
        if note is not None and note.cause:
            if mode == "confine":
                what = f"pysocksify refused: `{file}` cannot be confined: {note.cause}"
                raise PermissionError(errno.EPERM, what, file)
            self._warn(file, f"it cannot be confined: {note.cause}")
            return None
        self._tell_of_privileges(path)
        return self._confined(file, argv, environ, start, note)

    def find_servers(self) -> None:
        """Have the broker look for servers among the children, which this process is about to connect to."""
        if self._settings is None:
            # No child that is not Python was started here.
            return
        note = self._current()
        if note is None or note.cause:
            return
        from pywrap.intercept import originals

        joining = load("pywrap.programs.joining")
        sock = originals.Socket(originals.AF_UNIX, originals.SOCK_SEQPACKET | originals.SOCK_CLOEXEC)
        try:
            originals.settimeout(sock, _PATIENCE)
            originals.connect(sock, joining.address(self.settings.run))
            originals.send(sock, joining.LOOK)
            originals.recv(sock, len(joining.LOOK))
        except OSError:
            # The broker has just ended, with the last child.
            pass
        finally:
            originals.close(sock)

    def _confined(
        self,
        file: str,
        argv: Sequence[str],
        environ: Mapping[str, str],
        start: Start,
        note: Note | None,
    ) -> Command:
        joining = load("pywrap.programs.joining")
        become = joining.becoming(start.user, start.group, start.groups)
        if note is not None and not (start.prepared and become):
            try:
                folder = os.path.join(os.getcwd(), start.folder or "")
            except OSError:
                # It has been removed.
                folder = ""
            words = folder and joining.entering(note, folder, file, argv, environ.get("PATH"), become)
            if words:
                slower = self._by_python(file, argv, environ, start) if start.prepared else None
                return Command(words[0], words, {**environ, CONFINED: note.namespace}, slower)
        self._registered = os.getpid()
        return self._by_python(file, argv, environ, start)

    def _by_python(self, file: str, argv: Sequence[str], environ: Mapping[str, str], start: Start) -> Command:
        """By ``join.py``, which needs no note, and finds out by itself what it may do."""
        joining = load("pywrap.programs.joining")
        # A program that cannot be confined is told of by join.py, once.
        self._told.add(file)
        told = joining.Joining(
            self.settings.run,
            os.getpid(),
            self.settings.children == "confine",
            start.ignores,
            start.user,
            start.group,
            start.groups,
        )
        python = _python()
        return Command(python, joining.joined(python, told, file, argv), dict(environ))

    def _current(self) -> Note | None:
        """The note of a broker that stays at least as long as this process; None when there is none."""
        if self._registered not in (os.getpid(), os.getppid()):
            return None
        if self._note is None or not self._note.is_valid:
            self._note = load("pywrap.programs.joining").read_note(self.settings.run)
        return self._note if self._note is not None and self._note.is_valid else None

    def _warn(self, file: str, what: str) -> None:
        if file not in self._told:
            self._told.add(file)
            # Also with -q: nothing else tells of a leak.
            text = f"warning: `{file}` is not Python: what it sends leaves directly, unseen ({what})"
            self._make_messages(self.settings.verbosity).say(-1, text)

    def _tell_of_privileges(self, file: str) -> None:
        status = os.stat(file)
        if status.st_mode & _S_ISUID and status.st_uid != os.geteuid() != 0 and file not in self._told:
            self._told.add(file)
            text = f"`{file}` is setuid, and gains no privileges in a confinement of an ordinary user"
            self._make_messages(self.settings.verbosity).say(0, text)


# Of the system's own programs, those that libraries run when they are imported (``ctypes.util.find_library``,
# ``platform``), and that have nothing to do with a network.
_WITHOUT_TRAFFIC = frozenset(
    f"{folder}/{name}"
    for folder in ("/bin", "/sbin", "/usr/bin", "/usr/sbin")
    for name in ("ldconfig", "uname", "getconf")
)


@frozen
class Rights:
    """What a process must still have to enter by the words of a note.

    ``may_enter``: root's capability for it, which no ordinary user needs. ``root``, ``folder``: device
    and inode of its root folder and of the current one.
    """

    user: int
    may_enter: bool
    root: tuple[int, int]
    folder: tuple[int, int]


def rights(folder: str) -> Rights:
    """Those of this process, with ``folder`` as its current one."""
    user = os.geteuid()
    root, current = os.stat("/"), os.stat(folder)
    return Rights(
        user,
        user != 0 or _has_capability(_CAP_SYS_ADMIN),
        (root.st_dev, root.st_ino),
        (current.st_dev, current.st_ino),
    )


_CAP_SYS_ADMIN = 21


def _has_capability(number: int) -> bool:
    with open("/proc/self/status", "rb") as file:
        _, _, rest = file.read().partition(b"CapEff:")
    return bool(int(rest.split(None, 1)[0], 16) >> number & 1)


def inheritable() -> set[int]:
    """The descriptors that a program gets that this process executes, beside the first three."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.add(int(name))
        except OSError:
            # That of the listing itself.
            continue
    return found


def _has_no_traffic(file: str) -> bool:
    if file not in _WITHOUT_TRAFFIC:
        return False
    status = os.stat(file)
    # Root alone can have put it there.
    return status.st_uid == 0 and not status.st_mode & 0o022


def _is_executed(file: str) -> bool:
    """Would the kernel execute ``file``, or would execve(2) fail?"""
    with open(file, "rb") as opened:
        head = opened.read(256)
    if head.startswith(_SCRIPT):
        words = head[2:].split(b"\n", 1)[0].split(None, 1)
        return not words or os.path.exists(words[0])
    if head.startswith(_ELF):
        return True
    try:
        # Other formats that the administrator has registered; two files are always there.
        return len(os.listdir(_FORMATS)) > 2
    except OSError:
        return False


def _python() -> str:
    """An interpreter for a script of ours; the program may be embedded in another binary."""
    from pywrap.programs.python import is_python_name

    candidates = (sys.executable, getattr(sys, "_base_executable", ""), os.readlink("/proc/self/exe"))
    for each in candidates:
        if each and is_python_name(each) and os.access(each, os.X_OK):
            return each
    raise PermissionError(errno.EPERM, "pysocksify refused: no Python to confine the child with")
