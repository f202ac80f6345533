"""A token bucket: how many bytes a client may send or get now, at a rate of bytes per second."""

from __future__ import annotations

from time import monotonic

# Bytes that a client may be ahead of its rate: a second's worth, and no less than a few packets.
_BURST = 1.0
_LEAST_BURST = 16 * 1024


class Bucket:
    """A token bucket that may be overdrawn: bytes are counted when they have passed.

    ``rate``: bytes per second.
    """

    __slots__ = ("_burst", "_left", "_since", "rate")

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._burst = max(rate * _BURST, _LEAST_BURST)
        self._left = self._burst
        self._since = monotonic()

    def take(self, count: int) -> None:
        """Count ``count`` bytes that have passed; more than there were in the bucket is a debt."""
        now = monotonic()
        self._left = min(self._burst, self._left + (now - self._since) * self.rate) - count
        self._since = now

    def wait(self) -> float:
        """Seconds until the debt is paid; 0 when there is none."""
        self.take(0)
        return max(0.0, -self._left / self.rate)
