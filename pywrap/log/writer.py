"""Appends lines to the log, each by one write(2), from any number of processes and threads.

* A file is opened with O_APPEND. Linux appends each write() under the lock of the inode, so lines of
  different processes never mix. A line that the file took only in part (no space left) is completed before
  the next one.
* A pipe takes up to PIPE_BUF bytes whole or not at all (pipe(7)), so no line for a pipe is longer. The pipe
  is opened anew by its path below /proc, so that O_NONBLOCK applies to our own open file only, and not to the
  program's. The same is true for terminals. The writer looks for a process that still has the pipe: itself,
  the one that became the program, or one of its own ancestors (``descriptor``).
* Nothing waits. A line that cannot be written at once is lost, and counted (``lost``).

A program may close our descriptor, as a daemon closes all, and get the number again for a file of its own. So
the file behind the descriptor is checked before each write. There is no lock: each write is a single call,
and the counters may be off by one when two threads lose a line at once.
"""

from __future__ import annotations

import errno
import os
from fcntl import F_DUPFD_CLOEXEC, fcntl
from os import fstat, write
from select import PIPE_BUF
from stat import S_ISFIFO, S_ISREG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The lowest descriptor to take, as in ``tunnel.round_robin``: programs use the small numbers themselves.
_HIGH = 64

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NOTHING = (0, 0)


# How many ancestors are tried for a pipe.
_FARTHEST = 16


def descriptor(fd: int) -> str:
    """A text by which a ``LineWriter`` in any process of the run finds the file of ``fd``, which has no path.

    Raises:
        OSError: ``fd`` is not open.
    """
    status = fstat(fd)
    return f"fd:{fd}:{os.getpid()}:{status.st_dev}:{status.st_ino}"


class LineWriter:
    """Appends to the file at ``path``, or to that of a ``descriptor``.

    ``on_loss(error)`` is called when the first line is lost.

    ``lost``: how many lines could not be written. ``longest``: the bytes of the longest line that is written
    whole; 0 for no limit.
    """

    def __init__(self, path: str, on_loss: Callable[[OSError], None] = lambda error: None) -> None:
        self.path = path
        self.lost = 0
        self.longest = 0
        self._on_loss = on_loss
        self._has_lost = False
        self._fd = -1
        # The device and the inode behind the descriptor.
        self._file = _NOTHING
        self._is_pipe = False
        self._is_torn = False

    def open(self) -> None:
        """Open the file, which the launcher has made.

        Raises:
            OSError: it cannot be opened.
        """
        fd = self._open_descriptor() if self.path.startswith("fd:") else os.open(self.path, _FLAGS)
        try:
            high = fcntl(fd, F_DUPFD_CLOEXEC, _HIGH)
        except OSError:
            # No descriptor may have so high a number (`ulimit -n 64`).
            high = fd
        else:
            os.close(fd)
        status = fstat(high)
        self._fd, self._file = high, (status.st_dev, status.st_ino)
        self._is_pipe = S_ISFIFO(status.st_mode)
        self.longest = 0 if S_ISREG(status.st_mode) else PIPE_BUF

    def _open_descriptor(self) -> int:
        number, pid, *file = map(int, self.path.split(":")[1:])
        failure: OSError | None = None
        for each in ("self", pid, *_parents()):
            try:
                fd = os.open(f"/proc/{each}/fd/{number}", _FLAGS)
            except OSError as err:
                # That process has closed the descriptor, or this one may not read its descriptors.
                failure = failure or err
                continue
            status = fstat(fd)
            if [status.st_dev, status.st_ino] == file:
                return fd
            # The descriptor is another file by now.
            os.close(fd)
        raise failure or OSError(errno.ENOENT, os.strerror(errno.ENOENT))

    def write(self, line: bytes) -> bool:
        """Append ``line``, which ends with a line feed; return whether all of it was written."""
        try:
            if not self._is_open():
                self.open()
            if self._is_torn:
                line = b"\n" + line
            written = self._write_to_pipe(line) if self._is_pipe else write(self._fd, line)
        except OSError as err:
            self._lose(err)
            return False
        self._is_torn = written != len(line)
        if self._is_torn:
            self._lose(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        return not self._is_torn

    def close(self) -> None:
        """Close the descriptor, unless it is a file of the program by now."""
        if self._is_open():
            os.close(self._fd)
        self._fd = -1

    def _is_open(self) -> bool:
        if self._fd < 0:
            return False
        try:
            status = fstat(self._fd)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._file

    def _write_to_pipe(self, line: bytes) -> int:
        """write(2) without SIGPIPE, which would end a program that has set it to its default."""
        from _signal import (  # type: ignore[import-not-found]
            SIG_BLOCK,
            SIG_SETMASK,
            SIGPIPE,
            pthread_sigmask,
            sigtimedwait,
        )

        mask = pthread_sigmask(SIG_BLOCK, (SIGPIPE,))
        try:
            return write(self._fd, line)
        except BrokenPipeError:
            if SIGPIPE not in mask:
                # The signal is pending for this thread alone (signal(7)): remove it.
                sigtimedwait((SIGPIPE,), 0)
            raise
        finally:
            pthread_sigmask(SIG_SETMASK, mask)

    def _lose(self, error: OSError) -> None:
        self.lost += 1
        if not self._has_lost:
            self._has_lost = True
            self._on_loss(error)


def _parents() -> Iterator[int]:
    """The pids of the parent of this process, of its parent, and so on."""
    pid = os.getppid()
    for _ in range(_FARTHEST):
        if pid <= 1:
            return
        yield pid
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
                # proc_pid_stat(5): the name, in parentheses, may contain any of them.
                pid = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            return
