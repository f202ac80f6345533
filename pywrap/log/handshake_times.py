"""The times of a handshake: how long each hop took for each phase.

The phases of a hop, in this order; a protocol may have fewer of them:

* ``dial``: the first hop's alone: its name is looked up, and the TCP connection comes about;
* ``greeting``: until a SOCKS5 proxy has picked a method of authentication;
* ``login``: until it has taken the credentials;
* ``reply``: until it has answered the request. What the hop does for that, such as to connect to the next
  one, is part of it.
"""

from __future__ import annotations

from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from pywrap.config.settings import Path, Proxy

    # A hop and the seconds of its phases.
    HopTimes: TypeAlias = tuple[Proxy, dict[str, float]]

PHASES = ("dial", "greeting", "login", "reply")


class HandshakeTimes:
    """Taken by ``tunnel.attempt``, for the path that it tries at present.

    ``ways``: the paths that were tried so far, the present one included. ``waited``: seconds until the
    present one was begun. ``begun``: the moment (monotonic) of the first.
    """

    __slots__ = ("_marks", "begun", "path", "ways")

    def __init__(self) -> None:
        self.path: Path = ()
        self.ways = 0
        self.begun = monotonic()
        # When each phase began: the hop, the phase, and the moment.
        self._marks: list[tuple[int, str, float]] = []

    def begin(self, path: Path) -> None:
        """The first hop of ``path`` is dialled now."""
        self.path = path
        self.ways += 1
        self._marks = [(0, "dial", monotonic())]

    def expect(self, hop: int, phase: str) -> None:
        """An answer of hop ``hop`` that belongs to ``phase`` is waited for now."""
        last = self._marks[-1]
        if last[0] != hop or last[1] != phase:
            self._marks.append((hop, phase, monotonic()))

    @property
    def waited(self) -> float:
        """Seconds until the present path was begun."""
        return self._marks[0][2] - self.begun if self._marks else 0.0

    def hops(self, end: float) -> Sequence[HopTimes]:
        """The hops that were reached; the last phase ended, or was given up, at ``end`` (monotonic)."""
        found: list[HopTimes] = []
        last, until = -1, end
        # From the last to the first: each phase lasts until the one behind it began.
        for hop, phase, start in reversed(self._marks):
            if hop != last:
                found.append((self.path[hop], {}))
                last = hop
            found[-1][1][phase] = until - start
            until = start
        found.reverse()
        return found
