"""The line on a terminal during ``--check``: how many paths are done, and what is tested on the others."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from pywrap.config.settings import Proxy

# Carriage return, and "erase to the end of the line" (ECMA-48, EL).
_CLEAR = "\r\x1b[K"


class Progress:
    """Shows the line on stderr, if that is a terminal and ``wanted``; erases it at the end of the block."""

    def __init__(self, paths: Sequence[tuple[Proxy, ...]], wanted: bool) -> None:
        self._paths = paths
        self._shown = wanted and sys.stderr.isatty()
        self._asked = dict.fromkeys(range(len(paths)), "dial")

    def __enter__(self) -> Progress:
        self._show()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            print(_CLEAR, end="", file=sys.stderr, flush=True)

    def note(self, number: int, what: str) -> None:
        """Note that ``what`` is tested now on the path with this ``number``; "" when that is done."""
        if what:
            self._asked[number] = what
        else:
            del self._asked[number]
        self._show()

    def _show(self) -> None:
        if not self._shown:
            return
        done = len(self._paths) - len(self._asked)
        waiting = ", ".join(f"{self._paths[number][-1]} ({what})" for number, what in self._asked.items())
        text = f"checked {done} of {len(self._paths)}; waiting for {waiting}" if waiting else ""
        # A line that wraps could not be erased.
        print(_CLEAR + text[: _columns() - 1], end="", file=sys.stderr, flush=True)


def _columns() -> int:
    try:
        # 0: the terminal has no size set.
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80
