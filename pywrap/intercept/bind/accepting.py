"""accept() on a listener: the mode of the socket, and which thread waits for the peer.

A port at a proxy has one peer. So of the threads that call accept(), one waits for the peer, and the others
wait for that thread.
"""

from __future__ import annotations

import errno
import os
from time import monotonic

from pywrap.intercept import originals
from pywrap.intercept.lock import Lock
from pywrap.tunnel.attempt import POLLIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any, Protocol, TypeAlias

    # A new descriptor, and the address of the peer as the socket module has it.
    Accepted: TypeAlias = tuple[int, tuple[Any, ...]]

    class Source(Protocol):
        """The listener, as far as accept() needs it (``listener.Listener``)."""

        @property
        def asking(self) -> bool:
            """Whether the listener waits for the proxy's first reply."""

        def wait_for_reply(self, timeout: float | None) -> None:
            """Block until the first reply is in, ``timeout`` seconds at most; None: without a limit."""

        def next_peer(self, fd: int, patient: bool) -> Accepted | None:
            """The peer, if it has connected; None if not. ``patient``: whether the caller goes on waiting."""


class Accepting:
    """The calls of accept() on one listener. ``lock()`` is the registry's lock."""

    def __init__(self, source: Source, lock: Callable[[], Lock]) -> None:
        self._source = source
        self._lock = lock
        # Held by the thread that waits for the peer. It is never taken under the registry's lock (``lock``).
        self._turn = Lock()

    def accept(self, sock: _socket.socket) -> Accepted:
        """As socket._accept().

        Raises:
            OSError: the proxy does not listen, and will not.
            BlockingIOError, TimeoutError: no peer has connected; which of the two, the mode of ``sock``
                decides.
        """
        timeout = originals.gettimeout(sock)
        if timeout == 0:
            found = self._source.next_peer(originals.fileno(sock), patient=False)
            if found is None:
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return found
        end = None if timeout is None else monotonic() + timeout
        # A signal handler may have interrupted a call of accept() in this thread, which has the turn.
        held = self._turn.is_mine
        try:
            if not held and not self._take_turn(timeout):
                raise TimeoutError("timed out")
            while True:
                found = self._source.next_peer(originals.fileno(sock), patient=True)
                if found is not None:
                    return found
                self._sleep(originals.fileno(sock), end)
        finally:
            if not held and self._turn.is_mine:
                self._turn.release()

    def _take_turn(self, timeout: float | None) -> bool:
        return self._lock().released(lambda: self._turn.acquire(timeout=-1 if timeout is None else timeout))

    def forked(self) -> None:
        """In a child after fork(), where no other thread waits: make the lock anew."""
        self._turn = Lock()

    def _sleep(self, fd: int, end: float | None) -> None:
        """Block until the descriptor ``fd`` is readable.

        Raises:
            TimeoutError: the moment ``end`` of the monotonic clock has come.
        """
        left = None if end is None else end - monotonic()
        if left is not None and left <= 0:
            raise TimeoutError("timed out")
        if self._source.asking:
            self._source.wait_for_reply(left)
            return
        poller = originals.poll()
        poller.register(fd, POLLIN)
        self._lock().released(lambda: poller.poll(None if left is None else int(left * 1000) + 1))
