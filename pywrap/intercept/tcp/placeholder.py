"""What a program holds while its socket is being made, and how one takes the other's place."""

from __future__ import annotations

import _socket
import os

from pywrap.intercept import epoll, originals
from pywrap.intercept.own import Own, own


def placeholder() -> tuple[Own, Own]:
    """A socketpair whose first end is neither readable nor writable."""
    near, far = map(own, originals.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM))
    near.setblocking(False)
    # The least that the kernel allows: it is memory that each placeholder holds.
    near.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 1)
    try:
        while True:
            near.send(bytes(1024))
    except BlockingIOError:
        return near, far


def put(sock: _socket.socket, fd: int) -> None:
    """Make ``fd`` be ``sock``, registered with the same epolls, inherited as before."""
    epoll.leave(fd)
    try:
        os.dup2(sock.fileno(), fd, os.get_inheritable(fd))
    finally:
        epoll.rejoin(fd)
