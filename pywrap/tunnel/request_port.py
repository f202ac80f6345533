"""Decides for each hop whether an ASSOCIATE request has the port of our UDP socket, or zeros; by a trial.

RFC 1928 section 6 lets a request name the address and port from which the client will send, or zeros where
these are not known. Behind a NAT our own port is the wrong one, and a relay that accepts datagrams only from
the named port would drop all. So a request has zeros. But some relays answer only to a named port (hpsockd):
they grant a request with zeros too, and then send nothing.

So a request with the port is tried once, when the hop has been silent::

    UNHEARD ──▶ TRIAL ──▶ WITH_PORT      an answer came through an association with the port
       │          │
       └──────────┴─────▶ WITHOUT_PORT   an answer came without it, or none with it, or the hop refuses it

The trial begins with a datagram that is sent a moment after the first one, as programs do that wait for an
answer. A flow without answers (syslog, statsd) may lose the datagrams that it sends during the trial, and
only where the relay checks the port and a NAT has changed it.

This module has no clock and no timer: the caller reports what is sent and received, and when. There is no
lock either: each change is one assignment, and two threads at once may count one datagram less.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Chain, Proxy

# The states of a hop.
UNHEARD = "unheard"
TRIAL = "trial"
WITHOUT_PORT = "without port"
WITH_PORT = "with port"

# Seconds without an answer after which a datagram begins the trial: resolvers and QUIC send again after one.
SILENCE = 0.9
# Seconds. A later datagram is no repetition of the same question: the silence begins anew with it.
_FORGOTTEN = 30.0
# So many datagrams have to be sent with the port, and so many seconds have to pass, before the port is given
# up.
_DATAGRAMS = 3
_PATIENCE = 5.0


class RequestPort:
    """The state of one hop. Moments are seconds of one monotonic clock.

    ``state``: one of the constants above.
    """

    __slots__ = ("_since", "_tried", "state")

    def __init__(self) -> None:
        self.state = UNHEARD
        # The moment at which the silence, or the trial, began; 0 before the first datagram.
        self._since = 0.0
        # How many datagrams were sent with the port during the trial.
        self._tried = 0

    @property
    def is_known(self) -> bool:
        """Whether the decision is final."""
        return self.state in (WITHOUT_PORT, WITH_PORT)

    def is_wanted(self, now: float) -> bool:
        """Whether a request that is made ``now``, for a datagram, has the port. Begins or ends the trial."""
        state = self.state
        if state == UNHEARD and self._since and SILENCE <= now - self._since <= _FORGOTTEN:
            self._tried, self._since = 0, now
            self.state = state = TRIAL
        elif state == TRIAL and self._tried >= _DATAGRAMS and now - self._since >= _PATIENCE:
            self.state = state = WITHOUT_PORT
        return state in (TRIAL, WITH_PORT)

    def sent(self, now: float, with_port: bool) -> None:
        """Count a datagram through an association whose request had the port (``with_port``) or zeros."""
        if self.state == TRIAL:
            self._tried += with_port
        elif self.state == UNHEARD and not (self._since and now - self._since <= _FORGOTTEN):
            self._since = now

    def answered(self, with_port: bool) -> None:
        """A datagram has come through such an association."""
        if not self.is_known:
            self.state = WITH_PORT if with_port else WITHOUT_PORT

    def refused(self) -> None:
        """The hop does not grant a request with the port, or has ended its association at once."""
        if self.state == TRIAL:
            self.state = WITHOUT_PORT


class RequestPorts:
    """What is known of each hop in this process."""

    def __init__(self) -> None:
        self._hops: dict[Proxy, RequestPort] = {}

    def of(self, chain: Chain) -> RequestPort | None:
        """What is known of the one hop of ``chain``; None where there are several.

        The relay of a further hop gets datagrams from the relay before it, from a port that is not told.
        """
        if len(chain.proxies) != 1:
            return None
        return self._hops.setdefault(chain.proxies[0], RequestPort())
