"""The file that all processes of a run share: counters (``round_robin``), then names (``name_list``).

It is a memfd that the launcher makes and never closes: it outlives the exec and ends with the program.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "pysocksify-shared"

# Bytes for the counters of all chains.
SIZE = 1 << 16

# The lowest descriptor to take: programs and shells use the small numbers themselves, as after `exec 3<file`.
_HIGH = 64
# The same where that is not allowed: above stdin, stdout and stderr.
_LOW = 3


def create(copy: Callable[[int, int], int]) -> str:
    """Make the file; return its path, which is valid in this process, after its exec, and in its children.

    ``copy(fd, lowest)``: make a copy of ``fd``, numbered from ``lowest`` on, that an exec leaves open.

    Raises:
        OSError: no descriptor left.
    """
    low = os.memfd_create(NAME, 0)
    try:
        os.ftruncate(low, SIZE)
        try:
            fd = copy(low, _HIGH)
        except OSError:
            # `ulimit -n 64`: no descriptor can have a number from _HIGH on.
            fd = copy(low, _LOW)
    finally:
        os.close(low)
    return f"/proc/{os.getpid()}/fd/{fd}"


def copy_alone(fd: int, lowest: int) -> int:
    """For ``create``, in a process without a second thread, which could open a file at the number meanwhile.

    The launcher is one. ``fcntl`` has one call for it, and its import takes a twentieth of a start.
    """
    while _is_open(lowest):
        lowest += 1
    return os.dup2(fd, lowest)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
