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
