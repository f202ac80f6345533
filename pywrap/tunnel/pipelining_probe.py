"""Does a hop take a flight? A greeting, a login and an impossible command in one piece tell, in a round trip.

Who understands all three refuses, or hangs up after letting us in (``ssh -D``). Who takes one message for
each recv() has lost the command, and waits for it (microsocks). A hang-up may also be the end of a hop that
waits, so the same is asked step by step then: who hangs up on that as well has understood. Nobody behind the
hop is asked for anything.
"""

from __future__ import annotations

from pywrap.errors import ProxyClosed, Rejected
from pywrap.socks.wire import Endpoint
from pywrap.tunnel.chain import handshake, is_one_message
from pywrap.tunnel.retry_policy import MISREAD, PIPELINING_SECONDS, Attempt, SingleAttempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Proxy
    from pywrap.errors import SocksError
    from pywrap.tunnel.hops import Hops

# Seconds for an answer, while a connection waits for it. Who is slower is told step by step: no harm in that.
HURRY = 1.0

# Neither of RFC 1928 nor of Tor.
IMPOSSIBLE = 0x7F

_NOWHERE = Endpoint("0.0.0.0", 0)


def unknown(hops: Hops, path: tuple[Proxy, ...]) -> list[tuple[Proxy, ...]]:
    """The paths to those hops of ``path``, which a tunnel has just used, that should be asked now.

    Those are SOCKS5 hops that are used for the second time: a program that makes one connection has nothing
    to gain. The other protocols have one message, behind which nothing can be put that is not for the next.
    """
    return [
        path[: number + 1]
        for number, hop in enumerate(path)
        if hops.used(hop) == 2 and hops.supports_pipelining(hop) is None and not is_one_message(hop)
    ]


class PipeliningProbe(SingleAttempt):
    """The question to the last hop of ``path``; no way stands, and the errors are the answer."""

    def __init__(self, hops: Hops, path: tuple[Proxy, ...]) -> None:
        self._hops = hops
        self._path = path
        self._asked = path[-1]
        self._step_by_step = False
        pipelined = (*(hops.supports_pipelining(hop) is True for hop in path[:-1]), True)
        super().__init__(self._attempt(pipelined))

    def _attempt(self, pipelined: tuple[bool, ...]) -> Attempt:
        path = self._path
        return Attempt(
            path,
            self._hops.first(path[0]),
            lambda: handshake(path, _NOWHERE, IMPOSSIBLE, pipelined),
            seconds=PIPELINING_SECONDS,
        )

    def next_after(self, error: SocksError) -> Attempt | None:
        """Learn from ``error``, or ask once more."""
        if error.hop is self._asked and isinstance(error, ProxyClosed) and error.authenticated:
            if not self._step_by_step:
                self._step_by_step = True
                return self._attempt(())
            self._hops.set_pipelining(self._asked, True)
        elif error.hop is self._asked and isinstance(error, Rejected):
            self._hops.set_pipelining(self._asked, not self._step_by_step)
        elif error.hop is self._asked and isinstance(error, MISREAD) and not self._step_by_step:
            self._hops.set_pipelining(self._asked, False)
        else:
            # It was not reached: another time.
            self._hops.unused(self._asked)
        return None

    def succeeded(self) -> None:
        """Whoever grants the impossible has read it."""
        self._hops.set_pipelining(self._asked, not self._step_by_step)
