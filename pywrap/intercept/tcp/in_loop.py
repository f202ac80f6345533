"""A connect() of asyncio: its event loop opens the tunnel, as it would wait for a direct connection.

The program awaits ``loop.sock_connect()``. So no placeholder is needed, and no thread: the loop watches
another descriptor of the program's socket, and takes the steps of the ``TunnelAttempt``. The future is set
when the tunnel is open.
"""

from __future__ import annotations

import _socket
import errno
from time import monotonic

from pywrap.errors import SocksError, to_oserror
from pywrap.intercept import originals
from pywrap.intercept.addresses import target
from pywrap.intercept.hand_over import take_place
from pywrap.intercept.own_socket import Own
from pywrap.intercept.socket_inodes import inode
from pywrap.intercept.tcp.connected_errno import known_error
from pywrap.intercept.tcp.unconnected import unconnected
from pywrap.tunnel.attempt import POLLIN
from pywrap.tunnel.routes import TUNNEL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.runtime import Runtime
    from pywrap.intercept.tcp.straight import StraightAttempt
    from pywrap.tunnel.attempt import TunnelAttempt
    from pywrap.tunnel.routes import Verdict


def opens(runtime: Runtime, loop: Any, future: Any, sock: _socket.socket, address: Any) -> bool:
    """Open a tunnel for ``sock``, and set ``future`` at the end; False, doing nothing, if connect() must.

    connect() must for everything but an ordinary tunnel: direct and refused destinations, errors of the
    socket's state, and first hops whose names have to be looked up.
    """
    if not originals.is_tcp(sock) or originals.gettimeout(sock) != 0:
        return False
    found = target(sock, address)
    if found is None or not runtime.is_literal(found.host):
        return False
    verdict = runtime.routes.verdict(found.host, found.port, found.ipv6)
    if verdict.kind != TUNNEL:
        return False
    number = inode(originals.fileno(sock))
    if known_error(runtime.registry, sock, number):
        # The program may have cancelled an attempt on this socket, of which the loop has not informed it yet:
        # the socket is still connected to the first hop.
        _timer_of(loop).settle_cancelled(originals.fileno(sock))
        # Settling may have put another file on the descriptor.
        number = inode(originals.fileno(sock))
        if known_error(runtime.registry, sock, number):
            return False
    peer = runtime.peer(verdict.destination, address, found.ipv6)
    attempt = LoopAttempt(runtime, loop, future, sock, number, peer, verdict)
    return attempt.starts()


