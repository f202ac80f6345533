"""A non-blocking connect(): the program holds a placeholder until the tunnel takes its place.

1. The program's socket moves to another descriptor, ``real``; it stays the same open file, so options and
   bind() survive.
2. One end of a socketpair takes its place. It is filled so that it is neither readable nor writable, as a
   socket that is connecting.
3. ``real`` connects to the first hop; the background thread does the rest of the tunnel on it.
4. When the tunnel is open, ``real`` is put on the program's descriptor, and the far end of the socketpair is
   closed: that wakes up every poller, which finds the socket writable.
5. When it failed, only the far end is closed. The placeholder then reports POLLERR and POLLHUP, as a refused
   TCP socket does. An unconnected socket takes its place when the program has read the errno.
6. getsockopt(SO_ERROR) returns the errno (``patches.sockopt``), or the next connect().

The program may have copied its descriptor in ways that pass no patch (os.dup2, SCM_RIGHTS, fcntl). Each
patched call on such a copy makes it known (``join``). If the placeholder has not hung up at the end, there is
another copy, and the open descriptors are listed. If it is none of them, it is on its way in another socket:
the tunnel is kept for it (``tunnels_for_copies``).

A thread that sleeps in poll(2) or select(2) for *readability* alone through step 4 is not woken by data on
the new file: it sleeps on the old one. Programs that wait for a connection ask for writability as well.
"""

from __future__ import annotations

import _socket
import errno
import os
from time import monotonic

from pywrap.errors import SocksError
from pywrap.intercept import epoll, originals
from pywrap.intercept.hand_over import put
from pywrap.intercept.lock import Event
from pywrap.intercept.own_socket import Own
from pywrap.intercept.socket_inodes import descriptors_of, inode, is_open
from pywrap.intercept.tcp.placeholder_socket import placeholder
from pywrap.intercept.tcp.tunnels_for_copies import Kept, has_hung_up
from pywrap.intercept.tcp.unconnected import unconnected
from pywrap.tunnel.background import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pywrap.intercept.runtime import Runtime
    from pywrap.intercept.tcp.straight import StraightAttempt
    from pywrap.tunnel.attempt import TunnelAttempt
    from pywrap.tunnel.routes import Verdict


