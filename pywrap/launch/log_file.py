"""Opens the log before the program starts, and writes its first line.

The programs get only the path of the file, and each process opens it for itself: ``subprocess`` closes
descriptors in children. For a descriptor (``fd:3``, ``-``) that is the path of its file; for a pipe, a text
by which ``log.writer`` finds it in the processes that still have it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys

from pywrap import __version__
from pywrap.errors import ConfigError
from pywrap.frozen import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Settings

_KINDS = "a file, a pipe or a terminal can be a log"


def begin(settings: Settings, program: str, confined: bool) -> Settings:
    """``settings`` with the log opened once, where there is one.

    ``program``: the name of PROGRAM, for the first line.

    Raises:
        ConfigError: the log cannot be opened.
    """
    if not settings.log:
        return settings
    # Imported here: most runs have no log.
    from pywrap.log.events import LAUNCHER, Log

    settings = replace(settings, log=_open(settings.log))
    log = Log(settings.log, settings.run, LAUNCHER, _warn, program)
    log.run(__version__, confined, [(chain.name, chain.type, chain.proxies) for chain in settings.chains])
    log.close()
    return settings


def _warn(text: str) -> None:
    print(f"pysocksify: {text}", file=sys.stderr)


def _open(target: str) -> str:
    """Make sure that ``target`` can be appended to; return its path."""
    is_descriptor = target.startswith("fd:")
    try:
        path = _path_of(int(target[3:])) if is_descriptor else target
        # Only this user may read the file: it shows what a program did.
        name = f"/proc/self/fd/{target[3:]}" if path.startswith("fd:") else path
        fd = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY, 0o600)
    except OSError as err:
        what = f"descriptor {target[3:]}" if is_descriptor else target
        raise ConfigError(f"cannot open the log {what}: {err.strerror}", _hint(err)) from err
    try:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise ConfigError(f"the log {path} is a folder", _KINDS)
    finally:
        os.close(fd)
    return path


def _hint(err: OSError) -> str:
    # ENXIO is the error of a named pipe without a reader, and of a socket.
    return {errno.ENXIO: f"nothing reads it; {_KINDS}", errno.EISDIR: _KINDS}.get(err.errno or 0, "")


def _path_of(fd: int) -> str:
    """A path by which other processes can open the file of ``fd``, or its ``descriptor``.

    Raises:
        OSError: ``fd`` is not open for writing.
    """
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if flags & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "it is not open for writing")
    here = f"/proc/self/fd/{fd}"
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode):
        # Without O_APPEND, other output through this descriptor (the program's stdout) would overwrite our
        # lines.
        fcntl.fcntl(fd, fcntl.F_SETFL, flags | os.O_APPEND)
    path = os.readlink(here)
    try:
        known = os.stat(path)
    except OSError:
        # A pipe has no path; nor has a file that was removed.
        known = None
    if known is not None and (known.st_dev, known.st_ino) == (status.st_dev, status.st_ino):
        return path
    from pywrap.log.writer import descriptor

    os.set_inheritable(fd, True)
    return descriptor(fd)
