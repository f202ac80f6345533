"""A probe of a hop that keeps a connection waiting: is it alive?

A dead hop that has accepted the connection looks like a hop whose destination is silent. The difference
matters: a silent destination must not change the path of a connection. So the probe, on a connection of its
own, asks the hop for something that needs no other machine: a connection to the hop itself. A working proxy
answers that at once. Any answer shows that it is alive: most refuse, or close the connection.

A hop that sends nothing at all may never have been reached, behind a hop that grants before it connects
(shadowsocks, trojan, `ssh -D`). The probe is then repeated without the hop before, to see which of the two is
dead.
"""

from __future__ import annotations

from pywrap.errors import UNHEARD, ProxyTimeout
from pywrap.tunnel.chain import ITSELF, handshake
from pywrap.tunnel.strict_policy import Attempt, SingleAttempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Proxy
    from pywrap.errors import SocksError
    from pywrap.tunnel.hops import Hops

# Seconds for each answer of a hop.
PATIENCE = 2.0


class LivenessProbe(SingleAttempt):
    """Asks the last hop of ``path`` for a connection to itself. Few grant it: so errors are the answers."""

    def __init__(self, hops: Hops, path: tuple[Proxy, ...]) -> None:
        self._hops = hops
        self._path = path
        self._asked = path[-1]
        # The error of the first attempt, once the second one, without the hop before, is under way.
        self._unheard: SocksError | None = None
        super().__init__(self._attempt(path))

    def _attempt(self, path: tuple[Proxy, ...]) -> Attempt:
        return Attempt(
            path, self._hops.first(path[0]), lambda: handshake(path, ITSELF), connect_limit=PATIENCE
        )

    def next_after(self, error: SocksError) -> Attempt | None:
        """Learn from ``error``; return an attempt without the hop before where that may be to blame."""
        failure = error.failure
        is_asked = failure.hop is self._asked
        if self._unheard is None and is_asked and error.stage == UNHEARD and len(self._path) > 1:
            self._unheard = error
            return self._attempt((*self._path[:-2], self._asked))
        # When a hop before the probed one is silent, the probe has not reached the probed one.
        dead = failure.hop if isinstance(error, ProxyTimeout) else failure.blamed
        if dead is self._asked:
            self._hops.died(self._asked, error)
        elif self._unheard is not None:
            if is_asked:
                self._answered_without()
            else:
                # The second attempt failed before it reached the hop, so the first one's error is reported.
                self._hops.died(self._asked, self._unheard)
        return None

    def succeeded(self) -> None:
        """Note that the hop is alive: it has granted the connection to itself."""
        if self._unheard is not None:
            self._answered_without()

    def _answered_without(self) -> None:
        assert self._unheard is not None, "this is the attempt without the hop before"
        self._hops.died(self._path[-2], self._unheard)
