"""Finds the processes in a confinement, in /proc."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection


def processes(namespace: str, without: Collection[int] = ()) -> list[int]:
    """The processes whose network is ``namespace``, as ``/proc/PID/ns/net`` names it, without ``without``."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in without:
            try:
                if os.readlink(f"/proc/{name}/ns/net") == namespace:
                    found.append(int(name))
            except OSError:
                # The process has ended, or is of another user.
                continue
    return found
