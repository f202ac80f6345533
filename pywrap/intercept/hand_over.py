"""Puts another file on a descriptor of the program (dup2(2)); the number stays.

The program may close the descriptor at any moment: by os.close(), or by forgetting a socket, which C closes
in its finalizer. Neither takes our lock. The number may then be a new file of the program's, which must stay
where it is. fstat(2) tells, but os.fstat() lets go of the GIL: before it returns, other threads may run, for
5 ms or more. So the last look before dup2(2) is a getsockopt(), for which CPython keeps the GIL: SO_COOKIE
(since Linux 4.12) is a number that no other socket has.
"""

from __future__ import annotations

import _socket
import os

from pywrap.intercept import epoll, originals
from pywrap.intercept.socket_inodes import inode, is_open

# linux/socket.h, and the size of the number.
_SO_COOKIE, _COOKIE = 57, 8


def put(sock: _socket.socket, fd: int, number: int = 0) -> None:
    """Put the file of ``sock`` on ``fd``, which keeps its close-on-exec flag and its epoll registrations.

    ``number``: nothing is done unless ``fd`` is still the socket with this inode; 0 where the caller's socket
    object has ``fd``.
    """
    epoll.leave(fd)
    try:
        if number:
            _put_if(sock, fd, number)
        else:
            os.dup2(sock.fileno(), fd, os.get_inheritable(fd))
    finally:
        epoll.rejoin(fd)


class _Borrowed(originals.Socket):
    """A socket object for a descriptor of the program's. It never closes that.

    Not by a ``finally`` of its user: a signal handler that raises may come before that is reached.
    """

    __slots__ = ()

    def __del__(self) -> None:
        """In the place of C's finalizer, which would close the descriptor."""
        self.detach()


def _put_if(sock: _socket.socket, fd: int, number: int) -> None:
    try:
        # SOCK_NONBLOCK: C's constructor leaves the mode of the file alone.
        old = _Borrowed(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK, 0, fd)
    except OSError:
        # It is closed, or no socket any more.
        return
    cookie = _cookie(old)
    if is_open(fd, number):
        new, inheritable = sock.fileno(), os.get_inheritable(fd)
        if _cookie(old) == cookie:
            os.dup2(new, fd, inheritable)


def _cookie(sock: _socket.socket) -> bytes:
    """The number of the socket; nothing before Linux 4.12, and where the number is another file by now."""
    try:
        return originals.getsockopt(sock, _socket.SOL_SOCKET, _SO_COOKIE, _COOKIE)
    except OSError:
        return b""


def take_place(sock: _socket.socket, fd: int, number: int) -> None:
    """Put the file of ``sock`` on ``fd``, whose inode is ``number``, and close ``sock``.

    The close-on-exec flag stays. For a program that waits in connect(), and so has not registered ``fd`` with
    an epoll for this connection: registrations are not moved.
    """
    # Another thread may have closed ``fd`` meanwhile, and the number may be another file.
    if inode(sock.fileno()) != number:
        _put_if(sock, fd, number)
    sock.close()
