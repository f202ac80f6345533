"""The command BIND through other proxies: the last of them listens, and both its replies are passed on."""

from __future__ import annotations

from pywrap.frozen import replace
from pywrap.relay.loop import ERR, RDHUP
from pywrap.relay.relay import reset
from pywrap.server.advertised import advertised, host_of
from pywrap.server.upstream import ChainDial
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from pywrap.server.record import Record
    from pywrap.server.session import Session
    from pywrap.server.upstream import Chain
    from pywrap.socks.serve import Request


class BindOnward:
    """One request. Between the replies, nothing of what the client sends is read, as in ``bind``.

    ``early`` is what it has sent behind its request, for the peer.
    """

    __slots__ = ("_chain", "_dial", "_early", "_record", "_request", "_session")

    def __init__(self, session: Session, request: Request, early: bytes, chain: Chain) -> None:
        self._session = session
        self._request = request
        self._early = early
        self._chain = chain
        self._record: Record | None = None
        shared = session.shared
        shared.loop.watch(session.client.fileno(), RDHUP, self._on_client)
        self._dial: ChainDial | None = ChainDial(
            *(shared.loop, session.resolver, chain, v5.BIND, request.destination),
            *(shared.census.limits.connect, self._came, self._fail, shared.policy.upstream.securing),
            self._listens,
        )

    def start(self) -> None:
        assert self._dial is not None
        self._dial.start()

    def abort(self) -> None:
        """End it now, whatever it is doing."""
        self._give_up("the server stopped")

    def _on_client(self, events: int) -> None:
        client = self._session.client
        if not events & ERR and (self._early or self._session.has_unread):
            # It has said all it has to say to the peer. If it is gone, a RST will tell.
            self._session.shared.loop.watch(client.fileno(), 0, self._on_client)
        else:
            self._give_up("the client went away")

    def _listens(self, sock: socket, bound: Endpoint) -> None:
        """The first reply: where the peer has to come."""
        place = advertised(bound, host_of(len(self._chain) - 1, self._chain, sock))
        address = packed(place.host)
        if address is None or not place.port:
            self._fail(v5.GENERAL_FAILURE, f"proxy {self._chain[-1]} does not say where it listens")
        elif self._request.version == 4 and len(address) != 4:
            self._fail(v5.ADDRESS_TYPE_NOT_SUPPORTED, "SOCKS4 has no words for IPv6 addresses")
        else:
            assert self._dial is not None
            self._dial.extend(self._session.shared.census.limits.bind)
            self._note("", place)
            if not self._session.say(self._request.reply(v5.SUCCEEDED, place)):
                self._give_up("the client went away")

    def _came(self, peer: socket, source: Endpoint) -> None:
        """The second reply: the peer has connected, from ``source``."""
        self._dial = None
        record = self._note("", source)
        self._session.tunnel(peer, record, self._request.reply(v5.SUCCEEDED, source), self._early)

    # ------------------------------------------------------------ the end

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
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None

    def _note(self, outcome: str, answer: Endpoint | None = None) -> Record:
        """Tell what the next reply will say, or why there will be none."""
        if self._record is None:
            self._record = self._session.record(self._request, outcome, answer)
        else:
            self._record = replace(self._record, outcome=outcome, answer=answer)
            self._session.shared.arrived(self._record)
        return self._record
