"""How a connection is opened: the ways to try, one after the other.

After a failure, in this order:

1. in a flight through a hop that has not been seen to take one: the same path, step by step;
2. somebody hung up, and there are other paths: the same path again, since a refusal is given again, and a hop
   that has ended is not there any more;
3. a hop is dead: a path without it, where the chain's type knows one;
4. a hop fails at the destination as it has failed at the hop behind it before, without a reason: it is that
   one which does not work, and not both; a path without it, and with the other;
5. anything else is an error, above all what the destination refused.
"""

from __future__ import annotations

from pywrap.errors import NoCommonMethod, ProtocolError, ProxyClosed, ProxyTimeout, Rejected, SocksError
from pywrap.frozen import frozen
from pywrap.socks import v5
from pywrap.tunnel.chain import handshake, is_one_message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.config.settings import Proxy
    from pywrap.socks.wire import Dialogue, Endpoint
    from pywrap.tunnel.dial import FirstHop
    from pywrap.tunnel.hops import Hops
    from pywrap.tunnel.selection import Selection

_NEVER = float("inf")

# Of the time that is left, for a way that has others behind it.
_PART = 0.5
# Seconds to reach the first hop in that case, where the user has set no limit: two SYNs may be lost.
_REACH = 4.0

# For a flight that may have been swallowed: a hang is all that tells.
_FLIGHT_PART = 1 / 3
FLIGHT_SECONDS = 5.0

# How a hop fails that cannot take a flight. A refusal is none of these: it was understood.
MISREAD = (NoCommonMethod, ProtocolError, ProxyClosed, ProxyTimeout)


@frozen
class Way:
    """One way: the hops in order, how to reach the first, and what is said through it.

    It may take a ``part`` of the time that is left and ``seconds`` at most, and ``reach`` seconds to connect
    to the first hop, 0 for no limit of its own. ``early``: what is said first may go out in the SYN.
    """

    path: tuple[Proxy, ...]
    first: FirstHop
    talk: Callable[[], Dialogue[Endpoint]]
    part: float = 1.0
    seconds: float = _NEVER
    reach: float = 0.0
    early: bool = False


