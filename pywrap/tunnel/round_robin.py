"""The counters of round-robin chains, which all processes of a run share.

A counter says at which proxy of its chain the next connection begins. It is in a file (``shared_file``).
subprocess closes descriptors in children (``close_fds``), so each process opens the file by its path below
/proc, and does so for each turn: flock(2) then locks out other threads as well as other processes.

A process that cannot open the file keeps a counter of its own: the program has ended and left children
behind, or it has closed all descriptors, or there is no /proc.
"""

from __future__ import annotations

import os
from fcntl import F_DUPFD, LOCK_EX, fcntl, flock

from pywrap.tunnel import shared_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

# Bytes of one counter.
_SIZE = 8


def create() -> str:
    """As ``shared_file.create``, in any process."""
    return shared_file.create(lambda fd, lowest: fcntl(fd, F_DUPFD, lowest))


def open_shared(path: str, flags: int = 0) -> int:
    """Open the file that ``create`` made at ``path`` for reading and writing; return the descriptor, or -1.

    ``flags`` are those of open(2), besides O_RDWR and O_CLOEXEC. A forked child has inherited the descriptor,
    so it can open the file when the process in ``path`` has ended.
    """
    if path:
        for name in (path, f"/proc/self/fd/{path.rpartition('/')[2]}"):
            try:
                # The program may have closed the descriptor and got the number again for a file of its own.
                if shared_file.NAME in os.readlink(name):
                    return os.open(name, os.O_RDWR | os.O_CLOEXEC | flags)
            except OSError:
                continue
    return -1


class RoundRobinCounter:
    """The counter of one chain. ``path``: as ``create`` returns it. ``place``: the chain's index, from 0."""

    def __init__(self, path: str, place: int = 0) -> None:
        self._path = path
        self._offset = place * _SIZE
        self._own = 0

    def take(self, choose: Callable[[int], tuple[T, int]]) -> T:
        """Call ``choose(counter)``, which returns its choice and the new value; return the choice."""
        fd = open_shared(self._path)
        if fd < 0:
            chosen, self._own = choose(self._own)
            return chosen
        try:
            # Held while ``choose`` runs, which does no input or output.
            flock(fd, LOCK_EX)
            turn = int.from_bytes(os.pread(fd, _SIZE, self._offset), "little")
            chosen, turn = choose(turn)
            os.pwrite(fd, turn.to_bytes(_SIZE, "little"), self._offset)
            return chosen
        finally:
            os.close(fd)
