"""What the server tells about a request."""

from __future__ import annotations

from pywrap.frozen import frozen
from pywrap.socks.wire import Endpoint


@frozen
class Record:
    """A request and what came of it: ``outcome`` is "" for success, or says what went wrong.

    ``user`` is the SOCKS4 user id, or the SOCKS5 username that was checked. ``answer`` is what
    the reply names, for commands that are asked for the sake of it.
    """

    version: int
    command: str
    host: str
    port: int
    user: str
    client: Endpoint
    outcome: str = ""
    answer: Endpoint | None = None


class Traffic:
    """What an association carried. Bytes are those of payloads; up is from the client.

    ``dropped``: how many datagrams did not go on, by what was wrong with them.
    """

    __slots__ = ("bytes_down", "bytes_up", "down", "dropped", "up")

    def __init__(self) -> None:
        self.up = self.bytes_up = 0
        self.down = self.bytes_down = 0
        self.dropped: dict[str, int] = {}

    def drop(self, why: str, count: int = 1) -> None:
        """Count datagrams that were dropped, by the reason."""
        self.dropped[why] = self.dropped.get(why, 0) + count
