"""Probes of proxies that the background thread sends beside the program's connections.

Is a proxy that keeps a connection waiting alive? Does a proxy support pipelining? ``tunnel.hops`` remembers
the answers.
"""

from __future__ import annotations

import _socket

from pywrap.frozen import replace
from pywrap.intercept.own_socket import Own
from pywrap.tunnel.attempt import TunnelAttempt
from pywrap.tunnel.deadline import Deadline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.config.settings import Path, Settings
    from pywrap.tunnel.background import Task
    from pywrap.tunnel.hops import Hops
    from pywrap.tunnel.strict_policy import SingleAttempt


class HopProbes:
    """``submit`` gives a task to the background thread."""

    def __init__(self, settings: Settings, hops: Hops, submit: Callable[[Task], None]) -> None:
        self._settings = settings
        self._hops = hops
        self._submit = submit

    def probe_liveness(self, path: Path) -> None:
        """Probe whether the last hop of ``path``, which keeps a connection waiting, is alive."""
        from pywrap.tunnel.liveness import PATIENCE, LivenessProbe

        self._ask(LivenessProbe(self._hops, path), self._within(PATIENCE))

    def probe_pipelining(self, path: Path) -> None:
        """Probe whether the last hop of ``path`` supports pipelining, which is not known yet."""
        from pywrap.tunnel.pipelining_probe import HURRY, PipeliningProbe

        self._ask(PipeliningProbe(self._hops, path), self._within(HURRY))

    def learn(self, path: Path) -> None:
        """A connection through ``path`` is open: probe its hops for pipelining, if that is not known yet."""
        if self._settings.pipeline == "auto":
            from pywrap.tunnel.pipelining_probe import PassingProbe, PipeliningProbe, unknown, unseen

            for to_ask in unknown(self._hops, path):
                if not self._ask(PipeliningProbe(self._hops, to_ask), Deadline(self._settings)):
                    # Not probed: the next connection may do it.
                    self._hops.unused(to_ask[-1])
            for to_ask in unseen(self._hops, path):
                self._ask(PassingProbe(self._hops, to_ask), Deadline(self._settings))

    def _within(self, seconds: float) -> Deadline:
        """Limits for a probe that a connection waits for: at most ``seconds`` for each answer."""
        reply_limit = min(self._settings.read_timeout or seconds, seconds)
        return Deadline(replace(self._settings, read_timeout=reply_limit))

    def _ask(self, question: SingleAttempt, deadline: Deadline) -> bool:
        from pywrap.tunnel.background import Task

        sock = None
        try:
            sock = fresh()
            attempt = TunnelAttempt(sock, question, deadline)
            self._submit(Task(lambda: attempt, lambda *_: end(attempt)))
        except (OSError, RuntimeError):
            # No descriptor (EMFILE) or no thread left.
            if sock is not None:
                sock.close()
            return False
        return True


def fresh() -> _socket.socket:
    """A socket for an attempt, which replaces it where the proxy has no IPv4 address (``first_hop``)."""
    sock = Own(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    sock.setblocking(False)
    return sock


def end(attempt: TunnelAttempt) -> None:
    """Close ``attempt``, which began on a ``fresh`` socket."""
    attempt.abandon()
    # abandon() leaves the socket to its owner, which is this module.
    attempt.sock.close()
