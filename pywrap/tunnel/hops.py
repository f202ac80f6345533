"""What this process knows of the proxies: addresses, recent failures, support for pipelining."""

from __future__ import annotations

import _socket
import _thread
from time import monotonic

from pywrap.errors import UNHEARD, ProxyClosed, Rejected
from pywrap.frozen import frozen
from pywrap.socks import v5
from pywrap.tunnel.first_hop import FirstHop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, Protocol

    from pywrap.config.settings import Chain, Proxy
    from pywrap.errors import SocksError

    class HopProbes(Protocol):
        """Sends probes to the last hop of a path, which report what they find to ``Hops``."""

        def probe_liveness(self, path: tuple[Proxy, ...]) -> None: ...
        def probe_pipelining(self, path: tuple[Proxy, ...]) -> None: ...


# Seconds that a hop which failed is not used, as long as there are others.
DEAD_FOR = 30.0
# Seconds between two probes of one kind to a hop.
_PAUSE = 10.0


@frozen
class Death:
    """Until when a hop is believed dead (monotonic clock); the hop that reported it, and with which code."""

    until: float
    by: Proxy | None
    code: int


class Hops:
    """The proxies of all chains. ``getaddrinfo``, ``start_thread``, ``socketpair`` are those of ``FirstHop``.

    ``say`` prints a message for the user. ``hop_probes`` sends probes in the background; without it, the
    program's own connections are the only source.

    No lock: single dictionary operations are atomic under the GIL. ``used`` and ``may_ask`` read, then write;
    two threads at once make one probe more, or one less, which is harmless.
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
        # By the kind of probe and the hop: the moment before which no further probe is sent.
        self._rest_until: dict[tuple[str, Proxy], float] = {}
        self._pipelining: dict[Proxy, bool] = {}
        # When each was last seen to support pipelining, on the monotonic clock.
        self._taken_at: dict[Proxy, float] = {}
        self._candidates: dict[Proxy, bool] = {}
        self._passers: dict[Proxy, bool] = {}
        self._uses: dict[Proxy, int] = {}

    def first(self, proxy: Proxy) -> FirstHop:
        """The addresses of ``proxy``, shared by all entries with its host and port, whatever the user."""
        known = self._firsts.get((proxy.host, proxy.port))
        if known is not None:
            return known
        first = FirstHop(proxy, self._getaddrinfo, self._start_thread, self._socketpair)
        return self._firsts.setdefault((proxy.host, proxy.port), first)

    def firsts(self, chains: Iterable[Chain]) -> list[FirstHop]:
        """The addresses of all proxies at which the tunnels of ``chains`` begin."""
        return [self.first(proxy) for chain in chains for proxy in chain.entries]

    def died(self, proxy: Proxy, error: SocksError, is_left_out: bool = True) -> None:
        """Believe ``proxy`` dead for DEAD_FOR seconds, because of ``error``.

        ``is_left_out``: whether the connection has another path without it, so that the user is told.
        """
        hop = error.failure.hop
        # A hop that has sent nothing has not reported another hop as dead.
        code = None if error.stage == UNHEARD else reason(error)
        by = hop if code is not None and hop is not proxy else None
        if is_left_out and not self.is_dead(proxy):
            self._say(f"without the proxy {proxy} for {DEAD_FOR:.0f} s: {error}")
        self._deaths[proxy] = Death(monotonic() + DEAD_FOR, by, code or 0)

    def live(self, path: tuple[Proxy, ...]) -> None:
        """A tunnel through the hops of ``path`` is open: none of them is dead."""
        if self._deaths:
            for proxy in path:
                self._deaths.pop(proxy, None)

    def is_dead(self, proxy: Proxy) -> bool:
        """Whether ``proxy`` has failed in the last DEAD_FOR seconds."""
        death = self._deaths.get(proxy)
        return death is not None and death.until > monotonic()

    def accused_by(self, proxy: Proxy, code: int) -> tuple[Proxy, ...]:
        """The hops that are believed dead because ``proxy`` refused a connection to them with ``code``."""
        deaths, now = tuple(self._deaths.copy().items()), monotonic()
        return tuple(
            dead for dead, death in deaths if (death.by, death.code) == (proxy, code) and death.until > now
        )

    def suspect(self, path: tuple[Proxy, ...]) -> None:
        """A connection waits for the last hop of ``path``: probe whether that is alive."""
        # A raw hop itself never answers: bytes from there come from the destination.
        if self.hop_probes is not None and path[-1].scheme != "raw" and self.may_ask("alive", path):
            self.hop_probes.probe_liveness(path)

    def suspect_pipelining(self, path: tuple[Proxy, ...]) -> None:
        """The last hop of ``path`` has not answered pipelined messages: probe whether it supports that."""
        if self.hop_probes is not None and self.may_ask("pipelining", path):
            self.hop_probes.probe_pipelining(path)

    def may_ask(self, what: str, path: tuple[Proxy, ...]) -> bool:
        """Whether a probe of the kind ``what`` to the last hop of ``path`` is due; if so, note it as sent."""
        now = monotonic()
        if self._rest_until.get((what, path[-1]), 0.0) > now:
            return False
        self._rest_until[what, path[-1]] = now + _PAUSE
        return True

    def set_pipelining(self, proxy: Proxy, taken: bool) -> None:
        """``proxy`` was seen to support pipelining (``taken``), or not to."""
        if not taken and self._pipelining.get(proxy) is not False:
            self._say(f"the proxy {proxy} does not support pipelining: one message at a time from now on")
        self._pipelining[proxy] = taken
        self._candidates.pop(proxy, None)
        if taken:
            self._taken_at[proxy] = monotonic()

    def has_taken_since(self, proxy: Proxy, moment: float) -> bool:
        """Whether ``proxy`` was seen to support pipelining after ``moment`` (monotonic clock)."""
        return self._taken_at.get(proxy, moment) > moment

    def may_support_pipelining(self, proxy: Proxy) -> None:
        """Note that no probe can tell whether ``proxy`` supports pipelining: the next connection tries it.

        If the proxy does not, that connection has to be opened again.
        """
        if self._pipelining.get(proxy) is None:
            self._candidates[proxy] = True

    def is_candidate(self, proxy: Proxy) -> bool:
        """Whether ``proxy`` may support pipelining, so that a connection should try it."""
        return proxy in self._candidates

    def passes_on(self, proxy: Proxy, passed: bool) -> None:
        """``proxy`` was seen to forward the bytes right behind its request (``passed``), or to lose them."""
        if not passed and self._passers.get(proxy) is not False:
            self._say(f"the proxy {proxy} loses what comes right behind a request: that waits from now on")
        self._passers[proxy] = passed

    def is_passer(self, proxy: Proxy) -> bool | None:
        """Whether ``proxy`` forwards the bytes right behind its request; None when that is not known."""
        return self._passers.get(proxy)

    def forget_pipelining(self, proxy: Proxy) -> None:
        """Note that ``proxy`` lost its support for pipelining, perhaps as another server: probe it again."""
        self._pipelining.pop(proxy, None)
        self._passers.pop(proxy, None)
        self._uses.pop(proxy, None)

    def supports_pipelining(self, proxy: Proxy) -> bool | None:
        """Whether ``proxy`` supports pipelining; None when that is not known."""
        return self._pipelining.get(proxy)

    def used(self, proxy: Proxy) -> int:
        """Count one more tunnel through ``proxy``; return the new count."""
        self._uses[proxy] = uses = self._uses.get(proxy, 0) + 1
        return uses

    def unused(self, proxy: Proxy) -> None:
        """Count the tunnels through ``proxy`` from zero again."""
        self._uses.pop(proxy, None)

    def forked(self) -> None:
        """In a child after fork(): probes that were under way report to the parent, so they are due again."""
        self._uses.clear()
        self._rest_until.clear()
        for first in list(self._firsts.values()):
            first.forked()


def reason(error: SocksError) -> int | None:
    """The reply code of a hop's refusal; None when ``error`` is something else.

    A connection that was closed where it may mean a refusal counts as "general failure".
    """
    if isinstance(error, Rejected):
        return error.code
    return v5.GENERAL_FAILURE if isinstance(error, ProxyClosed) and not error.failure.certain else None
