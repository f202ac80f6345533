"""Recognizes a socket by its inode, which dup(), fork() and detach() keep."""

from __future__ import annotations

import os

# As in stat.h: the module ``stat`` would be one more import at the start.
_S_IFMT = 0o170000
_S_IFSOCK = 0o140000


def inode(fd: int) -> int:
    """Return the inode of the open file ``fd``.

    Raises:
        OSError: EBADF, ``fd`` is not open.
    """
    return os.fstat(fd).st_ino


def is_open(fd: int, number: int) -> bool:
    """Whether ``fd`` is still the socket with the inode ``number``."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    # A file on a disk can have the same number.
    return status.st_ino == number and status.st_mode & _S_IFMT == _S_IFSOCK


def descriptors_of(number: int) -> list[int]:
    """The descriptors of this process that are the socket with the inode ``number``.

    The time grows with the number of open descriptors. Without /proc none is found.
    """
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return []
    return [fd for fd in map(int, names) if is_open(fd, number)]
