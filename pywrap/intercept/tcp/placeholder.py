"""The placeholder that a program holds while its connection is opened, and how a socket takes its place."""

from __future__ import annotations

import _socket
import os

from pywrap.intercept import epoll, originals
from pywrap.intercept.own import Own, own


def placeholder() -> tuple[Own, Own]:
    """A socketpair whose first end is neither readable nor writable."""
    near, far = map(own, originals.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM))
    near.setblocking(False)
    # The kernel's minimum, since each placeholder holds that much memory.
    near.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 1)
    try:
        while True:
            near.send(bytes(1024))
    except BlockingIOError:
        return near, far


def put(sock: _socket.socket, fd: int) -> None:
    """Put ``sock`` on ``fd``, which stays inheritable or not, and registered with its epolls."""
    epoll.leave(fd)
    try:
        os.dup2(sock.fileno(), fd, os.get_inheritable(fd))
    finally:
        epoll.rejoin(fd)
