"""How a connection is opened: the ways to try, one after the other."""

from __future__ import annotations

from pywrap.frozen import frozen
from pywrap.socks import v5
from pywrap.tunnel.chain import handshake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.config.settings import Proxy
    from pywrap.errors import SocksError
    from pywrap.socks.wire import Dialogue, Endpoint
    from pywrap.tunnel.dial import FirstHop
    from pywrap.tunnel.hops import Hops

_NEVER = float("inf")


@frozen
class Way:
    """One way: the hops in order, how to reach the first, and what is said through it.

    It may take a ``part`` of the time that is left, and ``seconds`` at most.
    """

    path: tuple[Proxy, ...]
    first: FirstHop
    talk: Callable[[], Dialogue[Endpoint]]
    part: float = 1.0
    seconds: float = _NEVER


class Plan:
    """The ways of one connection through one fixed path; of those, there is one."""

    def __init__(
        self, hops: Hops, path: tuple[Proxy, ...], destination: Endpoint, command: int = v5.CONNECT
    ) -> None:
        self._hops = hops
        self._path = path
        self._destination = destination
        self._command = command

    def start(self) -> Way:
        """The way to try first."""
        return self._way()

    def another(self, error: SocksError) -> Way | None:
        """The way to try after ``error``; None when there is no other."""
        return None

    def succeeded(self) -> None:
        """The present way stands."""

    def _way(self) -> Way:
        path = self._path
        return Way(path, self._hops.first(path[0]), lambda: handshake(path, self._destination, self._command))
