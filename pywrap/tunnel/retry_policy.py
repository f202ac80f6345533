"""How a connection is opened: which attempts are made, one after the other.

A strict chain without pipelining has one attempt (``policy_choice``). In all other cases, after a failed
attempt, in this order:

1. messages were pipelined, and that may be the reason: the same path, one message at a time;
2. a hop closed the connection, and there are other paths: the same path again. If the hop meant a refusal, it
   will refuse again; if it has ended, it cannot be reached any more;
3. a hop has sent nothing of its protocol: a path with it and without the hop before, which may have granted a
   connection to it without having one. If the hop answers there, the one before is dead;
4. a hop is dead: a path without it, where the chain's type allows one;
5. a hop refuses the destination with the code that it has refused the next hop with: the hop itself does not
   work, rather than both of these; a path without it, and with the other;
6. anything else ends the connection, above all a refusal or failure of the destination.

Only failures of proxies lead to another attempt. A refusal or a time-out of the destination never does, so a
destination cannot change the path.

While a hop keeps a connection waiting, it is probed on another connection (``liveness``).
"""

from __future__ import annotations

from time import monotonic

from pywrap.errors import (
    UNHEARD,
    AuthenticationFailed,
    Failure,
    NoCommonMethod,
    ProtocolError,
    ProxyClosed,
    ProxyTimeout,
    Rejected,
    SocksError,
)
from pywrap.socks import v5
from pywrap.tunnel.chain import handshake, is_joined, is_one_message
from pywrap.tunnel.hops import reason
from pywrap.tunnel.strict_policy import NEVER, Attempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.config.settings import Proxy
    from pywrap.socks.wire import Dialogue, Endpoint
    from pywrap.tunnel.hops import Hops
    from pywrap.tunnel.selection import Selection

# The part of the remaining time for an attempt that may be followed by another. The last hop may take all of
# the time for its request.
_PART = 0.5
# Seconds to connect to the first hop in that case, and for each hop to reach the next, where the user has set
# no limit: with time for lost SYNs, which are sent again after 1, 3 and 7 seconds (RFC 6298).
_CONNECT_LIMIT = 4.0
_REPLY_LIMIT = 15.0

# The part of the remaining time for an attempt with pipelined messages that a hop may lose. Silence is then
# the only sign, until the probe of the hop has been answered.
_PIPELINING_PART = 1 / 3
PIPELINING_SECONDS = 5.0

# How a hop fails that does not support pipelining. A refusal is not among them: the messages were understood.
MISREAD = (NoCommonMethod, ProtocolError, ProxyClosed, ProxyTimeout)


