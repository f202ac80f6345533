"""The program's descriptors of a listener: they refer to a placeholder, or to the control connection.

All of them refer to one open file; dup() adds one more. The registry finds the listener by the inode of that
file, so putting another file there changes the registry's table as well. Everything here is done under the
registry's lock.
"""

from __future__ import annotations

import errno
import os

from pywrap.intercept import originals
from pywrap.intercept.hand_over import put
from pywrap.intercept.socket_inodes import inode, is_open
from pywrap.intercept.tcp.placeholder_socket import placeholder
from pywrap.tunnel.attempt import POLLIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from pywrap.intercept.own_socket import Own
    from pywrap.intercept.registry import Listener, SocketRegistry


class Descriptors:
    """``fds``: the descriptors, including those that the program has closed by os.close(), unseen.

    ``number``: the inode of their file. ``far``: the other end of the placeholder; None while the file is
    another one.
    """

    def __init__(self, fd: int, registry: SocketRegistry, listener: Listener) -> None:
        self.fds = {fd}
        self.number = inode(fd)
        self.far: Own | None = None
        self._registry = registry
        self._listener = listener

    def open(self) -> list[int]:
        """The descriptors that are still the listener's: a closed one may be another file by now."""
        return [fd for fd in self.fds if is_open(fd, self.number)]

    def put_placeholder(self) -> None:
        """Put a new placeholder, which is not readable, on the descriptors."""
        near, far = placeholder()
        try:
            self._put(near)
        except BaseException:
            far.close()
            raise
        finally:
            near.close()
        before, self.far = self.far, far
        if before is not None:
            before.close()

    def put_connection(self, control: _socket.socket) -> None:
        """Put the file of ``control`` on the descriptors. The caller may then close ``control``."""
        self._put(control)
        self.close()

    def put_back(self, sock: _socket.socket) -> None:
        """Put ``sock``, which does not listen, there; the caller takes the listener out of the table."""
        for fd in self.open():
            put(sock, fd, self.number)

    def _put(self, sock: _socket.socket) -> None:
        before, number = self.number, inode(sock.fileno())
        # In the table first: a signal handler that meets ``sock`` on a descriptor must find the listener.
        self._registry.listen_at(number, self._listener)
        for fd in self.open():
            put(sock, fd, self.number)
        self.number = number
        self._registry.listening.pop(before, None)

    def make_readable(self) -> bool:
        """Make the placeholder readable for pollers; False when the program has closed it unseen."""
        assert self.far is not None, "there is a placeholder"
        try:
            self.far.send(b"\0")
        except OSError:
            return False
        return True

    @staticmethod
    def make_unreadable(fd: int) -> None:
        """Undo ``make_readable``. ``fd``: any descriptor of the placeholder."""
        try:
            while read_now(fd, 64):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Close the other end of the placeholder."""
        if self.far is not None:
            self.far.close()
        self.far = None


def read_now(fd: int, size: int) -> bytes:
    """Up to ``size`` bytes from ``fd``, which becomes non-blocking.

    Raises:
        BlockingIOError: there is nothing to read.
    """
    # Without this a read could block: after a fork(), another process may have read the bytes from the file.
    os.set_blocking(fd, False)
    poller = originals.poll()
    poller.register(fd, POLLIN)
    # A signal handler, or another thread, may have called setblocking(True) meanwhile.
    if not poller.poll(0):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return os.read(fd, size)
