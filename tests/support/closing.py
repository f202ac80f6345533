"""A server that ends its connections when it is closed, so that none of its threads waits for a program."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from typing import Any


class Closing(socketserver.ThreadingTCPServer):
    """``_open``: the sockets to shut down, which subclasses note under ``_lock``."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self._open: set[Any] = set()
        self._lock = threading.Lock()
        super().__init__(*arguments, **named)

    def server_close(self) -> None:
        with self._lock:
            for sock in self._open:
                # Wakes its thread, which may wait for the next bytes of a connection that is kept.
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        super().server_close()