class RetryPolicy:
    """The attempts of one connection, through the paths of a ``selection``.

    ``pipeline``: "off", "on" (pipelining through all hops that have not failed at it), or "auto" (only
    through those seen to support it). ``fast_open``: with TCP Fast Open. ``then``: a dialogue with the
    destination that belongs to the attempt, such as a question to a name server.
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
        # The path of the present attempt, when that began, and the number of the hop whose answer is awaited.
        self._path: tuple[Proxy, ...] = ()
        self._begun = 0.0
        self._at = 0
        # For each hop of the path: whether it is sent all messages at once, and whether it may lose the bytes
        # right behind its request.
        self._pipelined_hops: tuple[bool, ...] = ()
        self._swallows: tuple[bool, ...] = ()
        # Whether any hop was sent messages that it loses if it does not support pipelining; whether that is
        # still unproven of any.
        self._pipelined = False
        self._pipelining_unproven = False
        # Hops of the path that were believed dead when it was chosen.
        self._believed_dead: tuple[Proxy, ...] = ()
        # Hops that have failed this connection.
        self._without: tuple[Proxy, ...] = ()
        # While the same path is tried without pipelining: the hops that may not support it; or a hop that may
        # have lost the bytes behind its request, and the next hop, which has sent nothing.
        self._suspects: tuple[Proxy, ...] = ()
        self._swallower: tuple[Proxy, Proxy] | None = None
        # While a path with the second and without the first is tried: a hop that may have granted a
        # connection that it does not have, the hop behind it, and the error of the path with both.
        self._grantor: tuple[Proxy, Proxy, SocksError] | None = None
        self._acquitted: tuple[Proxy, ...] = ()
        # Whether the path was tried again after a closed connection.
        self._repeated = False
        # A refusal by a hop that seems to refuse everything.
        self._refusal: SocksError | None = None
        # Whether the latest error blames a hop, rather than the destination.
        self._blames_hop = False

    @property
    def asked(self) -> int:
        """The number of the hop whose answer is waited for."""
        return self._at

    def start(self) -> Attempt:
        """The first attempt."""
        return self._along(self._selection.pick(()))

    def next_after(self, error: SocksError) -> Attempt | None:
        """The attempt after ``error``; None when there is no other."""
        failure = error.failure
        self._blames_hop = failure.blamed is not None
        if self._suspects and isinstance(error, (Rejected, AuthenticationFailed)):
            # A refusal proves that every hop before this one has forwarded what it got, both ways.
            self._learn_of_suspects(failure.hop)
        self._learn_of_answers(error)
        self._weigh_grantor(error)
        has_another = self._has_another()
        lost = self._lost() if has_another and isinstance(error, ProxyTimeout) else None
        if lost is not None:
            self._blames_hop = True
            return self._without_hop(lost, error)
        if self._may_be_of_pipelining(error):
            self._suspect(error)
            self._repeated = not failure.certain
            return self._attempt(())
        if not failure.certain and not self._repeated and has_another:
            self._repeated = True
            return self._attempt(tuple(self._may_pipeline(number) for number in range(len(self._path))))
        if failure.blamed is None:
            return self._without_accuser(error)
        return self._without_grantor(error) or self._without_hop(failure.blamed, error)

    def error_to_report(self, error: SocksError) -> SocksError:
        """The error to report after ``error``, the latest: one about the destination rather than a hop."""
        return error if self._refusal is None or not self._blames_hop else self._refusal

    def should_abandon(self) -> bool:
        """Whether it is known by now that no answer will come. Probes the hop that is awaited."""
        if self._was_swallowed():
            return True
        for number in self._at_risk():
            # Also hops that supported pipelining before: another server may be at that address by now.
            self._hops.suspect_pipelining(self._path[: number + 1])
        if not self._has_another():
            # Whether the hop is dead or not, the connection has no other path, and can only wait.
            return False
        for number in range(self._at + 1):
            self._hops.suspect(self._path[: number + 1])
        return self._lost() is not None

    @property
    def waits_for_destination(self) -> bool:
        """Whether the last hop is awaited, so that the attempt may take all of the remaining time."""
        return self._at == len(self._path) - 1 and not self._pipelining_unproven

    def given_up(self, error: SocksError) -> None:
        """Learn from a connection that the program gave up; ``error``: what would have been reported."""
        dead = self._lost()
        if dead is None and error.stage == UNHEARD and self._at > 0 and self._hops.hop_probes is not None:
            # A probe finds out whether that hop or the one before it is dead.
            self._hops.suspect(self._path[: self._at + 1])
            return
        dead = dead or error.failure.blamed
        if dead is not None:
            self._hops.died(dead, error, self._has_another())

    def succeeded(self) -> None:
        """Learn from the present attempt, which has opened the connection."""
        self._pipelining_unproven = False
        self._weigh_grantor(None)
        self._hops.live(self._path)
        if self._refusal is not None and self._refusal.failure.hop is not None:
            # The path without the hop that refused works: so that hop refuses everything.
            self._hops.died(self._refusal.failure.hop, self._refusal)
        for number, pipelines in enumerate(self._pipelined_hops):
            if pipelines and not self._is_safe(number):
                self._hops.set_pipelining(self._path[number], True)
            if self._is_joined(number):
                self._hops.passes_on(self._path[number - 1], True)
        self._learn_of_suspects(self._path[-1])

    # ---------------------------------------------------------------- the next attempt

    def _along(self, path: tuple[Proxy, ...]) -> Attempt:
        self._path = path
        self._believed_dead = tuple(hop for hop in path if self._hops.is_dead(hop))
        self._suspects = ()
        self._swallower = None
        self._repeated = False
        if self._pipeline == "off":
            return self._attempt(())
        return self._attempt(tuple(self._may_pipeline(number) for number in range(len(path))))

    def _attempt(self, pipelined: tuple[bool, ...]) -> Attempt:
        path = self._path
        self._pipelined_hops = pipelined
        self._swallows = tuple(self._may_swallow(hop) for hop in path)
        self._begun = monotonic()
        self._at = 0
        part, seconds, connect_limit, reply_limit = 1.0, NEVER, 0.0, 0.0
        if self._has_another():
            part, connect_limit, reply_limit = _PART, _CONNECT_LIMIT, _REPLY_LIMIT
        # Decided now: later, another connection may have learned that a hop does not support pipelining.
        self._pipelined = bool(self._at_risk())
        self._pipelining_unproven = any(
            self._hops.supports_pipelining(path[number]) is None
            or (self._is_joined(number) and self._hops.is_passer(path[number - 1]) is None)
            for number in self._at_risk()
        )
        if self._pipelining_unproven:
            part, seconds = _PIPELINING_PART, PIPELINING_SECONDS
        return Attempt(
            path,
            self._hops.first(path[0]),
            lambda: self._talk(path, pipelined),
            part,
            seconds,
            connect_limit,
            reply_limit,
            # A raw hop is sent nothing: its SYN would wait for the program's first bytes.
            self._fast_open and path[0].scheme != "raw",
            self._pipelined or bool(reply_limit),
        )

    def _talk(self, path: tuple[Proxy, ...], pipelined: tuple[bool, ...]) -> Dialogue[Endpoint]:
        bound = yield from handshake(
            path, self._destination, self._command, pipelined, self._asking, self._swallows
        )
        if self._then is not None:
            # The hops have granted the connection; what fails from here on is not theirs.
            self.succeeded()
            try:
                yield from self._then()
            except SocksError as err:
                raise err.copy(failure=Failure(path[-1])) from err.__cause__
        return bound

    def _asking(self, number: int) -> None:
        self._at = number

    def _has_another(self) -> bool:
        """Whether there would be another path if the present one failed."""
        return self._grantor is not None or self._selection.has_another(self._without)

    def _without_hop(self, dead: Proxy, error: SocksError) -> Attempt | None:
        """An attempt without ``dead``, which is to blame for ``error``."""
        self._without += (dead,)
        path = self._selection.pick(self._without)
        self._hops.died(dead, error, bool(path))
        return self._along(path) if path else None

    def _without_grantor(self, error: SocksError) -> Attempt | None:
        """An attempt with the hop that has sent nothing, without the one before, which may be to blame."""
        hop = error.failure.hop
        if error.stage != UNHEARD or hop is None or hop in self._acquitted or hop is self._path[0]:
            return None
        before = self._path[self._number(hop) - 1]
        path = self._selection.pick((*self._without, before), hop)
        if hop not in path:
            return None
        self._acquitted += (hop,)
        self._grantor = before, hop, error
        self._without += (before,)
        return self._along(path)

    def _without_accuser(self, error: SocksError) -> Attempt | None:
        """An attempt without the hop that ``error`` is of, if that hop refuses everything."""
        hop, code = error.failure.hop, reason(error)
        if hop is None or code is None or self._refusal is not None:
            return None
        accused = self._hops.accused_by(hop, code)
        without = (*(each for each in self._without if each not in accused), hop)
        # Only now: pick() takes a turn of a round-robin chain.
        path = self._selection.pick(without) if accused else ()
        if not path:
            return None
        self._hops.live(accused)
        self._refusal = error
        self._without = without
        return self._along(path)

    # ---------------------------------------------------------------- what is learned of hops

    def _weigh_grantor(self, error: SocksError | None) -> None:
        """Does the hop that sent nothing answer without the one before? ``error``: None after a success."""
        if self._grantor is None:
            return
        before, hop, unheard = self._grantor
        failed = None if error is None else error.failure.hop
        if error is None or (
            failed is not None
            and self._number(failed) >= self._number(hop)
            and not (failed is hop and error.stage == UNHEARD)
        ):
            self._grantor = None
            self._hops.died(before, unheard)
        elif error.failure.blamed is hop:
            # The hop answers on neither path.
            self._grantor = None
            self._without = tuple(each for each in self._without if each is not before)

    def _lost(self) -> Proxy | None:
        """An awaited hop that was found dead meanwhile, by its probe or by other connections."""
        awaited = self._path[: self._at + 1]
        return next(
            (hop for hop in awaited if self._hops.is_dead(hop) and hop not in self._believed_dead), None
        )

    def _learn_of_answers(self, error: SocksError) -> None:
        """The hops before the one that failed have answered their pipelined messages."""
        if error.failure.hop not in self._path:
            return
        failed = self._number(error.failure.hop)
        for number, pipelines in enumerate(self._pipelined_hops[:failed]):
            if pipelines:
                self._hops.set_pipelining(self._path[number], True)
        for number in range(failed if error.stage == UNHEARD else failed + 1):
            if self._is_joined(number):
                self._hops.passes_on(self._path[number - 1], True)

    def _learn_of_suspects(self, authenticated: Proxy | None) -> None:
        """Note that the suspects up to ``authenticated`` do not support pipelining: without it, they work."""
        for hop in self._path:
            if hop in self._suspects:
                if self._hops.supports_pipelining(hop):
                    # The hop supported it before: another server is there now, or the hop was just ending.
                    self._hops.forget_pipelining(hop)
                else:
                    self._hops.set_pipelining(hop, False)
            if self._swallower is not None and hop is self._swallower[1]:
                swallower = self._swallower[0]
                if self._hops.is_passer(swallower):
                    self._hops.forget_pipelining(swallower)
                else:
                    self._hops.passes_on(swallower, False)
            if hop is authenticated:
                break
        self._suspects = ()
        self._swallower = None

    def _suspect(self, error: SocksError) -> None:
        """Note which hop may have lost pipelined messages; the same path is tried without pipelining now."""
        hop = error.failure.hop
        if hop not in self._path:
            return
        number = self._number(hop)
        before = self._path[number - 1]
        lost = isinstance(error, ProxyTimeout) and error.stage == UNHEARD and self._is_joined(number)
        if lost and (self._pipelining_unproven or not self._hops.is_passer(before)):
            # The hop has sent nothing, so nothing has reached it: a hop that loses a part of its messages
            # still answers the others.
            self._swallower = before, hop
        else:
            self._suspects = (hop,)

    # ---------------------------------------------------------------- pipelining

    def _was_swallowed(self) -> bool:
        """Whether a hop is known by now not to support pipelining, or to lose bytes behind a request."""
        if any(self._hops.supports_pipelining(self._path[number]) is False for number in self._at_risk()):
            return True
        if not self._is_joined(self._at):
            return False
        before, hop = self._path[self._at - 1 : self._at + 1]
        # The hop has answered other connections meanwhile.
        return self._hops.is_passer(before) is False or self._hops.has_taken_since(hop, self._begun)

    def _is_joined(self, number: int) -> bool:
        return is_joined(self._pipelined_hops, self._swallows, number)

    def _may_be_of_pipelining(self, error: SocksError) -> bool:
        """Whether pipelining can be the reason for ``error``."""
        if not isinstance(error, MISREAD) or not self._pipelined:
            return False
        if self._pipelining_unproven or isinstance(error, (NoCommonMethod, ProtocolError)):
            return True
        # From hops that support pipelining, a closed connection is a refusal, and silence is the
        # destination's.
        return self._was_swallowed() if isinstance(error, ProxyTimeout) else error.failure.certain

    def _may_pipeline(self, number: int) -> bool:
        """Whether hop ``number`` of the path may be sent all messages at once."""
        hop = self._path[number]
        known = self._hops.supports_pipelining(hop)
        if self._pipeline == "on":
            return known is not False
        return known is True or self._is_safe(number) or self._hops.is_candidate(hop)

    def _may_swallow(self, hop: Proxy) -> bool:
        """Whether ``hop`` is too likely to lose the bytes right behind its request."""
        known = self._hops.is_passer(hop)
        return known is False if self._pipeline == "on" else known is not True

    def _is_safe(self, number: int) -> bool:
        """Whether the hop cannot lose a message: it is the last one, and is sent a single message."""
        return is_one_message(self._path[number]) and number == len(self._path) - 1

    def _at_risk(self) -> list[int]:
        """The hops that would lose messages if they did not support pipelining, by their numbers."""
        return [
            number
            for number, pipelines in enumerate(self._pipelined_hops)
            if pipelines and not self._is_safe(number)
        ]

    def _number(self, hop: Proxy) -> int:
        return self._path.index(hop)
