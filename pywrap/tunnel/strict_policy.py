"""What an attempt to open a connection consists of, and the policy of a strict chain: one attempt.

Chains of other types, and pipelining, have more: ``retry_policy``.
"""

from __future__ import annotations

from pywrap.frozen import frozen
from pywrap.tunnel.chain import handshake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.config.settings import Proxy
    from pywrap.errors import SocksError
    from pywrap.socks.wire import Dialogue, Endpoint
    from pywrap.tunnel.first_hop import FirstHop
    from pywrap.tunnel.hops import Hops

NEVER = float("inf")


@frozen
class Attempt:
    """One attempt: the hops in order, the addresses of the first, and ``talk()``, the dialogue with all.

    It may take a ``part`` of the remaining time and at most ``seconds``. An attempt that may be followed by
    another has ``connect_limit`` seconds to connect to the first hop, and ``reply_limit`` for each answer;
    0 for no limit. ``early``: the first message may be sent with the SYN. ``watched``: call
    ``RetryPolicy.should_abandon`` now and then while an answer is awaited.
    """

    path: tuple[Proxy, ...]
    first: FirstHop
    talk: Callable[[], Dialogue[Endpoint]]
    part: float = 1.0
    seconds: float = NEVER
    connect_limit: float = 0.0
    reply_limit: float = 0.0
    early: bool = False
    watched: bool = False


class SingleAttempt:
    """One attempt and no other; implements what ``TunnelAttempt`` uses of ``RetryPolicy``."""

    waits_for_destination = False
    # The number of the hop whose answer is waited for.
    asked = 0

    def __init__(self, attempt: Attempt) -> None:
        self._only = attempt

    def start(self) -> Attempt:
        """The attempt."""
        return self._only

    def next_after(self, error: SocksError) -> Attempt | None:
        """None: there is no other."""
        return None

    def error_to_report(self, error: SocksError) -> SocksError:
        """``error``, of the only attempt."""
        return error

    def should_abandon(self) -> bool:
        """False: nothing is learned that could end the attempt early."""
        return False

    def given_up(self, error: SocksError) -> None:
        """Learn nothing from it."""

    def succeeded(self) -> None:
        """Learn nothing from it."""


class StrictPolicy(SingleAttempt):
    """The one attempt along the path of a strict chain, without pipelining, as ``RetryPolicy`` would make it.

    It notes in ``hops`` which hops are dead, since other chains may have the same hops.
    """

    def __init__(
        self,
        hops: Hops,
        path: tuple[Proxy, ...],
        destination: Endpoint,
        command: int,
        fast_open: bool,
    ) -> None:
        self._hops = hops
        self._only = Attempt(
            path,
            hops.first(path[0]),
            lambda: handshake(path, destination, command, asking=self._asking),
            early=fast_open and path[0].scheme != "raw",
        )

    def _asking(self, number: int) -> None:
        self.asked = number

    def next_after(self, error: SocksError) -> Attempt | None:
        """None: there is no other attempt. Notes the hop that is to blame."""
        self.given_up(error)
        return None

    def given_up(self, error: SocksError) -> None:
        """Report the hop that is to blame."""
        if error.failure.blamed is not None:
            self._hops.died(error.failure.blamed, error, False)

    def succeeded(self) -> None:
        """No hop of the path is dead."""
        self._hops.live(self._only.path)
