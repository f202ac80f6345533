"""A non-blocking connect(): the program holds a placeholder until the tunnel takes its place.

1. The program's socket moves to another descriptor, ``real``; it stays the same open file, so options and
   bind() survive.
2. One end of a socketpair takes its place, filled so that it is neither readable nor writable, as a
   socket that is connecting. Nobody who polls it wakes up.
3. The background thread opens the tunnel on ``real``.
4. ``real`` (or an unconnected socket, when it failed) is put on the program's descriptor, and the
   socketpair's far end closed: whoever polls wakes up and finds the socket writable.
5. getsockopt(SO_ERROR) tells how it went (``options``).

A thread that sleeps in poll(2) or select(2) for *readability* alone through step 4 is not woken by data
on the new file: the kernel looks for sleepers on the old one. It would have to ask for writability as well,
as everybody does who waits for a connection.
"""

from __future__ import annotations

import _socket
import os
from time import monotonic

from pywrap.intercept import epoll, originals
from pywrap.intercept.tunnels import inode
from pywrap.tunnel.background import Task
from pywrap.tunnel.dial import like

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pywrap.errors import SocksError
    from pywrap.intercept.session import Session
    from pywrap.socks.wire import Endpoint
    from pywrap.tunnel.opening import Opening


class Pending:
    """A tunnel in the making.

    ``fds``: the descriptors that the program waits on (dup() adds to them). ``real``: the socket
    underneath, for options meanwhile.
    """

    def __init__(
        self, session: Session, sock: _socket.socket, peer: tuple[Any, ...], destination: Endpoint
    ) -> None:
        fd = originals.fileno(sock)
        self.fds = {fd}
        self.real = originals.Socket(*originals.family_type_proto(sock), fileno=os.dup(fd))
        self._session = session
        self._peer = peer
        self._destination = destination
        self._started = monotonic()
        self._settled = originals.allocate_lock()
        self._settled.acquire()
        near = None
        try:
            near, self._far = _placeholder()
            self._number = inode(near.fileno())
            self._start(near, fd)
        except BaseException:
            self.real.close()
            raise
        finally:
            if near is not None:
                near.close()

    def _start(self, near: _socket.socket, fd: int) -> None:
        deadline = self._session.deadline(None)
        task = Task(
            lambda: self._session.opening(self.real, self._destination, deadline),
            self._report,
            self._far.fileno(),
        )
        with self._session.tunnels.lock:
            _put(near, fd)
            self._session.tunnels.pending[self._number] = self
        try:
            self._session.background.submit(task)
        except BaseException:
            with self._session.tunnels.lock:
                del self._session.tunnels.pending[self._number]
                _put(self.real, fd)
            self._far.close()
            raise

    def wait(self, timeout: float | None) -> None:
        """Block until the tunnel stands or has failed, ``timeout`` seconds at most."""
        if self._settled.acquire(True, -1 if timeout is None else timeout):
            self._settled.release()

    def forked(self) -> None:
        """In a child after fork(): the parent owns the dialogue, and goes on with it."""
        self._close()

    def _report(self, opening: Opening | None, error: SocksError | None) -> None:
        """On the background thread: the end, good or bad."""
        try:
            with self._session.tunnels.lock:
                del self._session.tunnels.pending[self._number]
                if error is not None:
                    self._fail(error)
                elif opening is not None:
                    self._succeed(opening.sock)
        finally:
            self._close()

    def _succeed(self, sock: _socket.socket) -> None:
        self._session.tunnels.establish(sock.fileno(), self._peer)
        self._hand_over(sock)
        if sock is not self.real:
            sock.close()
        self._session.opened(self._destination, self._started)

    def _fail(self, error: SocksError) -> None:
        try:
            fresh = like(self.real, self.real.family)
        except OSError:
            # No descriptor left (EMFILE).
            fresh = _cut_off(self.real)
        self._session.tunnels.fail(fresh.fileno(), error.errno)
        self._hand_over(fresh)
        fresh.close()
        self._session.failed(self._destination, error)

    def _hand_over(self, sock: _socket.socket) -> None:
        """Put ``sock`` where the program waits."""
        for fd in self.fds:
            # A descriptor that was closed behind our back (os.close) may be another file by now.
            if not _is(fd, self._number):
                continue
            # The program may have changed the mode meanwhile.
            sock.setblocking(os.get_blocking(fd))
            self._session.tunnels.linger(inode(sock.fileno()), fd)
            _put(sock, fd)

    def _close(self) -> None:
        self._far.close()
        self.real.close()
        self._settled.release()


def _cut_off(sock: _socket.socket) -> _socket.socket:
    """Make sure that no byte gets into a handshake that is half done."""
    try:
        sock.shutdown(_socket.SHUT_RDWR)
    except OSError:
        # Not connected, so there is none.
        pass
    return sock


def _put(sock: _socket.socket, fd: int) -> None:
    """Make ``fd`` be ``sock``, registered with the same epolls, inherited as before."""
    left = epoll.leave(fd)
    os.dup2(sock.fileno(), fd, os.get_inheritable(fd))
    epoll.rejoin(fd, left)


def _placeholder() -> tuple[_socket.socket, _socket.socket]:
    """A socketpair whose first end is neither readable nor writable."""
    near, far = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    near.setblocking(False)
    # The least that the kernel allows: it is memory that each pending tunnel holds.
    near.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 1)
    try:
        while True:
            near.send(bytes(1024))
    except BlockingIOError:
        return near, far


def _is(fd: int, number: int) -> bool:
    try:
        return inode(fd) == number
    except OSError:
        return False
