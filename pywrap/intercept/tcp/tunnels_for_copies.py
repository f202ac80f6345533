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
    """Keeps ``tunnel`` until no copy of its placeholder is left; implements ``tunnel.attempt.Waited``.

    ``sock``: the far end of the placeholder. It closes neither of the two.
    """

    __slots__ = ("sock", "tunnel")

    # No events: a hang-up is reported in any case (poll(2)).
    wants = 0
    moment = float("inf")

    def __init__(self, tunnel: _socket.socket, sock: Own) -> None:
        self.tunnel = tunnel
        self.sock = sock

    @property
    def deadline(self) -> Kept:
        """This object, since there is no deadline: ``remaining`` is infinite."""
        return self

    def remaining(self) -> float:
        """Seconds until the deadline."""
        return self.moment

    def start(self) -> bool:
        """Make the copies writable; return what ``advance`` returns."""
        try:
            # The bytes in the placeholder keep it from being writable.
            while self.sock.recv(1 << 16):
                pass
        except BlockingIOError:
            pass
        return self.advance()

    def advance(self) -> bool:
        """Return whether no copy is left.

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
    """Whether the other end of ``far`` has been closed, in all processes."""
    poll = originals.poll()
    poll.register(far.fileno(), 0)
    return bool(poll.poll(0))
