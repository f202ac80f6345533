"""The common part of both ways to serve a BIND: two replies, and a client that waits between them.

Between the replies, bytes of the client are not read: they stay in the kernel until the peer has connected.
"""

from __future__ import annotations

from pywrap.frozen import replace
from pywrap.relay.loop import ERR, RDHUP
from pywrap.relay.relay import reset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.server.record import Record
    from pywrap.server.session import Session
    from pywrap.socks.serve import Request
    from pywrap.socks.wire import Endpoint


class TwoReplies:
    """One request. ``early`` is what the client has sent behind it, for the peer."""

    __slots__ = ("_early", "_record", "_request", "_session")

    def __init__(self, session: Session, request: Request, early: bytes) -> None:
        self._session = session
        self._request = request
        self._early = early
        self._record: Record | None = None
        session.shared.loop.watch(session.client.fileno(), RDHUP, self._on_client)

    def abort(self) -> None:
        """End the request now, in whatever state it is."""
        self._give_up("the server stopped")

    def _on_client(self, events: int) -> None:
        client = self._session.client
        if not events & ERR and (self._early or self._session.has_unread):
            # The client has ended its direction, and may still wait for the peer. If it is gone, a RST will
            # come.
            self._session.shared.loop.watch(client.fileno(), 0, self._on_client)
        else:
            self._give_up("the client went away")

    def _give_up(self, words: str) -> None:
        self._stop()
        self._note(words)
        reset(self._session.client)
        self._session.hang_up()

    def _fail(self, code: int, words: str) -> None:
        self._stop()
        self._note(words)
        self._session.dismiss(self._request.reply(code))

    def _stop(self) -> None:
        """Wait for no peer any more."""
        raise NotImplementedError

    def _note(self, outcome: str, answer: Endpoint | None = None) -> Record:
        """Report the outcome that the next reply will have, or why there will be none."""
        if self._record is None:
            self._record = self._session.record(self._request, outcome, answer)
        else:
            self._record = replace(self._record, outcome=outcome, answer=answer)
            self._session.shared.arrived(self._record)
        return self._record
