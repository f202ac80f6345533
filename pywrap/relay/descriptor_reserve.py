"""Descriptors when they run short: some are kept for the refusals that say so.

The kernel gives the lowest number that is free, so the number of a new descriptor tells how full
the table is. Those just below the limit are a reserve: clients are accepted into it, and are told
why they are not served; nothing else may stay there.
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
    """Is this descriptor one of the last that the process may have?"""
    limit = getrlimit(RLIMIT_NOFILE)[0]
    # -1 is no limit at all.
    return limit >= 0 and fd >= limit - min(RESERVE, limit // 4)


def open_socket(family: int, kind: int) -> _socket.socket:
    """A socket that never waits.

    Raises:
        OSError: of socket(2); EMFILE also when only the reserve is left.
    """
    sock = _socket.socket(family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC)
    if is_reserved(sock.fileno()):
        sock.close()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return sock
