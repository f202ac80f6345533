"""Writes lines to a descriptor whose reader may have stopped reading, and never waits for room.

Lines that find no room are dropped and counted; the count is written once there is room again. The
descriptor itself stays in its mode, blocking or not, since a shell, or other processes, share it.
"""

from __future__ import annotations

import os
import stat
from _socket import MSG_DONTWAIT, MSG_NOSIGNAL, socket
from select import POLLOUT, poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# A pipe takes so many bytes whole or not at all (pipe(7), PIPE_BUF of Linux), so that a line of another
# process cannot come in the middle of one.
_WHOLE = 4096


class Lines:
    """``write(line)`` writes a line, or drops it.

    ``told(count)`` makes the line that says how many were dropped. ``when_writable(fd, call)``, if it is set,
    has ``call`` called once as soon as ``fd`` has room; without it, that line is written before the next one.
    """

    def __init__(self, fd: int, told: Callable[[int], bytes]) -> None:
        self.lost = 0
        self.when_writable: Callable[[int, Callable[[], None]], None] | None = None
        self._told = told
        self._rest = b""  # of a line that has begun
        self._waiting = False
        self._fd, self._send, self._close = _never_waiting(fd)

    def write(self, line: bytes) -> None:
        """Write ``line``, which ends with a newline, or count it as lost; never waits."""
        if self._flush():
            self._rest = self._put(line)
            if self._rest == line:
                self._rest = b""
                self.lost += 1
        else:
            self.lost += 1
        self._wait()

    def close(self) -> None:
        """Write no more; ``fd`` itself stays open."""
        self._close()

    def _flush(self) -> bool:
        """Write the rest of a line, and the count of dropped ones; False when bytes are left."""
        self._rest = self._put(self._rest)
        if not self._rest and self.lost:
            told = self._told(self.lost)
            rest = self._put(told)
            if rest != told:
                self.lost, self._rest = 0, rest
        return not self._rest and not self.lost

    def _put(self, data: bytes) -> bytes:
        """Write as much of ``data`` as finds room; return the rest."""
        try:
            while data:
                data = data[self._send(data[:_WHOLE]) :]
        except BlockingIOError:
            return data
        except OSError:
            # The reader is gone. The server goes on, and the line is lost.
            pass
        return b""

    def _wait(self) -> None:
        if (self._rest or self.lost) and self.when_writable is not None and not self._waiting:
            self._waiting = True
            self.when_writable(self._fd, self._on_writable)

    def _on_writable(self) -> None:
        self._waiting = False
        self._flush()
        self._wait()


def _never_waiting(fd: int) -> tuple[int, Callable[[bytes], int], Callable[[], None]]:
    """A descriptor for the file of ``fd``; a function that writes or raises BlockingIOError; a close()."""
    kind = os.fstat(fd).st_mode
    if stat.S_ISREG(kind):
        return fd, lambda data: os.write(fd, data), _nothing
    if stat.S_ISSOCK(kind):
        # A socket, such as that of the journal.
        sock = socket(fileno=os.dup(fd))
        os.set_inheritable(sock.fileno(), False)
        return sock.fileno(), lambda data: sock.send(data, MSG_DONTWAIT | MSG_NOSIGNAL), sock.close
    try:
        # The same pipe or terminal, opened anew: the new open file has a mode of its own.
        own = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        # There is no /proc, or the file is of another user, since this process has changed its own.
        return fd, lambda data: _write_if_there_is_room(fd, data), _nothing
    return own, lambda data: os.write(own, data), lambda: os.close(own)


def _nothing() -> None:
    pass


def _write_if_there_is_room(fd: int, data: bytes) -> int:
    room = poll()
    room.register(fd, POLLOUT)
    if not room.poll(0):
        raise BlockingIOError
    return os.write(fd, data)
