"""Puts another file on a descriptor of the program, which stays the same number."""

from __future__ import annotations

import os

from pywrap.intercept import epoll

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
