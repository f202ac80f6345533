"""What hops are asked beside the program's connections, in the background.

Is one alive that keeps a connection waiting, and does one take a flight? ``Hops`` learn the answers.
"""

from __future__ import annotations

import _socket

from pywrap.frozen import replace
from pywrap.intercept.own import Own
from pywrap.tunnel.attempt import TunnelAttempt
from pywrap.tunnel.background import Task
from pywrap.tunnel.deadline import Deadline
from pywrap.tunnel.liveness import PATIENCE, LivenessProbe
from pywrap.tunnel.pipelining_probe import HURRY, PassingProbe, PipeliningProbe, unknown, unseen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.config.settings import Path, Settings
    from pywrap.tunnel.hops import Hops
    from pywrap.tunnel.retry_policy import SingleAttempt


class HopProbes:
    """``submit`` gives the background thread something to do."""

    def __init__(self, settings: Settings, hops: Hops, submit: Callable[[Task], None]) -> None:
        self._settings = settings
        self._hops = hops
        self._submit = submit

    def probe_liveness(self, path: Path) -> None:
        """Ask the last hop of ``path``, which keeps a connection waiting, whether it is alive."""
        self._ask(LivenessProbe(self._hops, path), self._within(PATIENCE))

    def set_pipelining(self, path: Path) -> None:
        """Ask the last hop of ``path``, which has answered no flight yet, whether it takes one."""
        self._ask(PipeliningProbe(self._hops, path), self._within(HURRY))

    def learn(self, path: Path) -> None:
        """A connection stands through ``path``: ask, if need be, who takes the next one in a flight."""
        if self._settings.pipeline == "auto":
            for to_ask in unknown(self._hops, path):
                if not self._ask(PipeliningProbe(self._hops, to_ask), Deadline(self._settings)):
                    # Another time.
                    self._hops.unused(to_ask[-1])
            for to_ask in unseen(self._hops, path):
                self._ask(PassingProbe(self._hops, to_ask), Deadline(self._settings))

    def _within(self, seconds: float) -> Deadline:
        """For what somebody waits for: so many seconds for each answer."""
        reply_limit = min(self._settings.read_timeout or seconds, seconds)
        return Deadline(replace(self._settings, read_timeout=reply_limit))

    def _ask(self, question: SingleAttempt, deadline: Deadline) -> bool:
        sock = None
        try:
            sock = fresh()
            attempt = TunnelAttempt(sock, question, deadline)
            self._submit(Task(lambda: attempt, lambda *_: end(attempt)))
        except (OSError, RuntimeError):
            # No descriptor or no thread left.
            if sock is not None:
                sock.close()
            return False
        return True


def fresh() -> _socket.socket:
    """A socket to begin with; it becomes another where the proxy has no IPv4 (``dial.socket_for``)."""
    sock = Own(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    sock.setblocking(False)
    return sock


def end(attempt: TunnelAttempt) -> None:
    """Close ``attempt``, which began on a ``fresh`` socket."""
    attempt.abandon()
    # Its own is left, which is nobody else's here.
    attempt.sock.close()
