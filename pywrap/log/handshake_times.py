"""The times of a handshake: how long each hop took for each phase.

The phases of a hop, in this order; a protocol may have fewer of them:

* ``dial``: only for the first hop: the look-up of its name, and the TCP connection;
* ``greeting``: until a SOCKS5 proxy has picked a method of authentication;
* ``login``: until it has accepted the credentials;
* ``reply``: until it has answered the request, which includes the time in which the hop connects to the next
  one.
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
    """The times of one connection; ``tunnel.attempt`` takes them, for the path that it tries at present.

    ``ways``: how many paths were tried so far, including the present one. ``waited``: seconds until the
    present path was begun. ``begun``: the moment of the monotonic clock at which the first was begun.
    """

    __slots__ = ("_marks", "begun", "path", "ways")

    def __init__(self) -> None:
        self.path: Path = ()
        self.ways = 0
        self.begun = monotonic()
        # The beginning of each phase: the number of the hop, the phase, and the moment.
        self._marks: list[tuple[int, str, float]] = []

    def begin(self, path: Path) -> None:
        """Note that the connection to the first hop of ``path`` begins now."""
        self.path = path
        self.ways += 1
        self._marks = [(0, "dial", monotonic())]

    def expect(self, hop: int, phase: str) -> None:
        """Note that an answer of hop number ``hop`` that belongs to ``phase`` is awaited from now on."""
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