class Pending:
    """A tunnel that is being opened, or one that failed and whose errno the program has not read yet.

    ``fds``: the descriptors that the program waits on (dup() adds to them). ``number``: the inode of the
    placeholder. ``real``: the socket that will take its place, for options meanwhile. ``error``: the errno, 0
    while the tunnel is being opened. ``is_inherited``: a child after fork() may have the placeholder too.
    Everything here is done under ``registry.lock``.
    """

    def __init__(
        self, runtime: Runtime, sock: _socket.socket, peer: tuple[Any, ...], verdict: Verdict
    ) -> None:
        fd = originals.fileno(sock)
        self.fds = {fd}
        self.error = 0
        self.is_inherited = False
        self.real: Own = Own.duplicate(sock, inode(fd))
        self._runtime = runtime
        self._peer = peer
        self._verdict = verdict
        self._started = monotonic()
        self._begun = runtime.begin()
        self._settled = Event()
        # Whether this thread takes the first step of the attempt.
        self._is_starting = False
        # Whether the sockets below are closed by us.
        self._is_reported = False
        # Keeps the open tunnel for a copy of the placeholder that is in no process yet; None without one.
        self._kept: Kept | None = None
        near = None
        try:
            near, self._far = placeholder()
            self.number = near.number
            self._start(near, fd)
        except BaseException:
            self.real.close()
            raise
        finally:
            if near is not None:
                near.close()

    def _start(self, near: _socket.socket, fd: int) -> None:
        runtime, registry = self._runtime, self._runtime.registry
        road = runtime.road(self._verdict, self.real)
        attempt = runtime.attempt(
            self.real, self._verdict, runtime.deadline(None), self._begun, road, self.real.number
        )
        self._task = Task(lambda: attempt, self._report, self._far.fileno())
        try:
            with registry.lock:
                # In the table first: a signal handler that meets the placeholder must find this object.
                registry.pending[self.number] = self
                put(near, fd)
            if not attempt.is_ready or not self._has_ended(attempt):
                runtime.background.submit(self._task)
        except BaseException:
            with registry.lock:
                if registry.pending.pop(self.number, None) is not None and is_open(fd, self.number):
                    put(self.real, fd)
            self._far.close()
            raise

    def _has_ended(self, attempt: TunnelAttempt | StraightAttempt) -> bool:
        """Start ``attempt`` in this thread, which takes no time; return whether it has ended."""
        self._is_starting = True
        if self._task.is_submitted:
            # A signal handler that waits for the tunnel has submitted it: the background thread starts it.
            self._is_starting = False
            return False
        try:
            done = attempt.start()
        except SocksError as err:
            attempt.abandon()
            self._report(None, err)
            return True
        finally:
            self._is_starting = False
        if done:
            self._report(attempt, None)
        else:
            self._task.attempt, self._task.started, self._task.is_waiting = attempt, True, True
        return done

    def wait(self, timeout: float | None) -> None:
        """Block until the tunnel is open or has failed, ``timeout`` seconds at most; None: no limit."""
        if self._is_starting:
            # This signal handler has interrupted the first step, and would wait for its own thread.
            return
        # This may be a signal handler that has interrupted ``_start`` before it submitted the task.
        if not self._is_reported:
            self._runtime.background.submit(self._task)
        self._runtime.registry.lock.released(lambda: self._settled.wait(timeout))

    def look(self) -> None:
        """Fail, if the program has closed one of our descriptors: the background thread may not notice."""
        if not self.error and (self.real.is_lost() or self._far.is_lost()) and not self._is_reported:
            # Set before any call, at which a signal handler could run.
            self.error = errno.ECONNABORTED
            self._end(errno.ECONNABORTED)
            self._settled.set()
            self._runtime.background.cancel(self._task)

    def join(self, fd: int) -> bool:
        """Note that ``fd`` is a copy of the placeholder; return False if the tunnel took its place now."""
        self.fds.add(fd)
        if self._kept is None:
            return True
        self._hand_over(self._kept.tunnel, [fd])
        return False

    def take_error(self) -> int:
        """The errno, returned once; an unconnected socket then replaces the placeholder. 0 while pending."""
        self.look()
        # Removed from the table first: a signal handler that calls this as well must find nothing to do.
        if self.error and self._runtime.registry.pending.pop(self.number, None) is not None:
            self._hand_over(self.real, self._waiting())
            self.real.close()
        return self.error

    def let_go(self, fd: int) -> None:
        """The program closes ``fd``. While the tunnel is being opened, the background thread notices that."""
        self.fds.discard(fd)
        if not self.fds:
            self.drop()

    def drop(self) -> None:
        """Forget a tunnel that failed."""
        if self.error and self._runtime.registry.pending.pop(self.number, None) is not None:
            self.real.close()

    def forked(self) -> None:
        """In a child after fork(): the dialogue is the parent's, which goes on with it."""
        if self._kept is not None:
            self._end_keeping()
        elif not self.error:
            self._end(errno.ECONNABORTED)
            self._far.close()
            self._settled.set()

    def _report(self, attempt: TunnelAttempt | StraightAttempt | None, error: SocksError | None) -> None:
        """Take the result, on the background thread: the tunnel is open, or has failed."""
        # Printed before the program wakes up, since it may end then; and without the lock, since writing to
        # stderr may block.
        log = self._runtime.log
        if error is not None:
            self._runtime.messages.failed(self._verdict.destination, error)
            if log is not None and self._begun is not None:
                log.failed(self._begun, self._verdict, error)
        elif attempt is not None:
            self._runtime.opened(self._verdict, attempt.path, self._started)
            if log is not None and self._begun is not None:
                log.opened(self._begun, self._verdict, attempt.sock)
        with self._runtime.registry.lock:
            self._is_reported = True
            try:
                if self.error:
                    # ``look`` has noticed a failure before.
                    if error is None and attempt is not None:
                        attempt.abandon()
                elif error is not None:
                    self._end(error.errno)
                elif attempt is not None:
                    self._succeed(attempt)
            finally:
                if self._kept is None:
                    self._far.close()
                self._settled.set()

    def _succeed(self, attempt: TunnelAttempt | StraightAttempt) -> None:
        registry, sock = self._runtime.registry, attempt.sock
        name = self._runtime.name_of(attempt, self.real, self._peer)
        number = inode(sock.fileno())
        registry.establish(number, self._peer, name)
        waiting = self._waiting()
        lingers = [fd for fd in waiting if not epoll.is_registered(fd)]
        for fd in lingers:
            registry.linger(number, fd)
        self._hand_over(sock, waiting)
        if not lingers and self._has_copies():
            self._hand_over(sock, descriptors_of(self.number))
            if not self.is_inherited and self._has_copies():
                self._keep(sock)
                return
        # Removed last, since callers that find nothing pending do not take the lock.
        del registry.pending[self.number]
        sock.close()
        self.real.close()

    def _keep(self, sock: _socket.socket) -> None:
        kept = Kept(sock, self._far)
        self._runtime.background.submit(Task(lambda: kept, lambda *_: self._end_keeping()))
        self._kept = kept

    def _end_keeping(self) -> None:
        """Close the kept tunnel: no copy is left, or this process is a child after fork()."""
        with self._runtime.registry.lock:
            kept = self._kept
            # Removed from the table first, as in ``take_error``.
            if self._runtime.registry.pending.pop(self.number, None) is not None and kept is not None:
                kept.tunnel.close()
                self._far.close()
                self.real.close()

    def _has_copies(self) -> bool:
        far = self._far
        return not far.is_lost() and not has_hung_up(far)

    def _end(self, error: int) -> None:
        self.error = error
        before, self.real = self.real, unconnected(self.real)
        if self.real is not before:
            before.close()
        if self._waiting() or (not self.is_inherited and self._has_copies()):
            self._runtime.registry.keep_failed(self.number, self)
        else:
            self.drop()

    def _hand_over(self, sock: _socket.socket, waiting: list[int]) -> None:
        """Put ``sock``, which does not block, on the descriptors that the program waits on."""
        for fd in waiting:
            if os.get_blocking(fd):
                # The program has changed the mode of the placeholder.
                sock.setblocking(True)
            put(sock, fd, self.number)

    def _waiting(self) -> list[int]:
        """The descriptors that are still the placeholder: after os.close(), one may be another file."""
        return [fd for fd in self.fds if is_open(fd, self.number)]
