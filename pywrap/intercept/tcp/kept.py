"""An open tunnel that is kept for copies of its placeholder on their way in another socket (SCM_RIGHTS).

``Kept`` waits until the last copy has been closed, or has become the tunnel.
"""

from __future__ import annotations

import errno

from pywrap.errors import SocksError
from pywrap.intercept import originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from pywrap.intercept.own_socket import Own


class Kept:
    """``tunnel``, and the far end of the placeholder, ``sock``, neither of which it closes; a ``Waited``."""

    __slots__ = ("sock", "tunnel")

    # A hang-up is always told.
    wants = 0
    moment = float("inf")

    def __init__(self, tunnel: _socket.socket, sock: Own) -> None:
        self.tunnel = tunnel
        self.sock = sock

    @property
    def deadline(self) -> Kept:
        """Itself: there is none."""
        return self

    def remaining(self) -> float:
        """Seconds until the deadline."""
        return self.moment

    def start(self) -> bool:
        """Have the copies writable; the result is that of ``advance``."""
        try:
            # What is in the placeholder keeps it from that.
            while self.sock.recv(1 << 16):
                pass
        except BlockingIOError:
            pass
        return self.advance()

    def advance(self) -> bool:
        """Is no copy left?

        Raises:
            SocksError: the program has closed the descriptor.
        """
        if self.sock.is_lost():
            raise SocksError("abandoned: the program has closed its descriptor", errno.ECONNABORTED)
        return has_hung_up(self.sock)

    def expire(self) -> bool:
        """Never called."""
        raise AssertionError("it has no deadline")

    def abandon(self) -> None:
        """Nothing: ``Pending``, which has made it, closes the sockets."""


def has_hung_up(far: Own) -> bool:
    """Has the other end of ``far`` been closed, in all processes?"""
    poll = originals.poll()
    poll.register(far.fileno(), 0)
    return bool(poll.poll(0))
