"""Connections that are being opened, any number of them, on the broker's loop.

A connection is opened by a ``TunnelAttempt`` of ``pywrap.tunnel``, which never waits itself, or by another
class that implements ``tunnel.attempt.Waited``: that of a UDP association, or ``Direct``, a plain connection
from outside for destinations that need no proxy.
"""

from __future__ import annotations

import errno
import os
from _socket import AF_INET, AF_INET6, SO_ERROR, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, socket

from pywrap.errors import SocksError
from pywrap.tunnel.attempt import POLLOUT, close

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Generic, TypeVar

    from pywrap.relay.loop import Loop
    from pywrap.relay.timers import Timer
    from pywrap.tunnel.attempt import Waited
    from pywrap.tunnel.deadline import Deadline

    W = TypeVar("W", bound=Waited)
else:
    # The parameter is for the type checker only.
    class Generic:
        def __class_getitem__(cls, parameter):
            return cls

    W = None

_NEVER = float("inf")


class Attempt(Generic[W]):
    """Goes on with ``attempt`` whenever it can; ends in one of two calls, unless it is cancelled.

    ``done(attempt)``: it has succeeded, and belongs to the callee. ``failed(error)``: it has closed all that
    it opened.
    """

    __slots__ = ("_done", "_failed", "_fd", "_loop", "_attempt", "_timer", "_timer_moment")

    def __init__(
        self, loop: Loop, attempt: W, done: Callable[[W], None], failed: Callable[[SocksError], None]
    ) -> None:
        self._loop = loop
        self._attempt: W | None = attempt
        self._done = done
        self._failed = failed
        self._fd = -1
        self._timer: Timer | None = None
        self._timer_moment = 0.0

    def start(self) -> None:
        """Begin. Either call may come before this returns."""
        assert self._attempt is not None, "it is started once"
        self._step(self._attempt.start)

    def cancel(self) -> None:
        """Give up without a call. Does nothing when the attempt has ended."""
        if self._attempt is not None:
            self._leave()
            attempt, self._attempt = self._attempt, None
            close(attempt)

    def _on_ready(self, events: int) -> None:
        assert self._attempt is not None, "it is watched only while it goes on"
        self._step(self._attempt.advance)

    def _on_late(self) -> None:
        attempt = self._attempt
        assert attempt is not None, "its timer ends with it"
        self._timer = None
        if attempt.deadline.remaining() > 0:
            # The step that the timer was set for has ended in time, and another has begun.
            self._set_timer(attempt)
        else:
            self._step(attempt.expire)

    def _step(self, step: Callable[[], bool]) -> None:
        attempt = self._attempt
        assert attempt is not None
        try:
            stands = step()
        except SocksError as err:
            self._fail(attempt, err)
        except OSError as err:
            self._fail(attempt, SocksError(f"cannot open a tunnel: {err.strerror}", err.errno))
        else:
            if stands:
                self._leave()
                self._attempt = None
                self._done(attempt)
                return
            # Where socket and event are the same as before, as mostly, no system call is needed. A socket
            # that the step has replaced stays open until the next step, so its number is not reused yet
            # (``TunnelAttempt``).
            fd = attempt.sock.fileno()
            if fd != self._fd and self._fd >= 0:
                self._loop.unwatch(self._fd)
            self._fd = fd
            self._loop.watch(fd, attempt.wants, self._on_ready)
            self._set_timer(attempt)

    def _set_timer(self, attempt: W) -> None:
        """Have ``_on_late`` called at the deadline's moment, or before it."""
        moment = attempt.deadline.moment
        if self._timer is not None:
            if self._timer_moment <= moment:
                return
            self._loop.cancel(self._timer)
            self._timer = None
        if moment != _NEVER:
            self._timer_moment = moment
            self._timer = self._loop.after(attempt.deadline.remaining(), self._on_late)

    def _fail(self, attempt: W, error: SocksError) -> None:
        self._leave()
        self._attempt = None
        close(attempt)
        self._failed(error)

    def _leave(self) -> None:
        if self._fd >= 0:
            self._loop.unwatch(self._fd)
            self._fd = -1
        if self._timer is not None:
            self._loop.cancel(self._timer)
            self._timer = None


def fresh(family: int = AF_INET) -> socket:
    """A new TCP socket of ``family``; a ``TunnelAttempt`` replaces it where the proxy has no IPv4 address."""
    return socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)


class Direct:
    """A direct connection to the first of ``addresses`` (literals) that accepts it; implements ``Waited``."""

    __slots__ = ("_addresses", "_error", "_port", "_used_up", "deadline", "sock")

    wants = POLLOUT

    def __init__(self, addresses: list[str], port: int, deadline: Deadline) -> None:
        self._addresses = list(addresses)
        self._port = port
        self._error = errno.EHOSTUNREACH
        self.deadline = deadline
        self.sock = fresh()
        # A socket that was replaced, and may still be registered with epoll: it is closed with the next step.
        self._used_up: socket | None = None

    def start(self) -> bool:
        """Begin; the result is that of ``advance``."""
        return self._next()

    def advance(self) -> bool:
        """Go on; return whether the connection stands.

        Raises:
            SocksError: it cannot be made; the errno is the kernel's.
        """
        self.abandon()
        self._error = self.sock.getsockopt(SOL_SOCKET, SO_ERROR)
        return self._next() if self._error else True

    def expire(self) -> bool:
        """The deadline's moment has passed.

        Raises:
            SocksError: as ``advance`` raises it.
        """
        self.abandon()
        if self.deadline.over() is None:
            return False
        self._error = errno.ETIMEDOUT
        return self._next()

    def abandon(self) -> None:
        """Close the other sockets, but not ``sock``."""
        if self._used_up is not None:
            self._used_up.close()
            self._used_up = None

    def _next(self) -> bool:
        self._used_up = self.sock
        while self._addresses:
            address = self._addresses.pop(0)
            if self.sock is not self._used_up:
                self.sock.close()
            self.sock = fresh(AF_INET6 if ":" in address else AF_INET)
            self.deadline.connecting()
            try:
                self.sock.connect((address, self._port))
            except BlockingIOError:
                return False
            except OSError as err:
                self._error = err.errno or errno.EIO
            else:
                return True
        raise SocksError(os.strerror(self._error), self._error)
