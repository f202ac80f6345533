"""Is a hop alive that keeps a connection waiting? It is asked, on another one, for what needs nobody else.

A hop which has let us in and is silent then looks like one whose destination is silent. The difference
matters: no destination may have us come from elsewhere because it says nothing. So the question is one that
a working proxy answers at once, whoever is out there: a connection to its own machine. Any answer will do;
"refused", "not allowed" and a hang-up are the usual ones.
"""

from __future__ import annotations

from pywrap.errors import ProxyTimeout
from pywrap.socks.wire import Endpoint
from pywrap.tunnel.chain import handshake
from pywrap.tunnel.retry_policy import Attempt, SingleAttempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Proxy
    from pywrap.errors import SocksError
    from pywrap.tunnel.hops import Hops

# Seconds for each answer on the way.
PATIENCE = 2.0

# The discard service (RFC 863), should there be any.
_ITSELF = Endpoint("127.0.0.1", 9)


class LivenessProbe(SingleAttempt):
    """The question to the last hop of ``path``; the errors are the answer."""

    def __init__(self, hops: Hops, path: tuple[Proxy, ...]) -> None:
        super().__init__(
            Attempt(path, hops.first(path[0]), lambda: handshake(path, _ITSELF), connect_limit=PATIENCE)
        )
        self._hops = hops
        self._asked = path[-1]

    def next_after(self, error: SocksError) -> None:
        """Learn from ``error``."""
        # When one before it is silent, it was not asked.
        dead = error.hop if isinstance(error, ProxyTimeout) else error.dead
        if dead is self._asked:
            self._hops.died(self._asked, error)
