"""Processes that are not children of the tests: found by /proc, and waited for by polling it."""

import select
import time
from pathlib import Path

PATIENCE = 30


def children(pid: int) -> list[int]:
    """The pids of the children of ``pid``, those of its first thread."""
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def wait_until(condition):
    """Poll ``condition``: no child of this process, whose end could be waited for."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        select.select([], [], [], 0.01)


def gone(pid: int) -> bool:
    """Whether ``pid`` has ended; it may be a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