class Plan:
    """The ways of one connection, through the paths of a ``selection``.

    ``pipeline`` is "off", "on" (flights through all hops that have not failed to take one), or "auto" (only
    through those seen to). ``fast_open``: with TCP Fast Open.
    """

    def __init__(
        self,
        hops: Hops,
        selection: Selection,
        destination: Endpoint,
        command: int = v5.CONNECT,
        pipeline: str = "off",
        fast_open: bool = False,
        then: Callable[[], Dialogue[None]] | None = None,
    ) -> None:
        self._hops = hops
        self._selection = selection
        self._destination = destination
        self._command = command
        self._pipeline = pipeline
        self._fast_open = fast_open
        self._then = then
        self._path: tuple[Proxy, ...] = ()
        self._flight: tuple[bool, ...] = ()
        self._without: tuple[Proxy, ...] = ()
        # Those that a flight may have failed at, while the same path is tried step by step.
        self._suspects: tuple[Proxy, ...] = ()
        self._repeated = False
        self._doubted = False
        # Who failed at whom without a reason, and who turned out to be the one to blame.
        self._accused: tuple[tuple[Proxy | None, Proxy], ...] = ()
        self._accuser: Proxy | None = None

    def start(self) -> Way:
        """The way to try first."""
        return self._along(self._selection.pick(()))

    def another(self, error: SocksError) -> Way | None:
        """The way to try after ``error``; None when there is no other."""
        if isinstance(error, MISREAD) and self._doubted:
            self._suspects = self._suspected(error)
            self._repeated = error.in_doubt
            return self._way(())
        if error.in_doubt and not self._repeated and self._selection.has_another(self._without):
            self._repeated = True
            return self._way(tuple(self._flies(number) for number in range(len(self._path))))
        if error.dead is None:
            return self._without_accuser(error)
        if _is_no_reason(error):
            self._accused = (*self._accused, (error.hop, error.dead))
        self._hops.died(error.dead)
        self._without += (error.dead,)
        path = self._selection.pick(self._without)
        return self._along(path) if path else None

    def _without_accuser(self, error: SocksError) -> Way | None:
        """The way without the hop that ``error`` is of, if it fails at everything."""
        accused = {dead for hop, dead in self._accused if hop is error.hop}
        if error.hop is None or not accused or not _is_no_reason(error):
            return None
        self._accused = ()
        self._hops.live(tuple(accused))
        self._accuser = error.hop
        self._without = (*(each for each in self._without if each not in accused), error.hop)
        path = self._selection.pick(self._without)
        return self._along(path) if path else None

    def given_up(self, error: SocksError) -> None:
        """The program waits no longer: ``error`` is what would have been reported of the present way."""
        if error.dead is not None:
            self._hops.died(error.dead)

    def succeeded(self) -> None:
        """The present way stands."""
        self._doubted = False
        self._hops.live(self._path)
        if self._accuser is not None:
            # Now that it is known.
            self._hops.died(self._accuser)
        for number, flies in enumerate(self._flight):
            if flies and not self._is_safe(number):
                self._hops.takes_flight(self._path[number], True)
        for hop in self._suspects:
            if self._hops.is_taker(hop) is None:
                self._hops.takes_flight(hop, False)

    def _along(self, path: tuple[Proxy, ...]) -> Way:
        self._path = path
        self._suspects = ()
        self._repeated = False
        if self._pipeline == "off":
            return self._way(())
        return self._way(tuple(self._flies(number) for number in range(len(path))))

    def _way(self, flight: tuple[bool, ...]) -> Way:
        path = self._path
        self._flight = flight
        part, seconds, reach = 1.0, _NEVER, 0.0
        if self._selection.has_another(self._without):
            part, reach = _PART, _REACH
        # Now: another connection may find out meanwhile that a hop does not take it, as this one did not.
        self._doubted = bool(flight) and self._in_doubt_of_flight()
        if self._doubted:
            part, seconds = _FLIGHT_PART, FLIGHT_SECONDS
        return Way(
            path,
            self._hops.first(path[0]),
            lambda: self._talk(path, flight),
            part,
            seconds,
            reach,
            # A raw hop is told nothing: its SYN would wait for the program's first word.
            self._fast_open and path[0].scheme != "raw",
        )

    def _talk(self, path: tuple[Proxy, ...], flight: tuple[bool, ...]) -> Dialogue[Endpoint]:
        bound = yield from handshake(path, self._destination, self._command, flight)
        if self._then is not None:
            # The hops have done their part.
            self.succeeded()
            try:
                yield from self._then()
            except SocksError as err:
                err.hop = path[-1]
                raise
        return bound

    def _flies(self, number: int) -> bool:
        """Does hop ``number`` of the path take a flight?"""
        hop = self._path[number]
        known = self._hops.is_taker(hop)
        if self._pipeline == "on":
            return known is not False
        return known is True or self._is_safe(number)

    def _is_safe(self, number: int) -> bool:
        """Has the hop nothing to lose? A single message to the last has nothing behind it."""
        return is_one_message(self._path[number]) and number == len(self._path) - 1

    def _in_doubt_of_flight(self) -> bool:
        return any(
            flies and self._hops.is_taker(self._path[number]) is None and not self._is_safe(number)
            for number, flies in enumerate(self._flight)
        )

    def _suspected(self, error: SocksError) -> tuple[Proxy, ...]:
        """Who may have swallowed what came early: where it went wrong, and the hop before a silent one."""
        at = next((number for number, hop in enumerate(self._path) if hop is error.hop), 0)
        before = (
            max(0, at - 1) if isinstance(error, (ProxyClosed, ProxyTimeout)) and not error.answered else at
        )
        return self._path[before : at + 1]


def _is_no_reason(error: SocksError) -> bool:
    """Does a hop fail in a way that says nothing of what it was asked for?"""
    if isinstance(error, Rejected):
        return error.code == v5.GENERAL_FAILURE
    return isinstance(error, ProxyClosed) and error.in_doubt
