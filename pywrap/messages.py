"""Lines on stderr from inside the target process: ``pysocksify[4121]: …``.

Written to the descriptor itself: the program may have replaced ``sys.stderr``, or not made it yet.
"""

from __future__ import annotations

import os

STDERR = 2


class Messages:
    """Says what the user asked to hear. ``verbosity`` as in ``Settings``."""

    def __init__(self, verbosity: int) -> None:
        self.verbosity = verbosity
        self._file = _identity()

    def say(self, level: int, text: str) -> None:
        """Print ``text`` when the verbosity is at least ``level``."""
        # A daemon closes its stderr, and the number may be a connection by now.
        if self.verbosity >= level and self._file is not None and _identity() == self._file:
            line = f"pysocksify[{os.getpid()}]: {text}\n"
            try:
                os.write(STDERR, line.encode("utf-8", "backslashreplace"))
            except OSError:
                # Nobody reads it any more, and the connection that this is about goes on.
                pass


def _identity() -> tuple[int, int] | None:
    try:
        status = os.fstat(STDERR)
    except OSError:
        return None
    return status.st_dev, status.st_ino
