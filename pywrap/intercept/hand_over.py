"""Puts another file on a descriptor of the program, which stays the same number."""

from __future__ import annotations

import os

from pywrap.intercept import epoll
from pywrap.intercept.socket_inodes import inode, is_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket


def put(sock: _socket.socket, fd: int) -> None:
    """Put the file of ``sock`` on ``fd``, which stays inheritable or not, and registered with its epolls."""
    epoll.leave(fd)
    try:
        os.dup2(sock.fileno(), fd, os.get_inheritable(fd))
    finally:
        epoll.rejoin(fd)


def take_place(sock: _socket.socket, fd: int, number: int) -> None:
    """Make ``fd``, whose inode is ``number``, be ``sock``, inherited as before; ``sock`` is closed.

    For a program that waits in connect(), and has not registered ``fd`` with an epoll for the connection.
    """
    # Another thread may have closed it meanwhile, and the number may be another file.
    if is_open(fd, number) and inode(sock.fileno()) != number:
        os.dup2(sock.fileno(), fd, os.get_inheritable(fd))
    sock.close()
