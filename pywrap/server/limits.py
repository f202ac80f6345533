"""How much a client may have: connections, time, bytes per second; and how much each client has now.

A client beyond a limit goes through its handshake and is refused with reply 1, as long as there are
descriptors for that; the log names the limit. Half-open handshakes cost a client nothing, so it could have
any number of them: the oldest of the client with the most is ended in favour of a new one.
"""

from __future__ import annotations

from pywrap.frozen import frozen
from pywrap.relay.bucket import Bucket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import Protocol

    class HalfOpen(Protocol):
        """A client whose request is not complete."""

        @property
        def party(self) -> str: ...
        def give_way(self) -> None:
            """End now: another client needs the place."""


# When there are so many buckets, those without a debt are dropped: a new bucket has no debt either.
_BUCKETS = 1024


@frozen
class Limits:
    """Times are seconds, ``rate`` is bytes per second of one client in one direction.

    All but the first three may be 0, which is no limit. ``handshake``: for a client's whole request.
    ``connect``: to reach a destination, its look-up included. ``bind``: until the peer of a BIND connects.
    ``idle``: without any byte or datagram. A client is an IPv4 address, or the /64 of an IPv6 one.
    ``connections``: of all clients together, including those without a complete request, of which there are
    at most ``handshakes``; ``associations`` and ``binds`` are for each client.
    """

    handshake: float = 30.0
    connect: float = 30.0
    bind: float = 120.0
    idle: float = 0.0
    connections: int = 0
    per_client: int = 0
    per_user: int = 0
    handshakes: int = 1024
    associations: int = 0
    binds: int = 0
    rate: int = 0


class Census:
    """Counts connections, associations and so on against ``limits``, which may be replaced at any time."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.total = 0
        self._counts: dict[Hashable, int] = {}
        self._half_open: dict[HalfOpen, None] = {}
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def enter(self, session: HalfOpen) -> str:
        """Count a new connection; return why it must be refused, or ""."""
        limits, party = self.limits, session.party
        self.total += 1
        of_party = self._add("client", party)
        self._half_open[session] = None
        if limits.handshakes and len(self._half_open) > limits.handshakes:
            self._make_room()
        if limits.connections and self.total > limits.connections:
            return "too many connections"
        if limits.per_client and of_party > limits.per_client:
            return "too many connections of this client"
        return ""

    @property
    def half_open(self) -> int:
        """How many connections have no complete request yet."""
        return len(self._half_open)

    def begun(self, session: HalfOpen) -> None:
        """Note that the request of ``session`` is complete, or will never be. May be called again."""
        self._half_open.pop(session, None)

    def leave(self, session: HalfOpen) -> None:
        """Note that a connection has ended."""
        self.begun(session)
        self.total -= 1
        self.give_back("client", session.party)

    def take(self, kind: str, key: Hashable, most: int) -> bool:
        """Count one more of ``key``; False, and not counted, when there are ``most`` (0: any number)."""
        if self._add(kind, key) > most > 0:
            self.give_back(kind, key)
            return False
        return True

    def give_back(self, kind: str, key: Hashable) -> None:
        """Count one less of ``key``, which ``take`` has counted."""
        left = self._counts[kind, key] - 1
        if left:
            self._counts[kind, key] = left
        else:
            del self._counts[kind, key]

    def bucket(self, party: str, direction: str) -> Bucket | None:
        """The bucket for all tunnels of the client ``party`` in one direction; None without a rate."""
        rate = self.limits.rate
        if not rate:
            return None
        # A debt outlives the connection that made it: otherwise a client could reconnect to be rid of it.
        bucket = self._buckets.get((party, direction))
        if bucket is None or bucket.rate != rate:
            if len(self._buckets) >= _BUCKETS:
                for key in [key for key, each in self._buckets.items() if not each.wait()]:
                    del self._buckets[key]
            bucket = self._buckets[party, direction] = Bucket(rate)
        return bucket

    def _add(self, kind: str, key: Hashable) -> int:
        count = self._counts.get((kind, key), 0) + 1
        self._counts[kind, key] = count
        return count

    def _make_room(self) -> None:
        by_party: dict[str, int] = {}
        for session in self._half_open:
            by_party[session.party] = by_party.get(session.party, 0) + 1
        greediest = max(by_party, key=by_party.__getitem__)
        oldest = next(session for session in self._half_open if session.party == greediest)
        del self._half_open[oldest]
        oldest.give_way()
