"""The facts about a request and its traffic that the server reports."""

from __future__ import annotations

from pywrap.frozen import frozen
from pywrap.socks.wire import Endpoint


@frozen
class Record:
    """A request and its outcome: "" for success, or the reason of the failure.

    ``user``: the SOCKS4 user id, or the SOCKS5 username that was authenticated. ``answer``: the address or
    name in the reply, for commands whose result it is.
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
    """The traffic of an association. Bytes are those of payloads; up is from the client.

    ``dropped``: how many datagrams were not passed on, by the reason.
    """

    __slots__ = ("bytes_down", "bytes_up", "down", "dropped", "up")

    def __init__(self) -> None:
        self.up = self.bytes_up = 0
        self.down = self.bytes_down = 0
        self.dropped: dict[str, int] = {}

    def drop(self, why: str, count: int = 1) -> None:
        """Count datagrams that were dropped, by the reason."""
        self.dropped[why] = self.dropped.get(why, 0) + count
