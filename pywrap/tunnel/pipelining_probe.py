"""A probe whether a hop supports pipelining: a greeting, a login and an impossible command in one piece.

A hop that understands all three refuses the command, or closes the connection after accepting the login
(``ssh -D``). A hop that takes one message for each recv() has lost the command, and waits for it
(microsocks). A hop that waited may also have closed the connection in the end. So after a close the probe
sends the same messages step by step: a hop that closes the connection then as well has understood them in one
piece. No machine behind the hop is asked for anything.

A close without a byte tells less. OpenSSH 10.6 writes its replies in one piece, and an impossible command
ends the connection before that: it supports pipelining. trojan closes the connection unless a greeting comes
alone. When, step by step, the hop accepts the login and then closes the connection at the command, the
program's next connection is the test, at the cost of one more connection at most.

Some servers support pipelining and yet lose the bytes right behind the request (siosocks 0.3.0,
@pondwader/socks5-server 1.0.10): they drop what they have read together with it. Whether a hop forwards these
bytes shows at the hop behind it, which is sent an impossible command in the same piece (``PassingProbe``).
"""

from __future__ import annotations

from pywrap.errors import AUTHENTICATED, UNHEARD, ProxyClosed, Rejected
from pywrap.socks import v5
from pywrap.socks.wire import IMPOSSIBLE, Endpoint
from pywrap.tunnel.chain import ITSELF, handshake, is_one_message
from pywrap.tunnel.retry_policy import MISREAD, PIPELINING_SECONDS
from pywrap.tunnel.strict_policy import Attempt, SingleAttempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Proxy
    from pywrap.errors import SocksError
    from pywrap.tunnel.hops import Hops

# Seconds for an answer, while a connection waits for it. To a slower hop messages are sent step by step,
# which is always right.
HURRY = 1.0

_NOWHERE = Endpoint("0.0.0.0", 0)


def unknown(hops: Hops, path: tuple[Proxy, ...]) -> list[tuple[Proxy, ...]]:
    """The paths to those hops of ``path``, which a tunnel has just used, that should be probed now.

    Those are SOCKS5 hops that are used for the second time: a program that makes one connection has nothing
    to gain. In the other protocols a hop gets one message only, so there is nothing to pipeline.
    """
    return [
        path[: number + 1]
        for number, hop in enumerate(path)
        if hops.used(hop) == 2 and hops.supports_pipelining(hop) is None and not is_one_message(hop)
    ]


def unseen(hops: Hops, path: tuple[Proxy, ...]) -> list[tuple[Proxy, ...]]:
    """The paths to those hops of ``path`` that should show now whether the hop before forwards early bytes.

    Both hops must support pipelining, or there are no early bytes.
    """
    return [
        path[: number + 1]
        for number, hop in enumerate(path)
        if number > 0
        and hops.supports_pipelining(path[number - 1])
        and hops.is_passer(path[number - 1]) is None
        and (hops.supports_pipelining(hop) or (is_one_message(hop) and hop.scheme != "raw"))
        and hops.may_ask("passing", path[: number + 1])
    ]


def known_swallows(hops: Hops, path: tuple[Proxy, ...]) -> tuple[bool, ...]:
    """For each hop of ``path``, whether it is not known to forward the bytes right behind its request."""
    return tuple(hops.is_passer(hop) is not True for hop in path)


class PipeliningProbe(SingleAttempt):
    """Probes the last hop of ``path``. It opens no tunnel: the errors are the answer."""

    def __init__(self, hops: Hops, path: tuple[Proxy, ...]) -> None:
        self._hops = hops
        self._path = path
        self._asked = path[-1]
        self._step_by_step = False
        # Whether the hop closed the connection without a byte when all messages came at once.
        self._unheard = False
        pipelined = (*(hops.supports_pipelining(hop) is True for hop in path[:-1]), True)
        super().__init__(self._attempt(pipelined))

    def _attempt(self, pipelined: tuple[bool, ...]) -> Attempt:
        path = self._path
        return Attempt(
            path,
            self._hops.first(path[0]),
            lambda: handshake(
                path, _NOWHERE, IMPOSSIBLE, pipelined, swallows=known_swallows(self._hops, path)
            ),
            seconds=PIPELINING_SECONDS,
        )

    def next_after(self, error: SocksError) -> Attempt | None:
        """Learn from ``error``; return an attempt step by step where that has to confirm it."""
        is_asked = error.failure.hop is self._asked
        hung_up = is_asked and isinstance(error, ProxyClosed)
        if hung_up and not self._step_by_step and error.stage in (AUTHENTICATED, UNHEARD):
            self._step_by_step = True
            self._unheard = error.stage == UNHEARD
            return self._attempt(())
        if hung_up and error.stage == AUTHENTICATED:
            if self._unheard:
                self._hops.may_support_pipelining(self._asked)
            else:
                self._hops.set_pipelining(self._asked, True)
        elif is_asked and isinstance(error, Rejected):
            self._hops.set_pipelining(self._asked, not self._step_by_step)
        elif is_asked and isinstance(error, MISREAD) and not self._step_by_step:
            self._hops.set_pipelining(self._asked, False)
        else:
            # The hop was not reached: a later connection will probe it.
            self._hops.unused(self._asked)
        return None

    def succeeded(self) -> None:
        """A hop that grants the impossible command has read it."""
        self._hops.set_pipelining(self._asked, not self._step_by_step)


class PassingProbe(SingleAttempt):
    """Probes whether the last but one hop of ``path`` forwards early bytes, by what the last hop answers."""

    def __init__(self, hops: Hops, path: tuple[Proxy, ...]) -> None:
        self._hops = hops
        *_, self._before, self._last = path
        pipelined = (*(hops.supports_pipelining(hop) is True for hop in path[:-1]), True)
        swallows = (*known_swallows(hops, path[:-2]), False, True)
        # HTTP has no command that no server knows.
        command, destination = (v5.CONNECT, ITSELF) if path[-1].scheme == "http" else (IMPOSSIBLE, _NOWHERE)
        super().__init__(
            Attempt(
                path,
                hops.first(path[0]),
                lambda: handshake(path, destination, command, pipelined, swallows=swallows),
                seconds=PIPELINING_SECONDS,
            )
        )

    def next_after(self, error: SocksError) -> None:
        """Learn from ``error``."""
        if error.failure.hop is self._last:
            self._hops.passes_on(self._before, error.stage != UNHEARD)

    def succeeded(self) -> None:
        """A hop that grants the impossible command has read it."""
        self._hops.passes_on(self._before, True)
