"""The error for a program that is not started, and its exit statuses."""

from __future__ import annotations

# The exit statuses of env(1).
CANNOT_RUN = 126
NOT_FOUND = 127


class LaunchError(Exception):
    """PROGRAM is not started. ``hint``: what to do, or "". ``status``: the exit status of pysocksify."""

    def __init__(self, message: str, hint: str = "", status: int = CANNOT_RUN) -> None:
        super().__init__(message)
        self.hint = hint
        self.status = status


class NotCovered(LaunchError):
    """The patches cannot cover PROGRAM. It can still run in a confinement.

    ``reason``: why not, for a message of a program that runs. ``leaves``: its traffic would leave directly.
    """

    def __init__(
        self, reason: str, hint: str = "", status: int = CANNOT_RUN, *, leaves: bool = False
    ) -> None:
        consequence = ", so its traffic would leave directly; not started" if leaves else ""
        super().__init__(reason + consequence, hint, status)
        self.reason = reason