class LoopAttempt:
    """One tunnel that is being opened by an event loop."""

    __slots__ = (
        "_attempt",
        "_begun",
        "_fd",
        "_future",
        "_loop",
        "_number",
        "_peer",
        "_real",
        "_runtime",
        "_started",
        "_verdict",
        "_wants",
        "_watched",
    )

    def __init__(
        self,
        runtime: Runtime,
        loop: Any,
        future: Any,
        sock: _socket.socket,
        number: int,
        peer: tuple[Any, ...],
        verdict: Verdict,
    ) -> None:
        self._runtime = runtime
        self._loop = loop
        self._future = future
        self._peer = peer
        self._verdict = verdict
        self._started = monotonic()
        self._begun = runtime.begin()
        self._fd = originals.fileno(sock)
        self._number = number
        self._real = Own.duplicate(sock, self._number)
        self._attempt: TunnelAttempt | StraightAttempt = runtime.attempt(
            self._real,
            verdict,
            runtime.deadline(None),
            self._begun,
            runtime.road(verdict, sock),
            self._number,
        )
        # The socket that the loop watches, and for which event.
        self._watched: _socket.socket | None = None
        self._wants = 0

    def starts(self) -> bool:
        """Begin; False if a name has to be looked up first."""
        if not self._attempt.is_ready:
            self._real.close()
            return False
        self._future.add_done_callback(self._settled)
        self._step(self._attempt.start, self._fail_later)
        return True

    def _step(
        self, step: Callable[[], bool], fail: Callable[[OSError, SocksError], None] | None = None
    ) -> None:
        if self._future is None or self._future.done():
            # The program has cancelled the future: ``_settled`` is about to be called.
            return
        fail = fail or self._fail
        try:
            if step():
                self._succeed()
            else:
                self._watch()
        except SocksError as err:
            fail(to_oserror(err), err)
        except OSError as err:
            fail(err, SocksError(f"cannot open a tunnel: {err.strerror}", err.errno))
        except Exception as err:
            # A bug of ours. Without an error the program would wait for ever.
            words = f"internal error, please report it: {err!r}"
            fail(OSError(errno.EIO, words), SocksError(words, errno.EIO))

    def _advance(self) -> None:
        self._step(self._attempt.advance)

    @property
    def moment(self) -> float:
        """The moment of the monotonic clock at which ``expire`` has to be called."""
        return self._attempt.deadline.moment

    def expire(self) -> None:
        """Go on after ``moment`` has passed, as ``TunnelAttempt.expire``."""
        self._step(self._attempt.expire)

    def _watch(self) -> None:
        sock, wants = self._attempt.sock, self._attempt.wants
        if sock is not self._watched or wants != self._wants:
            self._unwatch()
            watch = self._loop._add_reader if wants == POLLIN else self._loop._add_writer
            watch(sock.fileno(), self._advance)
            self._watched, self._wants = sock, wants
        _timer_of(self._loop).watch(self)

    def _unwatch(self) -> None:
        # A socket that was replaced is still open: it is closed with the next step.
        watched, self._watched = self._watched, None
        if watched is not None:
            unwatch = self._loop._remove_reader if self._wants == POLLIN else self._loop._remove_writer
            unwatch(watched.fileno())

    def _stop(self) -> None:
        self._unwatch()
        _timer_of(self._loop).forget(self)

    def _succeed(self) -> None:
        self._stop()
        runtime, sock = self._runtime, self._attempt.sock
        if runtime.log is not None and self._begun is not None:
            runtime.log.opened(self._begun, self._verdict, sock)
        name = runtime.name_of(self._attempt, self._real, self._peer)
        if sock is self._real:
            runtime.registry.establish(self._number, self._peer, name)
        else:
            runtime.registry.establish(inode(sock.fileno()), self._peer, name)
            take_place(sock, self._fd, self._number)
        self._real.close()
        runtime.opened(self._verdict, self._attempt.path, self._started)
        self._future.set_result(None)

    def _fail_later(self, error: OSError, cause: SocksError) -> None:
        """Fail in the loop's next round: a task that tries again at once would keep the loop busy."""
        self._loop.call_soon(self._fail, error, cause)

    def _fail(self, error: OSError, cause: SocksError) -> None:
        future = self._future
        if future is None or future.done():
            return
        self._runtime.messages.failed(self._verdict.destination, cause)
        self._log_failure(cause)
        self._abandon()
        if error.__cause__ is None:
            error.__cause__ = cause
        # The exception has frames with this object: it would be held by itself.
        self._future = None
        future.set_exception(error)

    def _abandon(self) -> None:
        """End the attempt; the program gets an unconnected socket again, unless it has closed its own."""
        self._stop()
        self._attempt.abandon()
        fresh = unconnected(self._real)
        fresh.setblocking(False)
        take_place(fresh, self._fd, self._number)
        self._real.close()

    def settle_cancelled(self, fd: int) -> None:
        """End the attempt, if it is for ``fd`` and the program has cancelled it."""
        if self._fd == fd and self._future is not None and self._future.cancelled():
            self._settled(self._future)

    def _settled(self, _: Any) -> None:
        """Called when the future is done: this object has set it, or the program has cancelled it."""
        if originals.fileno(self._real) >= 0:
            self._log_failure(SocksError("abandoned by the program", errno.ECONNABORTED))
            self._abandon()

    def _log_failure(self, error: SocksError) -> None:
        if self._runtime.log is not None and self._begun is not None:
            self._runtime.log.failed(self._begun, self._verdict, error)


class Timer:
    """A timer for all attempts of a loop: one for each would cost as much as two of its system calls."""

    __slots__ = ("_attempts", "_due", "_handle", "_loop")

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._attempts: set[LoopAttempt] = set()
        # The moment (monotonic) at which the loop calls ``_check``; and the handle by which that is
        # cancelled.
        self._due = _NEVER
        self._handle: Any = None

    def watch(self, attempt: LoopAttempt) -> None:
        """Call ``attempt.expire`` at its moment, which may have changed."""
        self._attempts.add(attempt)
        if attempt.moment < self._due:
            self._arm(attempt.moment)

    def forget(self, attempt: LoopAttempt) -> None:
        """Forget ``attempt``, which has ended. The loop may call ``_check`` once more for nothing."""
        self._attempts.discard(attempt)

    def settle_cancelled(self, fd: int) -> None:
        """End attempts for ``fd`` that the program has cancelled now, not in the loop's next round."""
        for attempt in list(self._attempts):
            attempt.settle_cancelled(fd)

    def _arm(self, moment: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._due = moment
        self._handle = self._loop.call_later(max(0.0, moment - monotonic()), self._check)

    def _check(self) -> None:
        self._due, self._handle = _NEVER, None
        now = monotonic()
        for attempt in [attempt for attempt in self._attempts if attempt.moment <= now]:
            attempt.expire()
        if self._attempts:
            self._arm(min(attempt.moment for attempt in self._attempts))


_NEVER = float("inf")


def _timer_of(loop: Any) -> Timer:
    # An attribute of the loop, so that the timer lives as long as the loop.
    timer: Timer | None = getattr(loop, _ATTRIBUTE, None)
    if timer is None:
        timer = Timer(loop)
        setattr(loop, _ATTRIBUTE, timer)
    return timer


_ATTRIBUTE = "_pysocksify_timer"
