"""Descriptors when they run short: some are kept for the refusals that say so.

The kernel gives the lowest number that is free, so the number of a new descriptor tells how full
the table is. The numbers just below the limit are a reserve: clients that get one of them are refused with
a reply that says why; nothing else may keep such a number.
"""

from __future__ import annotations

import _socket
import errno
import os
from _socket import SOCK_CLOEXEC, SOCK_NONBLOCK
from resource import RLIMIT_NOFILE, getrlimit

# Clients that can be refused at a time. A quarter of the table at most.
RESERVE = 16


def is_reserved(fd: int) -> bool:
    """Whether ``fd`` is one of the last descriptors below the limit of the process (RLIMIT_NOFILE)."""
    limit = getrlimit(RLIMIT_NOFILE)[0]
    # RLIM_INFINITY is -1: no limit.
    return limit >= 0 and fd >= limit - min(RESERVE, limit // 4)


def open_socket(family: int, kind: int) -> _socket.socket:
    """A new socket of ``family`` and type ``kind`` (socket(2)), non-blocking and close-on-exec.

    Raises:
        OSError: of socket(2); EMFILE also when only the reserve is left.
    """
    sock = _socket.socket(family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC)
    if is_reserved(sock.fileno()):
        sock.close()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return sock
