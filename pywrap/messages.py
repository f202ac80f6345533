"""Lines on stderr from inside the target process: ``pysocksify[4121]: …``.

They are written to descriptor 2 itself: the program may have replaced ``sys.stderr``, which does not exist
yet before the program starts.
"""

from __future__ import annotations

import os

STDERR = 2


class Messages:
    """Prints messages up to the ``verbosity`` that the user asked for (``Settings.verbosity``)."""

    def __init__(self, verbosity: int) -> None:
        self.verbosity = verbosity
        self._file = _identity()

    def say(self, level: int, text: str) -> None:
        """Print ``text``, one line, when the verbosity is at least ``level``; write errors are ignored."""
        # Only while descriptor 2 is the same file: a daemon closes its stderr, and the number may then be a
        # connection.
        if self.verbosity >= level and self._file is not None and _identity() == self._file:
            line = f"pysocksify[{os.getpid()}]: {text}\n"
            try:
                os.write(STDERR, line.encode("utf-8", "backslashreplace"))
            except OSError:
                # EPIPE, for example: the reader is gone. The program's connection must not fail for that.
                pass


def _identity() -> tuple[int, int] | None:
    try:
        status = os.fstat(STDERR)
    except OSError:
        return None
    return status.st_dev, status.st_ino
