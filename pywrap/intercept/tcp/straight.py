"""The straight road (``tunnel.straight_road``) of the program's own sockets."""

from __future__ import annotations

import errno

from pywrap.errors import SocksError
from pywrap.intercept import originals
from pywrap.intercept.own_socket import Own
from pywrap.intercept.socket_inodes import is_open
from pywrap.intercept.tcp.connected_errno import kernel_error
from pywrap.tunnel.attempt import TunnelAttempt
from pywrap.tunnel.straight_road import Road, StraightTunnel

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from pywrap.socks.wire import Endpoint
    from pywrap.tunnel.deadline import Deadline


class HopAddress(tuple):  # type: ignore[type-arg]
    """The address of a first hop for connect(): by its class, the audit hook sees that our code made it."""

    __slots__ = ()


class HadPeer(Exception):
    """The socket was connected before, or listens: nothing was done to it. ``errno``: EISCONN or EALREADY."""

    def __init__(self, errno: int) -> None:
        super().__init__(errno)
        self.errno = errno


class StraightAttempt(StraightTunnel):
    """A tunnel along ``road`` on ``sock``, whose inode is ``number``; used as a ``TunnelAttempt`` is.

    ``sock`` is the program's own socket, without a timeout, or a duplicate; either way in non-blocking mode.
    ``otherwise`` makes the ``TunnelAttempt`` that takes over, on the socket that it is given.
    """

    __slots__ = ("_fd", "_number", "duplicate")

    # No name of a first hop has to be looked up.
    is_ready = True

    def __init__(
        self,
        sock: _socket.socket,
        number: int,
        road: Road,
        destination: Endpoint,
        deadline: Deadline,
        otherwise: Callable[[_socket.socket], TunnelAttempt],
    ) -> None:
        super().__init__(sock, road, destination, deadline, otherwise)
        self._fd = originals.fileno(sock)
        self._number = number
        # Where ``sock`` is the program's: the duplicate that was made for the ``TunnelAttempt`` that takes
        # over.
        self.duplicate: Own | None = None

    def start(self) -> bool:
        """Begin, as ``TunnelAttempt.start``.

        Raises:
            HadPeer: ``sock`` was connected before, or listens.
        """
        self.deadline.connecting()
        try:
            originals.connect(self.sock, self._road.sockaddr)
        except BlockingIOError as err:
            # TCP is connecting. EALREADY is a BlockingIOError too.
            if err.errno == errno.EALREADY:
                raise HadPeer(err.errno) from None
        except OSError as err:
            if err.errno == errno.EISCONN:
                raise HadPeer(err.errno) from None
            return self._leave(TunnelAttempt.start)
        else:
            error = kernel_error(self.sock)
            if error:
                # An earlier connect() has ended, which the kernel reports by this call.
                raise HadPeer(error)
            return self._leave(TunnelAttempt.advance)
        return self._talk() if self._road.is_here else False

    def advance(self) -> bool:
        """Go as far as possible without waiting; return whether the tunnel is open."""
        if self._general is None and not self.is_ours():
            raise self._closed()
        return super().advance()

    def expire(self) -> bool:
        """The deadline's moment has passed."""
        if self._general is None and not self.is_ours():
            raise self._closed()
        return super().expire()

    def abandon(self) -> None:
        """Close what was opened here, if anything was."""
        if self._general is not None or self.is_ours():
            super().abandon()

    def is_ours(self) -> bool:
        """Whether the descriptor is still that of ``sock``."""
        return originals.fileno(self.sock) == self._fd and is_open(self._fd, self._number)

    def _closed(self) -> SocksError:
        # The errno that C reports for a socket that was closed while it connects.
        number = errno.EBADF if originals.fileno(self.sock) < 0 else errno.ECONNABORTED
        return SocksError("abandoned: the program has closed its descriptor", number)

    _send = staticmethod(originals.send)
    _receive = staticmethod(originals.recv)

    def _handed_over(self) -> _socket.socket:
        if isinstance(self.sock, Own):
            return self.sock
        self.duplicate = Own.duplicate(self.sock, self._number)
        return self.duplicate
