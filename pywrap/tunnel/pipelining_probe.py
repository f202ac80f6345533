"""Does a hop support pipelining? A greeting, a login and an impossible command in one piece tell.

A hop that understands all three refuses, or hangs up after letting us in (``ssh -D``). A hop that takes one
message for each recv() has lost the command, and waits for it (microsocks). A hang-up may also be the end of
a hop that waits, so the same is asked step by step then: a hop that hangs up on that as well has understood.
No machine behind the hop is asked for anything.

A hang-up without a byte tells less. OpenSSH 10.6 writes its replies in one piece, and an impossible command
ends the connection before that: it supports pipelining. trojan hangs up unless a greeting comes alone. When
step by step the hop lets us in and then hangs up on the command, the next connection of the program's is the
test: that costs one more connection at most.

Some servers support pipelining and yet lose what comes right behind the request (siosocks 0.3.0,
@pondwader/socks5-server 1.0.10): they drop what they have read with it. Whether a hop passes it on is told
by the hop behind, when that is asked for something impossible in the same piece (``PassingProbe``).
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

# Seconds for an answer, while a connection waits for it. A slower hop is told step by step: no harm in that.
HURRY = 1.0

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


def unseen(hops: Hops, path: tuple[Proxy, ...]) -> list[tuple[Proxy, ...]]:
    """The paths to those hops of ``path`` that should be asked now what the one before passes on.

    Both must support pipelining, or it is of no use.
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
    """Which hops of ``path`` are not known to pass on what comes right behind their request?"""
    return tuple(hops.is_passer(hop) is not True for hop in path)


class PipeliningProbe(SingleAttempt):
    """The question to the last hop of ``path``; no way stands, and the errors are the answer."""

    def __init__(self, hops: Hops, path: tuple[Proxy, ...]) -> None:
        self._hops = hops
        self._path = path
        self._asked = path[-1]
        self._step_by_step = False
        # Did it hang up without a byte, when everything came at once?
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
        """Learn from ``error``, or ask once more."""
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
            # It was not reached: another time.
            self._hops.unused(self._asked)
        return None

    def succeeded(self) -> None:
        """A hop that grants the impossible command has read it."""
        self._hops.set_pipelining(self._asked, not self._step_by_step)


class PassingProbe(SingleAttempt):
    """Does the last but one hop of ``path`` pass on what comes right behind its request? The last tells."""

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
