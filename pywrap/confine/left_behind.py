"""Serves what the program has left behind in its network: daemons, jobs in the background, bytes to be sent.

The launcher ends with the program, as its caller expects; a copy of it goes on as the broker. The copy has
neither the terminal nor the output of the caller, which may wait for the end of a pipe. It ends with the last
of the processes, when their last bytes are sent.
"""

from __future__ import annotations

import os

from pywrap.confine.last_bytes import PATIENCE, LastBytes
from pywrap.confine.processes import processes
from pywrap.relay.loop import IN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.confine.broker import Broker
    from pywrap.relay.loop import Loop


def leave_caller() -> None:
    """In the copy: have neither terminal nor output of the caller."""
    os.setsid()
    os.closerange(0, 3)
    # With 0 to 2 closed, open() works at any limit of descriptors, and takes the lowest number.
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (1, 2):
        os.dup2(null, fd)


def take_over(loop: Loop, broker: Broker, namespace: str) -> None:
    """In the copy: let ``loop`` run until the last process of ``namespace`` ends."""
    broker.forked()
    _Watch(loop, broker, namespace).look()


class _Watch:
    """Stops the loop when no process is left, by a pidfd of each, and nothing is to be sent."""

    def __init__(self, loop: Loop, broker: Broker, namespace: str) -> None:
        self._loop = loop
        self._broker = broker
        self._namespace = namespace
        self._open: set[int] = set()

    def look(self) -> None:
        for pid in processes(self._namespace, self._broker.helpers):
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            self._open.add(fd)
            self._loop.watch(fd, IN, lambda events, fd=fd: self._ended(fd))  # type: ignore[misc]
        if not self._open:
            LastBytes(self._loop, self._broker, PATIENCE, sent=self._loop.stop, late=self._loop.stop)

    def _ended(self, fd: int) -> None:
        self._loop.unwatch(fd)
        self._open.discard(fd)
        os.close(fd)
        if not self._open:
            # Processes that were started since the last look.
            self.look()
