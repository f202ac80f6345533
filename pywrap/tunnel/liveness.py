"""Is a hop alive that keeps a connection waiting? It is asked, on another one, for what needs nobody else.

A hop which has let us in and is silent then looks like one whose destination is silent. The difference
matters: no destination may have us come from elsewhere because it says nothing. So the question is one that
a working proxy answers at once, whoever is out there: a connection to its own machine. Any answer will do;
"refused", "not allowed" and a hang-up are the usual ones.

A hop that says nothing at all may also have never been reached, behind one that grants before it connects
(shadowsocks, trojan, `ssh -D`). It is asked once more then, without the hop before: which of the two is dead?
"""

from __future__ import annotations

from pywrap.errors import ProxyTimeout
from pywrap.tunnel.chain import ITSELF, handshake
from pywrap.tunnel.retry_policy import Attempt, SingleAttempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Proxy
    from pywrap.errors import SocksError
    from pywrap.tunnel.hops import Hops

# Seconds for each answer on the way.
PATIENCE = 2.0


class LivenessProbe(SingleAttempt):
    """The question to the last hop of ``path``; the errors are the answer."""

    def __init__(self, hops: Hops, path: tuple[Proxy, ...]) -> None:
        self._hops = hops
        self._path = path
        self._asked = path[-1]
        # What came of the question through the hop before, when the second one goes around that.
        self._unheard: SocksError | None = None
        super().__init__(self._attempt(path))

    def _attempt(self, path: tuple[Proxy, ...]) -> Attempt:
        return Attempt(
            path, self._hops.first(path[0]), lambda: handshake(path, ITSELF), connect_limit=PATIENCE
        )

    def next_after(self, error: SocksError) -> Attempt | None:
        """Learn from ``error``, or ask without the hop before."""
        is_asked = error.hop is self._asked
        if self._unheard is None and is_asked and error.unheard and len(self._path) > 1:
            self._unheard = error
            return self._attempt((*self._path[:-2], self._asked))
        # When one before it is silent, it was not asked.
        dead = error.hop if isinstance(error, ProxyTimeout) else error.dead
        if dead is self._asked:
            self._hops.died(self._asked, error)
        elif self._unheard is not None:
            if is_asked:
                self._answered_without()
            else:
                # Nobody can tell: by what was seen.
                self._hops.died(self._asked, self._unheard)
        return None

    def succeeded(self) -> None:
        """It grants itself, as a hop that works may."""
        if self._unheard is not None:
            self._answered_without()

    def _answered_without(self) -> None:
        assert self._unheard is not None, "the hop before has been gone around"
        self._hops.died(self._path[-2], self._unheard)
