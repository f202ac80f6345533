"""Timers of the loop. Most are cancelled: a handshake or a connection is rarely too slow."""

from __future__ import annotations

# The part of ``heapq`` in C; its part in Python would be imported for nothing.
from _heapq import heapify, heappop, heappush
from itertools import count
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


class Timer:
    """``call``: the function to call, None once it was called or cancelled. ``owner``: see ``Timers.add``."""

    __slots__ = ("call", "owner")

    def __init__(self, call: Callable[[], None], owner: Any) -> None:
        self.call: Callable[[], None] | None = call
        self.owner = owner

    def take(self) -> tuple[Callable[[], None], Any]:
        """The function to call now, and its owner. The timer is then done."""
        call, owner = self.call, self.owner
        assert call is not None
        self.call = self.owner = None
        return call, owner


class Timers:
    """Functions to call at moments of the monotonic clock, in the order of these moments."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._cancelled = 0
        # Orders timers of the same moment; the heap would otherwise compare the timers, which have no order.
        self._number = count()

    def add(self, delay: float, call: Callable[[], None], owner: Any = None) -> Timer:
        """Call ``call`` in ``delay`` seconds. ``owner``: for ``cancel_all``."""
        timer = Timer(call, owner)
        heappush(self._heap, (monotonic() + delay, next(self._number), timer))
        return timer

    def cancel(self, timer: Timer) -> None:
        """Never call ``timer``. Does nothing when it has run."""
        if timer.call is None:
            return
        timer.call = timer.owner = None
        self._cancelled += 1
        # Thousands of connections a second, each with a timer of half a minute, would
        # otherwise keep a hundred thousand cancelled timers in the heap.
        if self._cancelled > 100 and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].call is not None]
            heapify(self._heap)
            self._cancelled = 0

    def cancel_all(self, owner: Any) -> None:
        """Cancel all timers that were added with ``owner``."""
        for _, _, timer in [entry for entry in self._heap if entry[2].owner is owner]:
            self.cancel(timer)

    def wait(self) -> float | None:
        """Seconds until the next timer, None when there is none."""
        if not self._heap:
            return None
        return max(0.0, self._heap[0][0] - monotonic())

    def due(self) -> Iterator[Timer]:
        """The timers that are due, one by one; the caller calls ``take`` before it asks for the next."""
        if not self._heap:
            return
        now = monotonic()
        while self._heap and self._heap[0][0] <= now:
            timer = heappop(self._heap)[2]
            if timer.call is None:
                self._cancelled -= 1
                continue
            yield timer
