"""How a connection is opened: the ways to try, one after the other.

After a failure, in this order:

1. in a flight, unless it was understood: the same path, step by step;
2. somebody hung up, and there are other paths: the same path again, since a refusal is given again, and a hop
   that has ended is not there any more;
3. a hop says nothing that a proxy says: a path with it and without the hop before, which may have granted a
   connection to it without having one. Who grants what is impossible has proved nothing: if the hop answers
   there, the one before is dead;
4. a hop is dead: a path without it, where the chain's type knows one;
5. a hop refuses the destination with the code that it has refused the hop behind it with: it is that one
   which does not work, and not both; a path without it, and with the other;
6. anything else is an error, above all what the last hop says of the destination.

A hop that keeps a connection waiting is asked beside it whether it is alive (``liveness``).
"""

from __future__ import annotations

from time import monotonic

from pywrap.errors import (
    AuthenticationFailed,
    NoCommonMethod,
    ProtocolError,
    ProxyClosed,
    ProxyTimeout,
    Rejected,
    SocksError,
)
from pywrap.frozen import frozen
from pywrap.socks import v5
from pywrap.tunnel.chain import handshake, is_joined, is_one_message
from pywrap.tunnel.hops import reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.config.settings import Proxy
    from pywrap.socks.wire import Dialogue, Endpoint
    from pywrap.tunnel.first_hop import FirstHop
    from pywrap.tunnel.hops import Hops
    from pywrap.tunnel.selection import Selection

_NEVER = float("inf")

# Of the time that is left, for a way that has others behind it; what the last hop is asked for may take all.
_PART = 0.5
# Seconds to reach the first hop in that case, and for each hop to reach the next, where the user has set no
# limit: two SYNs may be lost, and as many again.
_REACH = 4.0
_PATIENCE = 15.0

# For a flight that may have been swallowed. A hang is all that tells, until the hop has answered the question
# whether it takes one.
_PIPELINING_PART = 1 / 3
PIPELINING_SECONDS = 5.0

# How a hop fails that cannot take a flight. A refusal is none of these: it was understood.
MISREAD = (NoCommonMethod, ProtocolError, ProxyClosed, ProxyTimeout)


@frozen
class Attempt:
    """One way: the hops in order, how to reach the first, and what is said through it.

    It may take a ``part`` of the time that is left and ``seconds`` at most. Where there may be other ways, it
    has ``connect_limit`` seconds to connect to the first hop, and ``reply_limit`` for each answer; elsewhere
    both are 0. ``early``: what is said first may go out in the SYN. ``watched``: while an answer is waited
    for, ``RetryPolicy.should_abandon`` wants to be asked now and then.
    """

    path: tuple[Proxy, ...]
    first: FirstHop
    talk: Callable[[], Dialogue[Endpoint]]
    part: float = 1.0
    seconds: float = _NEVER
    connect_limit: float = 0.0
    reply_limit: float = 0.0
    early: bool = False
    watched: bool = False


class SingleAttempt:
    """A way without another: what fails is not to be got around. With the face of a ``RetryPolicy``."""

    waits_for_destination = False
    asked = 0

    def __init__(self, attempt: Attempt) -> None:
        self._only = attempt

    def start(self) -> Attempt:
        return self._only

    def next_after(self, error: SocksError) -> Attempt | None:
        return None

    def error_to_report(self, error: SocksError) -> SocksError:
        return error

    def should_abandon(self) -> bool:
        return False

    def given_up(self, error: SocksError) -> None:
        """Nothing is learned from it."""

    def succeeded(self) -> None:
        """Nor from this."""


