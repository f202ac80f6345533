"""Sends the last bytes of programs that have ended.

For an unconfined process the kernel goes on sending after its end. The bytes of a confined program wait in
the broker, and would be lost with it: so the broker stays until the kernel has taken them. The caller of the
launcher waits for a moment at most; then the launcher ends, and a copy of it stays (``left_behind``).
"""

from __future__ import annotations

from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.confine.broker import Broker
    from pywrap.relay.loop import Loop

# Seconds to wait before a copy is made. Most bytes are sent within this time, which is shorter than making a
# process.
MOMENT = 0.005
# Seconds after which the kernel, too, gives up a peer that acknowledges nothing (tcp_orphan_retries, tcp(7)).
PATIENCE = 100.0
_LOOK = 0.001
_LONGEST_LOOK = 0.1


class LastBytes:
    """Calls ``sent()`` when nothing is left to be sent, or ``late()`` after ``limit`` seconds.

    To be used when no program is left inside. ``extends``: whether ``limit`` counts from the last byte that
    was sent.
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
        # The ends of the programs' sockets are in the loop's next batch of events: so look after that.
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
