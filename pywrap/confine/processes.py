"""Finds the processes in a confinement, in /proc."""

from __future__ import annotations

import os


def processes(namespace: str) -> list[int]:
    """The pids of processes in ``namespace``, a target of ``/proc/PID/ns/net``, without this one."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.readlink(f"/proc/{name}/ns/net") == namespace:
                    found.append(int(name))
            except OSError:
                # The process has ended, or is of another user.
                continue
    return found
