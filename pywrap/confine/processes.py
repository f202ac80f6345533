"""The processes that are in a confinement, as /proc has them."""

from __future__ import annotations

import os


def processes(namespace: str) -> list[int]:
    """The processes whose network is ``namespace``, a target of ``/proc/PID/ns/net``, without this one."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.readlink(f"/proc/{name}/ns/net") == namespace:
                    found.append(int(name))
            except OSError:
                # It has ended, or is another user's.
                continue
    return found
