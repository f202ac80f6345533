"""Puts another file on a descriptor of the program (dup2(2)); the number stays."""

from __future__ import annotations

import os

from pywrap.intercept import epoll
from pywrap.intercept.socket_inodes import inode, is_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket


def put(sock: _socket.socket, fd: int) -> None:
    """Put the file of ``sock`` on ``fd``, which keeps its close-on-exec flag and its epoll registrations."""
    epoll.leave(fd)
    try:
        os.dup2(sock.fileno(), fd, os.get_inheritable(fd))
    finally:
        epoll.rejoin(fd)


def take_place(sock: _socket.socket, fd: int, number: int) -> None:
    """Put the file of ``sock`` on ``fd``, whose inode is ``number``, and close ``sock``.

    The close-on-exec flag stays. For a program that waits in connect(), and so has not registered ``fd`` with
    an epoll for this connection: registrations are not moved.
    """
    # Another thread may have closed ``fd`` meanwhile, and the number may be another file.
    if is_open(fd, number) and inode(sock.fileno()) != number:
        os.dup2(sock.fileno(), fd, os.get_inheritable(fd))
    sock.close()
