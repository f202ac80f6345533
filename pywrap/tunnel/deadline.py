"""How long a handshake may take: one deadline through all of its steps."""

from __future__ import annotations

from time import monotonic

from pywrap.errors import ProxyTimeout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Settings

_NEVER = float("inf")


class Deadline:
    """The limits of one tunnel, counted from its creation.

    ``program`` is the socket's own timeout in seconds, None for none. When it ends first the program
    gets exactly what an unwrapped connect() would raise; the other limits are the user's.
    """

    __slots__ = ("_begun", "_connect", "_end", "_program", "_read", "_step", "_way")

    def __init__(self, settings: Settings, program: float | None = None) -> None:
        now = monotonic()
        self._end = now + settings.timeout
        self._program = None if program is None else now + program
        self._connect = settings.connect_timeout
        self._read = settings.read_timeout
        self._way = self._end
        self._step = self._end
        self._begun = now

    def share(self, part: float, seconds: float = _NEVER) -> None:
        """One way of several begins: it has a ``part`` of the time that is left, and ``seconds`` at most."""
        now = monotonic()
        end = self._end if self._program is None else min(self._end, self._program)
        # A part of 1 leaves it to the program's own timeout to end first.
        self._way = self._end if part == 1 else now + max(0.0, end - now) * part
        self._way = min(self._way, now + seconds)

    def connecting(self, otherwise: float = 0.0) -> None:
        """An address of the first hop is dialled from now on; ``otherwise`` is for want of a limit."""
        self._start(self._connect or otherwise)

    def waiting(self) -> None:
        """A hop's answer is waited for from now on."""
        self._start(self._read)

    def _start(self, limit: float) -> None:
        self._begun = monotonic()
        self._step = min(self._way, self._begun + limit) if limit else self._way

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
        """When the present step ends, on the monotonic clock."""
        return self._step if self._program is None else min(self._step, self._program)

    def remaining(self) -> float:
        """Seconds left for the present step; 0 when there are none."""
        return max(0.0, self.moment - monotonic())

    def over(self) -> ProxyTimeout:
        """What to report now that ``moment`` has passed.

        Raises:
            TimeoutError: the program's own timeout is over, worded as the socket module does.
        """
        if self._program is not None and self._program <= monotonic():
            raise TimeoutError("timed out")
        return ProxyTimeout("no answer in time")
