"""Whose turn it is in a round robin: one number for all processes of a run. And the file that they share.

The number is in a memfd that the launcher makes and never closes: it outlives the exec, and goes with the
program. Children have it closed (``close_fds``), so everybody opens it by its path below /proc, anew for each
turn, since only then a lock is that of one turn and not of the process. Behind the turns of all chains it has
the names of the run (``name_list``).

Whoever cannot (the program has ended and left children behind, or closed all descriptors; no /proc) counts
for itself.
"""

from __future__ import annotations

import os
from fcntl import F_DUPFD, LOCK_EX, fcntl, flock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

_NAME = "pysocksify-turns"

# Out of the way of programs that expect small numbers, as after `exec 3<file`.
_HIGH = 64
# Behind those that every program has.
_LOW = 3

_SIZE = 8

# Bytes for the turns of all chains.
SIZE = 1 << 16


def create() -> str:
    """Make the file and return its path, which is good for this process, what it execs, and children.

    Raises:
        OSError: no descriptor left.
    """
    low = os.memfd_create(_NAME, 0)
    try:
        os.ftruncate(low, SIZE)
        try:
            fd = fcntl(low, F_DUPFD, _HIGH)
        except OSError:
            # `ulimit -n 64`: there are no such numbers.
            fd = fcntl(low, F_DUPFD, _LOW)
    finally:
        os.close(low)
    return f"/proc/{os.getpid()}/fd/{fd}"


def open_shared(path: str, flags: int = 0) -> int:
    """Open the file that ``create`` made at ``path`` for reading and writing; -1 where that cannot be.

    A forked child has the descriptor itself, also when the process that made it has ended.
    """
    if path:
        for name in (path, f"/proc/self/fd/{path.rpartition('/')[2]}"):
            try:
                # A number that has become another file since is not written to.
                if _NAME in os.readlink(name):
                    return os.open(name, os.O_RDWR | os.O_CLOEXEC | flags)
            except OSError:
                continue
    return -1


class RoundRobinCounter:
    """The number of one chain: ``place`` is that of the chain, ``path`` as made by ``create``."""

    def __init__(self, path: str, place: int = 0) -> None:
        self._path = path
        self._offset = place * _SIZE
        self._own = 0

    def take(self, choose: Callable[[int], tuple[T, int]]) -> T:
        """Call ``choose(turn)``, which returns its choice and the next turn; return the choice."""
        fd = open_shared(self._path)
        if fd < 0:
            chosen, self._own = choose(self._own)
            return chosen
        try:
            # Held for the time of a choice, which is no input or output.
            flock(fd, LOCK_EX)
            turn = int.from_bytes(os.pread(fd, _SIZE, self._offset), "little")
            chosen, turn = choose(turn)
            os.pwrite(fd, turn.to_bytes(_SIZE, "little"), self._offset)
            return chosen
        finally:
            os.close(fd)
