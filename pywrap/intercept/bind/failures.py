"""Failed BINDs of a listener: when the proxy is asked again, and which error the program gets.

A proxy listens for a minute or two, and may be restarted. The program listens until it closes the socket. So
when a port ends without a peer after it has lasted, the proxy is asked for another, and the program gets no
error. Where the proxy refuses, it is asked again after a pause, which doubles each time; the program gets the
error when the failures have lasted longer than a restart of the proxy takes.
"""

from __future__ import annotations

from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.errors import SocksError

# Seconds. A port that ends sooner counts as refused: otherwise the proxy would be asked again and again.
_LASTING = 1.0
# Seconds: the first pause before a proxy is asked again, and the longest.
_PAUSE = 0.25
_LONGEST_PAUSE = 60.0
# The program gets no error for so many failures in a row: 1.75 s, in which most proxies have restarted.
_FORGIVEN = 3


class Failures:
    """The failures of one listener, and the error that the program has to get."""

    def __init__(self) -> None:
        # How many failures there were since the last peer, or since the last port that lasted.
        self._in_a_row = 0
        self._stands_since = 0.0
        self.error: SocksError | None = None
        self._is_taken = False

    @property
    def is_short(self) -> bool:
        """Whether the failures may still come from a short restart of the proxy."""
        return self._in_a_row <= _FORGIVEN

    @property
    def is_news(self) -> bool:
        """Whether this failure is the first in a row that the program gets an error for."""
        return self._in_a_row == _FORGIVEN + 1

    @property
    def pause(self) -> float:
        """Seconds until the proxy is asked again."""
        return min(_PAUSE * 2.0 ** min(self._in_a_row - 1, 8), _LONGEST_PAUSE)

    def stands(self) -> None:
        """Note that the proxy listens at a port now."""
        self.error = None
        self._stands_since = monotonic()

    def has_lasted(self) -> bool:
        """Whether the proxy has listened at the latest port long enough for its end to be no failure."""
        return monotonic() - self._stands_since >= _LASTING

    def forget(self) -> None:
        """Begin counting anew: a peer has connected, or a port has lasted."""
        self._in_a_row = 0

    def add(self, error: SocksError, had_port: bool) -> None:
        """Count a refusal, or a port that ended too soon. ``had_port``: whether the program ever had one."""
        self._in_a_row += 1
        # The traceback is of frames of the background thread, and would keep their objects alive.
        self.error = error.with_traceback(None)
        self._is_taken = had_port and self.is_short

    def take(self) -> SocksError | None:
        """The error that the program has to get, returned once; None without one."""
        if self.error is None or self._is_taken:
            return None
        self._is_taken = True
        return self.error
