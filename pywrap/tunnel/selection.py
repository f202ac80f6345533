"""Which proxies of a chain a connection goes through: the chain types of proxychains-ng.

As in proxychains-ng, a hop that failed is left out where the type allows it. There it stays out until all
have failed; here it is tried again after a while (``hops``).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.config.settings import Chain, Path, Proxy
    from pywrap.tunnel.hops import Hops
    from pywrap.tunnel.round_robin import RoundRobinCounter


class Selection:
    """Chooses the path of each connection through one chain."""

    def pick(self, without: Path, including: Proxy | None = None) -> Path:
        """A path that avoids the hops ``without``, which have failed this connection; () when there is none.

        ``including``: a hop that must be part of it, believed dead or not.
        """
        raise NotImplementedError

    def has_another(self, without: Path) -> bool:
        """Whether there is a path when one more hop than those in ``without`` fails."""
        raise NotImplementedError


class Fixed(Selection):
    """One path and no other: a strict chain."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pick(self, without: Path, including: Proxy | None = None) -> Path:
        """The path, unless a hop is to be left out."""
        return () if without else self.path

    def has_another(self, without: Path) -> bool:
        """There is no other."""
        return False


class _Free(Selection):
    """Chooses among the proxies of a chain: ``chain.length`` of them, by default all; fewer make no path."""

    def __init__(self, chain: Chain, hops: Hops) -> None:
        self._proxies = chain.proxies
        self._length = min(chain.length or len(chain.proxies), len(chain.proxies))
        self._least = self._length
        self._hops = hops

    def pick(self, without: Path, including: Proxy | None = None) -> Path:
        left = [proxy for proxy in self._proxies if proxy not in without]
        if len(left) < self._least:
            return ()
        living = [proxy for proxy in left if proxy == including or not self._hops.is_dead(proxy)]
        # Proxies that are believed dead are tried again when too few others are left.
        path = self._choose(living if len(living) >= self._least else left)
        if including is None or including in path:
            return path
        # A random or round-robin choice did not take ``including``: it then replaces the last hop.
        return (*path[:-1], including) if including in left else ()

    def has_another(self, without: Path) -> bool:
        return sum(proxy not in without for proxy in self._proxies) > self._least

    def _choose(self, candidates: list[Proxy]) -> Path:
        raise NotImplementedError


class Dynamic(_Free):
    """All proxies in order, without those that are believed dead; one at least."""

    def __init__(self, chain: Chain, hops: Hops) -> None:
        super().__init__(chain, hops)
        self._least = 1

    def _choose(self, candidates: list[Proxy]) -> Path:
        return tuple(candidates)


class Random(_Free):
    """``chain.length`` of the proxies, at random and in any order. ``below(n)``: a number from 0 to n - 1."""

    def __init__(self, chain: Chain, hops: Hops, below: Callable[[int], int] | None = None) -> None:
        super().__init__(chain, hops)
        self._below = below or _below

    def _choose(self, candidates: list[Proxy]) -> Path:
        return tuple(candidates.pop(self._below(len(candidates))) for _ in range(self._length))


class RoundRobin(_Free):
    """``chain.length`` of the proxies in a circle, beginning after those of the connection before."""

    def __init__(self, chain: Chain, hops: Hops, counter: RoundRobinCounter) -> None:
        super().__init__(chain, hops)
        self._counter = counter

    def _choose(self, candidates: list[Proxy]) -> Path:
        def choose_from(position: int) -> tuple[Path, int]:
            chosen: list[Proxy] = []
            while len(chosen) < self._length:
                proxy = self._proxies[position % len(self._proxies)]
                position += 1
                if proxy in candidates:
                    chosen.append(proxy)
            return tuple(chosen), position % len(self._proxies)

        return self._counter.take(choose_from)


def selection(chain: Chain, hops: Hops, counter: RoundRobinCounter) -> Selection:
    """The selection for the type of ``chain``. ``counter``: of this chain, used by a round-robin one."""
    if chain.type == "dynamic":
        return Dynamic(chain, hops)
    if chain.type == "random":
        return Random(chain, hops)
    if chain.type == "round_robin":
        return RoundRobin(chain, hops, counter)
    return Fixed(chain.proxies)


def _below(count: int) -> int:
    # The module ``random`` takes milliseconds to import. With 64 bits, the modulo is practically even.
    return int.from_bytes(os.urandom(8), "little") % count