class RetryPolicy:
    """The ways of one connection, through the paths of a ``selection``.

    ``pipeline`` is "off", "on" (pipelining through all hops that have not failed at it), or "auto" (only
    through those seen to support it). ``fast_open``: with TCP Fast Open.
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
        # The number of the hop whose answer is waited for.
        self._at = 0
        # Those of the path that were taken for dead when it was chosen.
        self._believed_dead: tuple[Proxy, ...] = ()
        self._pipelined_hops: tuple[bool, ...] = ()
        # Those of the path that may lose what comes right behind their request, and when the way began.
        self._swallows: tuple[bool, ...] = ()
        self._begun = 0.0
        self._without: tuple[Proxy, ...] = ()
        # Those that a flight may have failed at, while the same path is tried step by step.
        self._suspects: tuple[Proxy, ...] = ()
        # Instead: a hop that may have lost what was behind its request, and the next, which said nothing.
        self._swallower: tuple[Proxy, Proxy] | None = None
        # While a path with the second and without the first is tried: a hop that may have granted what it
        # does not have, the one behind it, and what came of the path with both.
        self._grantor: tuple[Proxy, Proxy, SocksError] | None = None
        self._acquitted: tuple[Proxy, ...] = ()
        self._repeated = False
        # Is it a flight that somebody may lose, and is it through somebody of whom that is not known?
        self._pipelined = False
        self._pipelining_unproven = False
        # What one said that seems to refuse everything.
        self._refusal: SocksError | None = None

    @property
    def asked(self) -> int:
        """The number of the hop whose answer is waited for."""
        return self._at

    def start(self) -> Attempt:
        """The way to try first."""
        return self._along(self._selection.pick(()))

    def next_after(self, error: SocksError) -> Attempt | None:
        """The way to try after ``error``; None when there is no other."""
        if self._suspects and isinstance(error, (Rejected, AuthenticationFailed)):
            # As good as a success: they have passed on what they were told, and the answer.
            self._learn_of_suspects(error.hop)
        self._learn_of_answers(error)
        self._weigh_grantor(error)
        has_another = self._has_another()
        lost = self._lost() if has_another and isinstance(error, ProxyTimeout) else None
        if lost is not None:
            error.dead = lost
        elif self._may_be_of_pipelining(error):
            self._suspect(error)
            self._repeated = error.in_doubt
            return self._attempt(())
        elif error.in_doubt and not self._repeated and has_another:
            self._repeated = True
            return self._attempt(tuple(self._may_pipeline(number) for number in range(len(self._path))))
        if error.dead is None:
            return self._without_accuser(error)
        if lost is None:
            attempt = self._without_grantor(error)
            if attempt is not None:
                return attempt
        self._without += (error.dead,)
        path = self._selection.pick(self._without)
        self._hops.died(error.dead, error, bool(path))
        return self._along(path) if path else None

    def _has_another(self) -> bool:
        """Would there be another path if the present one failed?"""
        return self._grantor is not None or self._selection.has_another(self._without)

    def _without_grantor(self, error: SocksError) -> Attempt | None:
        """The way to the hop that has said nothing, without the one before: that may be what failed."""
        hop = error.hop
        if not error.unheard or hop is None or hop in self._acquitted or hop is self._path[0]:
            return None
        before = self._path[self._number(hop) - 1]
        path = self._selection.pick((*self._without, before), hop)
        if hop not in path:
            return None
        self._acquitted += (hop,)
        self._grantor = before, hop, error
        self._without += (before,)
        return self._along(path)

    def _weigh_grantor(self, error: SocksError | None) -> None:
        """Does a hop answer that was not heard through another? By ``error``, or because the way stands."""
        if self._grantor is None:
            return
        before, hop, unheard = self._grantor
        if error is None or (
            error.hop is not None
            and self._number(error.hop) >= self._number(hop)
            and not (error.hop is hop and error.unheard)
        ):
            self._grantor = None
            self._hops.died(before, unheard)
        elif error.dead is hop:
            # Neither way.
            self._grantor = None
            self._without = tuple(each for each in self._without if each is not before)

    def _number(self, hop: Proxy) -> int:
        return self._path.index(hop)

    def _without_accuser(self, error: SocksError) -> Attempt | None:
        """The way without the hop that ``error`` is of, if it fails at everything."""
        code = reason(error)
        if error.hop is None or code is None or self._refusal is not None:
            return None
        accused = self._hops.accused_by(error.hop, code)
        without = (*(each for each in self._without if each not in accused), error.hop)
        # To pick is to take a turn, of a round robin.
        path = self._selection.pick(without) if accused else ()
        if not path:
            return None
        self._hops.live(accused)
        self._refusal = error
        self._without = without
        return self._along(path)

    def error_to_report(self, error: SocksError) -> SocksError:
        """What to report, ``error`` having ended the last way: of the destination, rather than of a hop."""
        return error if self._refusal is None or error.dead is None else self._refusal

    def should_abandon(self) -> bool:
        """No answer has come for a while: is it known that none will? The hops waited for are asked."""
        if self._was_swallowed():
            return True
        for number in self._at_risk():
            # Also those that have taken one: another server may be there by now.
            self._hops.suspect_pipelining(self._path[: number + 1])
        if not self._has_another():
            # Whoever is dead: it is waited for.
            return False
        for number in range(self._at + 1):
            self._hops.suspect(self._path[: number + 1])
        return self._lost() is not None

    def _was_swallowed(self) -> bool:
        """Does a hop that a flight went through turn out to take none, or to lose what was behind it?"""
        if any(self._hops.supports_pipelining(self._path[number]) is False for number in self._at_risk()):
            return True
        if not self._is_joined(self._at):
            return False
        before, hop = self._path[self._at - 1 : self._at + 1]
        # Others are answered in the meantime.
        return self._hops.is_passer(before) is False or self._hops.has_taken_since(hop, self._begun)

    def _is_joined(self, number: int) -> bool:
        return is_joined(self._pipelined_hops, self._swallows, number)

    def _may_be_of_pipelining(self, error: SocksError) -> bool:
        """Can ``error`` come from all having been said at once?"""
        if not isinstance(error, MISREAD) or not self._pipelined:
            return False
        if self._pipelining_unproven or isinstance(error, (NoCommonMethod, ProtocolError)):
            return True
        # Of those that take flights, a hang-up is a refusal, and silence is the destination's.
        return self._was_swallowed() if isinstance(error, ProxyTimeout) else not error.in_doubt

    def _lost(self) -> Proxy | None:
        """A hop that is waited for, and was found dead meanwhile: by its answer, or by other connections."""
        waited_for = self._path[: self._at + 1]
        return next(
            (hop for hop in waited_for if self._hops.is_dead(hop) and hop not in self._believed_dead), None
        )

    @property
    def waits_for_destination(self) -> bool:
        """Is it the last hop that is waited for? Then it may take all the time that there is."""
        return self._at == len(self._path) - 1 and not self._pipelining_unproven

    def given_up(self, error: SocksError) -> None:
        """The program waits no longer: ``error`` is what would have been reported of the present way."""
        dead = self._lost()
        if dead is None and error.unheard and self._at > 0 and self._hops.hop_probes is not None:
            # It, or the one before? The question that finds out goes on.
            self._hops.suspect(self._path[: self._at + 1])
            return
        dead = dead or error.dead
        if dead is not None:
            self._hops.died(dead, error, self._has_another())

    def succeeded(self) -> None:
        """The present way stands."""
        self._pipelining_unproven = False
        self._weigh_grantor(None)
        self._hops.live(self._path)
        if self._refusal is not None and self._refusal.hop is not None:
            # Now that it is known.
            self._hops.died(self._refusal.hop, self._refusal)
        for number, pipelines in enumerate(self._pipelined_hops):
            if pipelines and not self._is_safe(number):
                self._hops.set_pipelining(self._path[number], True)
            if self._is_joined(number):
                self._hops.passes_on(self._path[number - 1], True)
        self._learn_of_suspects(self._path[-1])

    def _learn_of_answers(self, error: SocksError) -> None:
        """Those before the one that failed have answered what they were sent at once."""
        if error.hop not in self._path:
            return
        failed = self._number(error.hop)
        for number, pipelines in enumerate(self._pipelined_hops[:failed]):
            if pipelines:
                self._hops.set_pipelining(self._path[number], True)
        for number in range(failed if error.unheard else failed + 1):
            if self._is_joined(number):
                self._hops.passes_on(self._path[number - 1], True)

    def _learn_of_suspects(self, authenticated: Proxy | None) -> None:
        """Step by step, those up to the hop that has ``authenticated`` work."""
        for hop in self._path:
            if hop in self._suspects:
                if self._hops.supports_pipelining(hop):
                    # It was another server, or in the middle of its end.
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
        part, seconds, connect_limit, reply_limit = 1.0, _NEVER, 0.0, 0.0
        if self._has_another():
            part, connect_limit, reply_limit = _PART, _REACH, _PATIENCE
        # Now: another connection may find out meanwhile that a hop does not take it, as this one did not.
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
            # A raw hop is told nothing: its SYN would wait for the program's first word.
            self._fast_open and path[0].scheme != "raw",
            self._pipelined or bool(reply_limit),
        )

    def _talk(self, path: tuple[Proxy, ...], pipelined: tuple[bool, ...]) -> Dialogue[Endpoint]:
        bound = yield from handshake(
            path, self._destination, self._command, pipelined, self._asking, self._swallows
        )
        if self._then is not None:
            # The hops have done their part.
            self.succeeded()
            try:
                yield from self._then()
            except SocksError as err:
                err.hop = path[-1]
                raise
        return bound

    def _asking(self, number: int) -> None:
        self._at = number

    def _may_pipeline(self, number: int) -> bool:
        """Does hop ``number`` of the path take a flight?"""
        hop = self._path[number]
        known = self._hops.supports_pipelining(hop)
        if self._pipeline == "on":
            return known is not False
        return known is True or self._is_safe(number) or self._hops.is_candidate(hop)

    def _may_swallow(self, hop: Proxy) -> bool:
        """Is what comes right behind the request to ``hop`` too likely to get lost?"""
        known = self._hops.is_passer(hop)
        return known is False if self._pipeline == "on" else known is not True

    def _is_safe(self, number: int) -> bool:
        """Has the hop nothing to lose? A single message to the last has nothing behind it."""
        return is_one_message(self._path[number]) and number == len(self._path) - 1

    def _at_risk(self) -> list[int]:
        """The hops that would lose something if they did not take the present flight, by their numbers."""
        return [
            number
            for number, pipelines in enumerate(self._pipelined_hops)
            if pipelines and not self._is_safe(number)
        ]

    def _suspect(self, error: SocksError) -> None:
        """Note which hop may have lost what came early, while the same path is tried step by step."""
        hop = error.hop
        if hop not in self._path:
            return
        number = self._number(hop)
        before = self._path[number - 1]
        lost = isinstance(error, ProxyTimeout) and error.unheard and self._is_joined(number)
        if lost and (self._pipelining_unproven or not self._hops.is_passer(before)):
            # Not a word from it: nothing has reached it. A hop that loses a part of what it gets says more.
            self._swallower = before, hop
        else:
            self._suspects = (hop,)
