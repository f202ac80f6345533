"""One line on a terminal while the doctor works: how many are done, and what the others are asked."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from pywrap.config.settings import Proxy

# Carriage return, and erase to the end of the line (ECMA-48); every terminal of today knows it.
_CLEAR = "\r\x1b[K"


class Progress:
    """Written to stderr when that is a terminal and ``wanted``; gone when the block ends."""

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
        """The path of this ``number`` is asked for ``what`` now; "" when it is done."""
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
        # A line that wraps could not be taken back.
        print(_CLEAR + text[: _columns() - 1], end="", file=sys.stderr, flush=True)


def _columns() -> int:
    try:
        # 0 where nobody has told the terminal its size.
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80
