"""What this process knows of the proxies: where they are, who has failed of late, who takes a flight."""

from __future__ import annotations

import _socket
import _thread
from time import monotonic

from pywrap.errors import ProxyClosed, Rejected
from pywrap.frozen import frozen
from pywrap.socks import v5
from pywrap.tunnel.first_hop import FirstHop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from pywrap.config.settings import Proxy
    from pywrap.errors import SocksError

    class HopProbes(Protocol):
        """To the last hop of a path; the answer is told to ``Hops``."""

        def probe_liveness(self, path: tuple[Proxy, ...]) -> None: ...
        def set_pipelining(self, path: tuple[Proxy, ...]) -> None: ...


# Seconds that a hop which failed is left alone, as long as there are others.
DEAD_FOR = 30.0
# Seconds until a hop is asked the same again.
_PAUSE = 10.0


@frozen
class Death:
    """Until when a hop is dead, on the monotonic clock, and who said so: another hop, and with which code."""

    until: float
    by: Proxy | None
    code: int


class Hops:
    """The proxies of all chains. ``getaddrinfo``, ``start_thread``, ``socketpair`` are those of ``FirstHop``.

    ``say`` tells the user what has been learned. ``hop_probes`` are put to hops in the background; without,
    nothing is learned but from the connections themselves.

    Any thread may ask and tell: each line below is one operation on a dictionary.
    """

    def __init__(
        self,
        getaddrinfo: Callable[..., list[Any]],
        say: Callable[[str], None] = lambda text: None,
        hop_probes: HopProbes | None = None,
        start_thread: Callable[..., Any] = _thread.start_new_thread,
        socketpair: Callable[[], tuple[Any, Any]] = _socket.socketpair,
    ) -> None:
        self._getaddrinfo = getaddrinfo
        self._start_thread = start_thread
        self._socketpair = socketpair
        self._say = say
        self.hop_probes = hop_probes
        self._firsts: dict[tuple[str, int], FirstHop] = {}
        self._deaths: dict[Proxy, Death] = {}
        # By the question and the hop.
        self._rest_until: dict[tuple[str, Proxy], float] = {}
        self._pipelining: dict[Proxy, bool] = {}
        # When they were last seen to.
        self._taken_at: dict[Proxy, float] = {}
        self._candidates: dict[Proxy, bool] = {}
        self._passers: dict[Proxy, bool] = {}
        self._uses: dict[Proxy, int] = {}

    def first(self, proxy: Proxy) -> FirstHop:
        """Where ``proxy`` is, which has nothing to do with who logs in there."""
        known = self._firsts.get((proxy.host, proxy.port))
        if known is not None:
            return known
        first = FirstHop(proxy, self._getaddrinfo, self._start_thread, self._socketpair)
        return self._firsts.setdefault((proxy.host, proxy.port), first)

    def died(self, proxy: Proxy, error: SocksError, is_left_out: bool = True) -> None:
        """``proxy`` failed, as ``error`` tells: it is dead for a while; ``is_left_out``: by whoever can."""
        # A hop that was not heard has accused no other.
        code = None if error.unheard else reason(error)
        by = error.hop if code is not None and error.hop is not proxy else None
        if is_left_out and not self.is_dead(proxy):
            self._say(f"without the proxy {proxy} for {DEAD_FOR:.0f} s: {error}")
        self._deaths[proxy] = Death(monotonic() + DEAD_FOR, by, code or 0)

    def live(self, path: tuple[Proxy, ...]) -> None:
        """A tunnel stands through the hops of ``path``."""
        if self._deaths:
            for proxy in path:
                self._deaths.pop(proxy, None)

    def is_dead(self, proxy: Proxy) -> bool:
        """Has ``proxy`` failed of late?"""
        death = self._deaths.get(proxy)
        return death is not None and death.until > monotonic()

    def accused_by(self, proxy: Proxy, code: int) -> tuple[Proxy, ...]:
        """Who is dead because ``proxy`` says so, with this ``code``."""
        deaths, now = tuple(self._deaths.copy().items()), monotonic()
        return tuple(
            dead for dead, death in deaths if (death.by, death.code) == (proxy, code) and death.until > now
        )

    def suspect(self, path: tuple[Proxy, ...]) -> None:
        """The last hop of ``path`` keeps somebody waiting: ask whether it is alive."""
        # A raw hop has nothing to answer: whoever speaks there is somebody else.
        if self.hop_probes is not None and path[-1].scheme != "raw" and self.may_ask("alive", path):
            self.hop_probes.probe_liveness(path)

    def suspect_pipelining(self, path: tuple[Proxy, ...]) -> None:
        """The last hop of ``path`` has not answered a flight yet: ask whether it takes one."""
        if self.hop_probes is not None and self.may_ask("flight", path):
            self.hop_probes.set_pipelining(path)

    def may_ask(self, what: str, path: tuple[Proxy, ...]) -> bool:
        """Was the last hop of ``path`` not asked ``what`` just now? Note that it is."""
        now = monotonic()
        if self._rest_until.get((what, path[-1]), 0.0) > now:
            return False
        self._rest_until[what, path[-1]] = now + _PAUSE
        return True

    def set_pipelining(self, proxy: Proxy, taken: bool) -> None:
        """``proxy`` was seen to understand what it was sent in advance, or not to."""
        if not taken and self._pipelining.get(proxy) is not False:
            self._say(f"the proxy {proxy} takes no flight: from now on it is told step by step")
        self._pipelining[proxy] = taken
        self._candidates.pop(proxy, None)
        if taken:
            self._taken_at[proxy] = monotonic()

    def has_taken_since(self, proxy: Proxy, moment: float) -> bool:
        """Was ``proxy`` seen to understand what it was sent in advance, after ``moment`` (monotonic)?"""
        return self._taken_at.get(proxy, moment) > moment

    def may_support_pipelining(self, proxy: Proxy) -> None:
        """A probe of ``proxy`` cannot tell. A connection can, at the price of one more if it does not."""
        if self._pipelining.get(proxy) is None:
            self._candidates[proxy] = True

    def is_candidate(self, proxy: Proxy) -> bool:
        """Is it worth a try to send ``proxy`` everything at once?"""
        return proxy in self._candidates

    def passes_on(self, proxy: Proxy, passed: bool) -> None:
        """``proxy`` was seen to pass on what came right behind its request, or to lose it."""
        if not passed and self._passers.get(proxy) is not False:
            self._say(f"the proxy {proxy} loses what comes right behind a request: that waits from now on")
        self._passers[proxy] = passed

    def is_passer(self, proxy: Proxy) -> bool | None:
        """Does ``proxy`` pass on what comes right behind its request? None when that is not known."""
        return self._passers.get(proxy)

    def forget_pipelining(self, proxy: Proxy) -> None:
        """``proxy`` supported pipelining, and does so no more: it may be asked again."""
        self._pipelining.pop(proxy, None)
        self._passers.pop(proxy, None)
        self._uses.pop(proxy, None)

    def supports_pipelining(self, proxy: Proxy) -> bool | None:
        """Does ``proxy`` take a flight? None when nobody knows."""
        return self._pipelining.get(proxy)

    def used(self, proxy: Proxy) -> int:
        """A tunnel goes through ``proxy``: the how many-th is it?"""
        self._uses[proxy] = uses = self._uses.get(proxy, 0) + 1
        return uses

    def unused(self, proxy: Proxy) -> None:
        """Count the uses of ``proxy`` from the beginning."""
        self._uses.pop(proxy, None)

    def forked(self) -> None:
        """In a child after fork(): what was about to be learned of a hop is not learned here."""
        self._uses.clear()
        self._rest_until.clear()
        for first in list(self._firsts.values()):
            first.forked()


def reason(error: SocksError) -> int | None:
    """The code of a hop's refusal; None when ``error`` is none.

    A hang-up is one that says nothing, as "general failure" is.
    """
    if isinstance(error, Rejected):
        return error.code
    return v5.GENERAL_FAILURE if isinstance(error, ProxyClosed) and error.in_doubt else None
