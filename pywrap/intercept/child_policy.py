"""Decides about a child that is not Python: to confine it, to warn of it, to refuse it, or to leave it alone.

``child_starts`` asks here, at the start of a child. In a process that is confined itself, all children are
confined already. Otherwise words are put in front of the child's command line, a
command that enters the confinement of the run (``programs.joining``). That needs no socket and no thread
here, and keeps no descriptor.
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

# A copy of ``config.settings_env.CONFINED``, to save the import; a test holds the two equal.
CONFINED = "PYSOCKSIFY_CONFINED"

# How files begin that Linux executes without binfmt_misc: an ELF binary, and a script.
_ELF, _SCRIPT = b"\x7fELF", b"#!"
_FORMATS = "/proc/sys/fs/binfmt_misc"

_S_ISUID = 0o4000

# Seconds for the broker's answer.
_PATIENCE = 1.0


def is_inside(environ: Mapping[str, str]) -> bool:
    """Whether this process is in the confinement that ``environ`` names.

    The variable alone proves nothing: a process may have left the confinement, or inherited the variable.
    """
    try:
        return CONFINED in environ and environ[CONFINED] == os.readlink("/proc/self/ns/net")
    except OSError:
        return False


@frozen
class Start:
    """How a child is started, apart from its command.

    ``folder``: its current folder, None for that of this process. ``ignores``: whether it inherits SIGPIPE as
    an ignored signal. ``prepared``: whether code of the program runs in it before the exec (``preexec_fn``).
    ``user``, ``group``, ``groups``: the ids that it changes to; None: those of this process.
    """

    folder: str | None = None
    ignores: bool = False
    prepared: bool = False
    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] | None = None


@frozen
class Command:
    """What to execute: a file with a command line and an environment. It also changes to the child's user.

    ``slower``: another command, for the case that code of the program that runs in the child before the exec
    has made this one impossible.
    """

    file: str
    words: list[str]
    environ: dict[str, str]
    slower: Command | None = None


class Children:
    """Decides for the children of one process, and of those forked from it.

    ``settings()``: the settings of the run. ``messages(verbosity)``: prints for the user.
    """

    def __init__(self, settings: Callable[[], Settings], messages: Callable[[int], Messages]) -> None:
        self._read = settings
        self._make_messages = messages
        self._settings: Settings | None = None
        # The id of the process for which the broker of the run stays; and the broker's note.
        self._registered = 0
        self._note: Note | None = None
        # The programs that the user was warned of.
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
        """What to execute instead of ``file``, which is no Python; None: ``file`` itself.

        ``path``: the path of the same file from the current folder of this process. ``environ``: the
        environment of the child, in which a Python that it starts finds the settings.

        Raises:
            PermissionError: the child must not be started.
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
            # exec will fail, and the program gets the kernel's error.
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
        """Have the broker look for servers among the confined children: this process may connect to one."""
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
                # The current folder has been removed.
                folder = ""
            words = folder and joining.entering(note, folder, file, argv, environ.get("PATH"), become)
            if words:
                slower = self._by_python(file, argv, environ, start) if start.prepared else None
                return Command(words[0], words, {**environ, CONFINED: note.namespace}, slower)
        self._registered = os.getpid()
        return self._by_python(file, argv, environ, start)

    def _by_python(self, file: str, argv: Sequence[str], environ: Mapping[str, str], start: Start) -> Command:
        """The command by ``launch/join.py``, which needs no note, and finds out by itself what it may do."""
        joining = load("pywrap.programs.joining")
        # join.py warns of a program that cannot be confined; so no second warning comes from here.
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
            # Also with -q, since the user learns of this leak from nothing else.
            text = f"warning: `{file}` is not Python: what it sends leaves directly, unseen ({what})"
            self._make_messages(self.settings.verbosity).say(-1, text)

    def _tell_of_privileges(self, file: str) -> None:
        status = os.stat(file)
        if status.st_mode & _S_ISUID and status.st_uid != os.geteuid() != 0 and file not in self._told:
            self._told.add(file)
            text = f"`{file}` is setuid, and gains no privileges in a confinement of an ordinary user"
            self._make_messages(self.settings.verbosity).say(0, text)


# Programs of the system that libraries run when they are imported (``ctypes.util.find_library``,
# ``platform``), and that use no network.
_WITHOUT_TRAFFIC = frozenset(
    f"{folder}/{name}"
    for folder in ("/bin", "/sbin", "/usr/bin", "/usr/sbin")
    for name in ("ldconfig", "uname", "getconf")
)


@frozen
class Rights:
    """The rights and folders that a process needs to enter a confinement by the words of a note.

    ``may_enter``: whether it has the capability that root needs for it; ordinary users need none. ``root``,
    ``folder``: device and inode of its root folder and of its current one.
    """

    user: int
    may_enter: bool
    root: tuple[int, int]
    folder: tuple[int, int]


def rights(folder: str) -> Rights:
    """The ``Rights`` of this process, with ``folder`` as its current folder."""
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
    """The descriptors, from 3 on, that a program inherits when this process executes it."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.add(int(name))
        except OSError:
            # The descriptor by which the folder was listed; it is closed again.
            continue
    return found


def _has_no_traffic(file: str) -> bool:
    if file not in _WITHOUT_TRAFFIC:
        return False
    status = os.stat(file)
    # Only root can have put the file there.
    return status.st_uid == 0 and not status.st_mode & 0o022


def _is_executed(file: str) -> bool:
    """Whether execve(2) of ``file`` would succeed, as far as its mode and its first bytes tell."""
    with open(file, "rb") as opened:
        head = opened.read(256)
    if head.startswith(_SCRIPT):
        words = head[2:].split(b"\n", 1)[0].split(None, 1)
        return not words or os.path.exists(words[0])
    if head.startswith(_ELF):
        return True
    try:
        # binfmt_misc: the administrator may have registered other formats. Two files are always there.
        return len(os.listdir(_FORMATS)) > 2
    except OSError:
        return False


def _python() -> str:
    """A Python interpreter for our own script. ``sys.executable`` may be a binary that embeds Python."""
    from pywrap.programs.python import is_python_name

    candidates = (sys.executable, getattr(sys, "_base_executable", ""), os.readlink("/proc/self/exe"))
    for each in candidates:
        if each and is_python_name(each) and os.access(each, os.X_OK):
            return each
    raise PermissionError(errno.EPERM, "pysocksify refused: no Python to confine the child with")
