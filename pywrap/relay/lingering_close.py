"""Closing a connection such that the other end surely reads our last bytes (lingering_close of nginx).

A close while there is unread input makes the kernel send a RST, and a RST makes the other
end discard what it has not read yet: the reply that gives the reason. So: end our direction, and
read until the client has ended its own.
"""

from __future__ import annotations

from _socket import SHUT_WR

from pywrap.relay.loop import IN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from pywrap.relay.loop import Loop

# Seconds after which a client that goes on sending, or does not close, is cut off.
PATIENCE = 2.0
LIMIT = 1024 * 1024


class LingeringClose:
    """Ends the connection of ``client`` so that it can read our last bytes.

    Calls ``done`` when it is closed.
    """

    __slots__ = ("_buffer", "_client", "_done", "_left", "_loop", "_timer")

    def __init__(self, loop: Loop, buffer: memoryview, client: socket, done: Callable[[], None]) -> None:
        self._loop = loop
        self._buffer = buffer
        self._client = client
        self._done = done
        self._left = LIMIT
        self._timer = loop.after(PATIENCE, self.close)

    def start(self) -> None:
        """End our direction, and wait until the client has ended its own."""
        self._loop.watch(self._client.fileno(), IN, self._on_readable)
        try:
            self._client.shutdown(SHUT_WR)
        except OSError:
            self.close()

    def abort(self) -> None:
        """Close the connection now: for the caller that cannot wait."""
        self.close()

    def close(self) -> None:
        """Close the connection now, and call ``done``."""
        self._loop.cancel(self._timer)
        self._loop.close(self._client)
        self._done()

    def _on_readable(self, events: int) -> None:
        try:
            count = self._client.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        self._left -= count
        if not count or self._left < 0:
            self.close()
