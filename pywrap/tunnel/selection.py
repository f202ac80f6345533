"""Which proxies of a chain a connection goes through: the chain types of proxychains-ng.

As there, a hop that failed is left out where the type allows it. Unlike there, where it stays so until all
have failed, it comes back by itself after a while (``hops``).
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
    """The paths that a connection may take."""

    def pick(self, without: Path, including: Proxy | None = None) -> Path:
        """A path that avoids the hops ``without``, which failed it already; empty when there is none.

        ``including``: a hop that must be part of it, dead or not.
        """
        raise NotImplementedError

    def has_another(self, without: Path) -> bool:
        """Would there be a path if one more hop failed?"""
        raise NotImplementedError


class Fixed(Selection):
    """One path and no other: a strict chain."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pick(self, without: Path, including: Proxy | None = None) -> Path:
        return () if without else self._path

    def has_another(self, without: Path) -> bool:
        return False


class _Free(Selection):
    """Some of the proxies of a chain; ``length`` is how many of them, and how many there must be."""

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
        # Who is believed dead is asked again when nobody else is left.
        path = self._choose(living if len(living) >= self._least else left)
        if including is None or including in path:
            return path
        # Random or in turn, it was not chosen: then it takes the last one's place.
        return (*path[:-1], including) if including in left else ()

    def has_another(self, without: Path) -> bool:
        return sum(proxy not in without for proxy in self._proxies) > self._least

    def _choose(self, candidates: list[Proxy]) -> Path:
        raise NotImplementedError


class Dynamic(_Free):
    """All in order, without those that are dead; one at least."""

    def __init__(self, chain: Chain, hops: Hops) -> None:
        super().__init__(chain, hops)
        self._least = 1

    def _choose(self, candidates: list[Proxy]) -> Path:
        return tuple(candidates)


class Random(_Free):
    """``length`` of them, in any order. ``below(n)`` is a number from 0 to n - 1."""

    def __init__(self, chain: Chain, hops: Hops, below: Callable[[int], int] | None = None) -> None:
        super().__init__(chain, hops)
        self._below = below or _below

    def _choose(self, candidates: list[Proxy]) -> Path:
        return tuple(candidates.pop(self._below(len(candidates))) for _ in range(self._length))


class RoundRobin(_Free):
    """``length`` of them in a circle, from where the connection before left off."""

    def __init__(self, chain: Chain, hops: Hops, turns: RoundRobinCounter) -> None:
        super().__init__(chain, hops)
        self._turns = turns

    def _choose(self, candidates: list[Proxy]) -> Path:
        def from_turn(turn: int) -> tuple[Path, int]:
            chosen: list[Proxy] = []
            while len(chosen) < self._length:
                proxy = self._proxies[turn % len(self._proxies)]
                turn += 1
                if proxy in candidates:
                    chosen.append(proxy)
            return tuple(chosen), turn % len(self._proxies)

        return self._turns.take(from_turn)


def selection(chain: Chain, hops: Hops, turns: RoundRobinCounter) -> Selection:
    """How ``chain`` chooses. ``round_robin`` is its own, for a round robin."""
    if chain.type == "dynamic":
        return Dynamic(chain, hops)
    if chain.type == "random":
        return Random(chain, hops)
    if chain.type == "round_robin":
        return RoundRobin(chain, hops, turns)
    return Fixed(chain.proxies)


def _below(count: int) -> int:
    # The module ``random`` is milliseconds of import; 64 bits are even enough for chains of any length.
    return int.from_bytes(os.urandom(8), "little") % count
