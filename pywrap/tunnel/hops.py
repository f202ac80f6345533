"""What this process knows of the proxies: where they are, who has failed of late, who takes a flight."""

from __future__ import annotations

from time import monotonic

from pywrap.tunnel.dial import FirstHop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.config.settings import Proxy

# Seconds that a hop which failed is left alone, as long as there are others.
DEAD_FOR = 30.0


class Hops:
    """The proxies of all chains. ``getaddrinfo`` is the interpreter's own, as for ``FirstHop``.

    Any thread may ask and tell: each line below is one operation on a dictionary.
    """

    def __init__(self, getaddrinfo: Callable[..., list[Any]]) -> None:
        self._getaddrinfo = getaddrinfo
        self._firsts: dict[tuple[str, int], FirstHop] = {}
        self._dead_until: dict[Proxy, float] = {}
        self._takers: dict[Proxy, bool] = {}
        self._uses: dict[Proxy, int] = {}

    def first(self, proxy: Proxy) -> FirstHop:
        """Where ``proxy`` is, which has nothing to do with who logs in there."""
        known = self._firsts.get((proxy.host, proxy.port))
        return known or self._firsts.setdefault((proxy.host, proxy.port), FirstHop(proxy, self._getaddrinfo))

    def died(self, proxy: Proxy) -> None:
        """``proxy`` failed: it is dead for a while."""
        self._dead_until[proxy] = monotonic() + DEAD_FOR

    def live(self, path: tuple[Proxy, ...]) -> None:
        """A tunnel stands through the hops of ``path``."""
        if self._dead_until:
            for proxy in path:
                self._dead_until.pop(proxy, None)

    def is_dead(self, proxy: Proxy) -> bool:
        """Has ``proxy`` failed of late?"""
        return self._dead_until.get(proxy, 0.0) > monotonic()

    def takes_flight(self, proxy: Proxy, taken: bool) -> None:
        """``proxy`` was seen to understand what it was sent in advance, or not to."""
        self._takers[proxy] = taken

    def is_taker(self, proxy: Proxy) -> bool | None:
        """Does ``proxy`` take a flight? None when nobody knows."""
        return self._takers.get(proxy)

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
