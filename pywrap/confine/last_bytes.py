"""What programs have sent before they ended is still sent.

A kernel goes on sending when a process has ended. The bytes of a confined program wait in the broker's
sockets, and would be lost with the broker: it stays until they are the kernel's again. The caller waits for a
moment at most, then the launcher ends, and a copy of it stays (``left_behind``).
"""

from __future__ import annotations

from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.confine.broker import Broker
    from pywrap.relay.loop import Loop

# Seconds within which most is sent: less than it costs to make another process.
MOMENT = 0.005
# Seconds after which the kernel, too, gives up an end that takes nothing (tcp_orphan_retries, tcp(7)).
PATIENCE = 100.0
_LOOK = 0.001
_LONGEST_LOOK = 0.1


class LastBytes:
    """Calls ``sent()`` when nothing is left to be sent, or ``late()`` after ``limit`` seconds.

    No program is left inside. ``extends``: the seconds count from the last byte that was taken.
    """

    def __init__(
        self,
        loop: Loop,
        broker: Broker,
        limit: float,
        sent: Callable[[], None],
        late: Callable[[], None],
        extends: bool = True,
    ) -> None:
        self._loop = loop
        self._broker = broker
        self._limit = limit
        self._sent = sent
        self._late = late
        self._extends = extends
        self._carried = 0
        self._since = monotonic()
        self._pause = _LOOK
        # What the programs' ends have made ready is in the loop's next batch.
        loop.after(0, self._look)

    def _look(self) -> None:
        if not self._broker.has_unsent():
            self._sent()
            return
        carried, now = self._broker.carried, monotonic()
        if self._extends and carried != self._carried:
            self._carried, self._since = carried, now
        if now - self._since > self._limit:
            self._late()
            return
        self._loop.after(self._pause, self._look)
        self._pause = min(2 * self._pause, _LONGEST_LOOK)
