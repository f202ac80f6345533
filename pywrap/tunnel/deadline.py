"""How long a handshake may take: one deadline through all of its steps."""

from __future__ import annotations

from time import monotonic

from pywrap.errors import ProxyTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Settings

_NEVER = float("inf")

# Seconds between two looks at who keeps us waiting. All look at the same moments, so that ten thousand who
# wait wake up a thread twice a second, and not at ten thousand moments.
_LOOK = 0.5


class Deadline:
    """The limits of one tunnel, counted from its creation.

    ``program`` is the socket's own timeout in seconds, None for none. When it ends first the program
    gets exactly what an unwrapped connect() would raise; the other limits are the user's.
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
        """One way of several begins: it has a ``part`` of the time that is left, and ``seconds`` at most."""
        now = monotonic()
        end = self._end if self._program is None else min(self._end, self._program)
        # A part of 1 leaves it to the program's own timeout to end first.
        self._attempt = self._end if part == 1 else now + max(0.0, end - now) * part
        self._attempt = min(self._attempt, now + seconds)

    def connecting(self, otherwise: float = 0.0) -> None:
        """An address of the first hop is dialled from now on; ``otherwise`` is for want of a limit."""
        self._start(self._attempt, self._connect or otherwise)

    def waiting(self, last: bool = False, otherwise: float = 0.0) -> None:
        """A hop's answer is waited for from now on; the ``last`` one's may take all the time there is."""
        self._start(self._end if last else self._attempt, self._read or (0.0 if last else otherwise))

    def look(self) -> None:
        """Let ``moment`` come soon, to see how things are."""
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
        """Is there no time left for anything?"""
        end = self._end if self._program is None else min(self._end, self._program)
        return end <= monotonic()

    @property
    def moment(self) -> float:
        """When the present step ends, or it is time to look, on the monotonic clock."""
        step = min(self._step, self._look)
        return step if self._program is None else min(step, self._program)

    def remaining(self) -> float:
        """Seconds left for the present step; 0 when there are none."""
        return max(0.0, self.moment - monotonic())

    def over(self) -> ProxyTimeout | None:
        """What to report now that ``moment`` has passed; None when it was only time to look.

        Raises:
            TimeoutError: the program's own timeout is over, worded as the socket module does.
        """
        if self._program is not None and self._program <= monotonic():
            raise TimeoutError("timed out")
        return ProxyTimeout("no answer in time") if self._step <= monotonic() else None
