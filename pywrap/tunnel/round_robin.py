"""Whose turn it is in a round robin: one number for all processes of a run.

The number is the content of a memfd that the launcher makes and never closes: it outlives the exec, and goes
with the program. Children have it closed (``close_fds``), so everybody opens it by its path below /proc, anew
for each turn, since only then a lock is that of one turn and not of the process.

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

_SIZE = 8


def create() -> str:
    """Make the number and return its path, which is good for this process, what it execs, and children.

    Raises:
        OSError: no descriptor left.
    """
    low = os.memfd_create(_NAME, 0)
    try:
        return f"/proc/{os.getpid()}/fd/{fcntl(low, F_DUPFD, _HIGH)}"
    finally:
        os.close(low)


class RoundRobinCounter:
    """The number of one chain: ``place`` is that of the chain, ``path`` as made by ``create``."""

    def __init__(self, path: str, place: int = 0) -> None:
        self._path = path
        self._offset = place * _SIZE
        self._own = 0

    def take(self, choose: Callable[[int], tuple[T, int]]) -> T:
        """Call ``choose(turn)``, which returns its choice and the next turn; return the choice."""
        fd = self._open()
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

    def _open(self) -> int:
        if not self._path:
            return -1
        try:
            # A number that has become another file since is not written to.
            if _NAME not in os.readlink(self._path):
                return -1
            return os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return -1
