"""The program's descriptors of a listener: a placeholder is on them, or the control connection.

All of them are one open file, so dup() only adds to them. What is on them is found by its inode
(``registry``), so each change of it is a change of the table as well. Everything here is done under the
registry's lock.
"""

from __future__ import annotations

import os

from pywrap.intercept.sockets import inode, is_open
from pywrap.intercept.tcp.placeholder import placeholder, put

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from pywrap.intercept.own import Own
    from pywrap.intercept.registry import Listener, SocketRegistry


class Descriptors:
    """``fds``: the descriptors, those that os.close() has closed included. ``number``: the inode there.

    ``far``: the other end of the placeholder; None while another file is there.
    """

    def __init__(self, fd: int, registry: SocketRegistry, listener: Listener) -> None:
        self.fds = {fd}
        self.number = inode(fd)
        self.far: Own | None = None
        self._registry = registry
        self._listener = listener

    def open(self) -> list[int]:
        """Those that the program still listens on: another one may be another file by now."""
        return [fd for fd in self.fds if is_open(fd, self.number)]

    def put_placeholder(self) -> None:
        """Put a new placeholder there, which is not readable."""
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
        """Put ``control`` there, which the caller may close then."""
        self._put(control)
        self.close()

    def put_back(self, sock: _socket.socket) -> None:
        """Put ``sock`` there, which does not listen: the caller takes the listener out of the table."""
        for fd in self.open():
            put(sock, fd)

    def _put(self, sock: _socket.socket) -> None:
        number = inode(sock.fileno())
        for fd in self.open():
            put(sock, fd)
        self._registry.listening.pop(self.number, None)
        self.number = number
        self._registry.listen_at(number, self._listener)

    def make_readable(self) -> bool:
        """Wake up what polls the placeholder; False when the program has closed it unseen."""
        assert self.far is not None, "there is a placeholder"
        try:
            self.far.send(b"\0")
        except OSError:
            return False
        return True

    @staticmethod
    def make_unreadable(fd: int) -> None:
        """Undo ``make_readable``. ``fd`` is any descriptor of the placeholder."""
        os.set_blocking(fd, False)
        try:
            while os.read(fd, 64):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Close the other end of the placeholder."""
        if self.far is not None:
            self.far.close()
        self.far = None
