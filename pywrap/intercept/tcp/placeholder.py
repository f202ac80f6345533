"""The placeholder that a program holds while its connection is opened, and how a socket takes its place."""

from __future__ import annotations

import _socket
import os

from pywrap.intercept import epoll, originals
from pywrap.intercept.own import Own, own
from pywrap.intercept.sockets import inode, is_open

_FILLING = bytes(1 << 16)


def placeholder() -> tuple[Own, Own]:
    """A socketpair whose first end is neither readable nor writable."""
    kind = _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
    near, far = map(own, originals.socketpair(_socket.AF_UNIX, kind))
    # The kernel's minimum, since each placeholder holds that much memory.
    near.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 1)
    # More than fits: a socket that does not block takes as much as it has room for.
    near.send(_FILLING)
    return near, far


def put(sock: _socket.socket, fd: int) -> None:
    """Put ``sock`` on ``fd``, which stays inheritable or not, and registered with its epolls."""
    epoll.leave(fd)
    try:
        os.dup2(sock.fileno(), fd, os.get_inheritable(fd))
    finally:
        epoll.rejoin(fd)


def take_place(sock: _socket.socket, fd: int, number: int) -> None:
    """Make ``fd``, whose inode is ``number``, be ``sock``, inherited as before; ``sock`` is closed."""
    # Another thread may have closed it meanwhile, and the number may be another file.
    if is_open(fd, number) and inode(sock.fileno()) != number:
        os.dup2(sock.fileno(), fd, os.get_inheritable(fd))
    sock.close()
