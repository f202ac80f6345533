"""How long a handshake may take: one deadline through all of its steps."""

from __future__ import annotations

from time import monotonic

from pywrap.errors import ProxyTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Settings

_NEVER = float("inf")

# Seconds between two checks of a hop that is silent. All tunnels check at the same moments, so that ten
# thousand of them wake up the thread twice a second, and not at ten thousand moments.
_LOOK = 0.5


class Deadline:
    """The time limits of one tunnel, counted from its creation, on the monotonic clock.

    ``program``: the timeout of the program's socket in seconds, None for none. When it ends first, the
    program gets exactly what an unpatched connect() would raise. The other limits are of ``settings``.
    """

    __slots__ = ("_begun", "_connect", "_end", "_look", "_program", "_read", "_step", "_attempt")

    def __init__(self, settings: Settings, program: float | None = None) -> None:
        now = monotonic()
        self._end = now + settings.timeout
        self._program = None if program is None else now + program
        self._connect = settings.connect_timeout
        self._read = settings.read_timeout
        self._attempt = self._end
        self._step = self._end
        self._look = _NEVER
        self._begun = now

    def share(self, part: float, seconds: float = _NEVER) -> None:
        """Begin one of several attempts: it gets ``part`` (0 to 1) of the time left, at most ``seconds``."""
        if part == 1 and seconds == _NEVER:
            # The only attempt.
            self._attempt = self._end
            return
        now = monotonic()
        end = self._end if self._program is None else min(self._end, self._program)
        # With a part of 1, the program's own timeout may end first.
        self._attempt = self._end if part == 1 else now + max(0.0, end - now) * part
        self._attempt = min(self._attempt, now + seconds)

    def connecting(self, default: float = 0.0) -> None:
        """Begin to connect to the first hop. ``default``: seconds, when the user set no connect timeout."""
        self._start(self._attempt, self._connect or default)

    def waiting(self, last: bool = False, default: float = 0.0) -> None:
        """Begin to wait for a hop's answer. ``default``: seconds, when the user set no read timeout.

        ``last``: the answer is the last hop's, which may take all the time of the tunnel, without a
        ``default``.
        """
        self._start(self._end if last else self._attempt, self._read or (0.0 if last else default))

    def look(self) -> None:
        """Let ``moment`` come within a second, for a check of the hop that the tunnel waits for."""
        self._look = (monotonic() // _LOOK + 2) * _LOOK

    def _start(self, end: float, limit: float) -> None:
        self._begun = monotonic()
        self._step = min(end, self._begun + limit) if limit else end
        self._look = _NEVER

    @property
    def waited(self) -> float:
        """Seconds since the present step began."""
        return monotonic() - self._begun

    @property
    def ended(self) -> bool:
        """Whether the time of the whole tunnel is over."""
        end = self._end if self._program is None else min(self._end, self._program)
        return end <= monotonic()

    @property
    def moment(self) -> float:
        """When the present step ends, or the next check is due (``look``), on the monotonic clock."""
        step = self._step if self._step < self._look else self._look
        return step if self._program is None or step < self._program else self._program

    def remaining(self) -> float:
        """Seconds until ``moment``; 0 when it has passed."""
        left = self.moment - monotonic()
        return left if left > 0 else 0.0

    def over(self) -> ProxyTimeout | None:
        """The error to report now that ``moment`` has passed; None when only a check was due (``look``).

        Raises:
            TimeoutError: the program's own timeout is over; the text is that of the socket module.
        """
        if self._program is not None and self._program <= monotonic():
            raise TimeoutError("timed out")
        return ProxyTimeout("no answer in time") if self._step <= monotonic() else None
