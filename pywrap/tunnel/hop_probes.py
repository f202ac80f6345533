"""Which probes of proxies are sent, and when: beside the program's connections.

Is a proxy that keeps a connection waiting alive? Does a proxy support pipelining, and does it forward the
bytes right behind its request? ``hops`` remembers the answers. A patched program sends the probes from its
background thread, the broker of a confinement from its loop; so ``start``, which begins a probe, is passed
in.
"""

from __future__ import annotations

from pywrap.frozen import replace
from pywrap.tunnel.deadline import Deadline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.config.settings import Path, Settings
    from pywrap.tunnel.hops import Hops
    from pywrap.tunnel.strict_policy import SingleAttempt


class HopProbes:
    """``start(probe, deadline)`` begins a probe on a connection of its own, without waiting.

    It returns False where none can be made, because no descriptor or thread is left. The probe itself reports
    its result to ``hops``.
    """

    def __init__(
        self, settings: Settings, hops: Hops, start: Callable[[SingleAttempt, Deadline], bool]
    ) -> None:
        self._settings = settings
        self._hops = hops
        self._start = start

    def probe_liveness(self, path: Path) -> None:
        """Probe whether the last hop of ``path``, which keeps a connection waiting, is alive."""
        # Imported here and below, not on top: most programs never need a probe.
        from pywrap.tunnel.liveness import PATIENCE, LivenessProbe

        self._start(LivenessProbe(self._hops, path), self._within(PATIENCE))

    def probe_pipelining(self, path: Path) -> None:
        """Probe whether the last hop of ``path`` supports pipelining, which is not known yet."""
        from pywrap.tunnel.pipelining_probe import HURRY, PipeliningProbe

        self._start(PipeliningProbe(self._hops, path), self._within(HURRY))

    def learn(self, path: Path) -> None:
        """A connection through ``path`` is open: probe its hops for pipelining, if that is not known yet."""
        if self._settings.pipeline == "auto":
            from pywrap.tunnel.pipelining_probe import PassingProbe, PipeliningProbe, unknown, unseen

            for to_ask in unknown(self._hops, path):
                if not self._start(PipeliningProbe(self._hops, to_ask), Deadline(self._settings)):
                    # Could not be probed: the next connection may try.
                    self._hops.unused(to_ask[-1])
            for to_ask in unseen(self._hops, path):
                self._start(PassingProbe(self._hops, to_ask), Deadline(self._settings))

    def _within(self, seconds: float) -> Deadline:
        """Limits for a probe that a connection waits for: at most ``seconds`` for each answer."""
        reply_limit = min(self._settings.read_timeout or seconds, seconds)
        return Deadline(replace(self._settings, read_timeout=reply_limit))
