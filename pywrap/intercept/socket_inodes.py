"""A socket by its inode, which dup(), fork() and detach() keep, while close() frees the descriptor."""

from __future__ import annotations

import os

# Of stat.h: the module ``stat`` is another import at the start.
_S_IFMT = 0o170000
_S_IFSOCK = 0o140000


def inode(fd: int) -> int:
    """Return the inode of the open file ``fd``.

    Raises:
        OSError: EBADF, ``fd`` is not open.
    """
    return os.fstat(fd).st_ino


def is_open(fd: int, number: int) -> bool:
    """Is ``fd`` still the socket with the inode ``number``?"""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    # A file on a disk can have the same number.
    return status.st_ino == number and status.st_mode & _S_IFMT == _S_IFSOCK


def descriptors_of(number: int) -> list[int]:
    """The descriptors of this process that are the socket with the inode ``number``.

    It takes as long as there are open descriptors. None is found without /proc.
    """
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return []
    return [fd for fd in map(int, names) if is_open(fd, number)]
