"""One BIND at the last proxy (RFC 1928 section 4), requested by the background thread, up to the first reply.

The first reply has the address and the port at which the proxy listens. The second, on the same connection,
names the peer: ``listener`` reads it when accept() is called.
"""

from __future__ import annotations

import errno
from time import monotonic

from pywrap.errors import SocksError
from pywrap.intercept.lock import Event
from pywrap.tunnel.background import Task
from pywrap.tunnel.binding import Binding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from pywrap.intercept.own_socket import Own
    from pywrap.intercept.runtime import Runtime
    from pywrap.tunnel.attempt import TunnelAttempt

    # Called with the attempt, whose socket is the control connection; or with the error if there is none.
    Answered: TypeAlias = Callable[[TunnelAttempt | None, SocksError | None], None]


class BindRequest:
    """A request to listen; ``submit`` begins it.

    ``sock``: an unconnected socket for the connection to the proxy. ``far``: the far end of the placeholder;
    the thread gives up when it reports a hang-up, since the program has closed the placeholder then. Both are
    the caller's until ``disown``. ``ipv6``: whether the program's socket is an AF_INET6 one. ``pause``:
    seconds until the proxy is asked. ``answered`` is called once, on the background thread and under the
    registry's lock, unless ``disown`` comes first. ``binding`` has the proxy's answer.
    """

    def __init__(
        self, runtime: Runtime, sock: Own, far: Own, ipv6: bool, pause: float, answered: Answered
    ) -> None:
        self._runtime = runtime
        self._sock = sock
        self._far = far
        self._ipv6 = ipv6
        self._answered = answered
        self._is_disowned = False
        self.binding = Binding(runtime.expected(ipv6))
        self._ended = Event()
        self._task = Task(self._attempt, self._report, far.fileno(), monotonic() + pause)

    def submit(self) -> None:
        """Have the background thread ask.

        Raises:
            OSError: no descriptor or no thread is left for it.
        """
        try:
            self._runtime.background.submit(self._task)
        except BaseException:
            self._ended.set()
            raise

    def wait(self, timeout: float | None) -> None:
        """Block until ``answered`` or ``disown`` was called, ``timeout`` seconds at most; None: no limit."""
        # This may be a signal handler that has interrupted ``submit``. To submit twice is harmless.
        self._runtime.background.submit(self._task)
        self._runtime.registry.lock.released(lambda: self._ended.wait(timeout))

    def disown(self) -> None:
        """Drop the request: the background thread closes ``sock`` and ``far`` at its end.

        The caller holds the registry's lock.
        """
        self._is_disowned = True
        self._ended.set()

    def _attempt(self) -> TunnelAttempt:
        runtime = self._runtime
        return runtime.binding(self._sock, self.binding.expected, runtime.deadline(None))

    def _report(self, attempt: TunnelAttempt | None, error: SocksError | None) -> None:
        """Take the result, on the background thread: the proxy has answered, or never will."""
        # Printing is not done under the lock, since writing to stderr may block.
        error = self._checked(attempt, error)
        with self._runtime.registry.lock:
            if not self._is_disowned:
                try:
                    self._answered(attempt, error)
                finally:
                    self._ended.set()
                return
        if attempt is not None:
            attempt.abandon()
        self._sock.close()
        self._far.close()

    def _checked(self, attempt: TunnelAttempt | None, error: SocksError | None) -> SocksError | None:
        """Print the result; return the error why the proxy does not listen, None where it does."""
        if attempt is not None and error is None:
            try:
                place = self.binding.stands(attempt)
                if ":" in place.host and not self._ipv6:
                    raise SocksError(f"the proxy listens at {place}, which is not IPv4", errno.EAFNOSUPPORT)
                self._runtime.messages.listens(place, attempt.path)
            except SocksError as err:
                error = err
                attempt.abandon()
        if error is not None:
            self._runtime.messages.failed_listening(error)
        return error
