"""The command BIND through other proxies: the last of them listens, and both its replies are passed on."""

from __future__ import annotations

from pywrap.server.advertised import advertised, host_of
from pywrap.server.commands.two_replies import TwoReplies
from pywrap.server.upstream import ChainDial
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from pywrap.server.session import Session
    from pywrap.server.upstream import Chain
    from pywrap.socks.serve import Request


class BindOnward(TwoReplies):
    """One request, through ``chain``."""

    __slots__ = ("_chain", "_dial")

    def __init__(self, session: Session, request: Request, early: bytes, chain: Chain) -> None:
        super().__init__(session, request, early)
        self._chain = chain
        shared = session.shared
        self._dial: ChainDial | None = ChainDial(
            *(shared.loop, session.resolver, chain, v5.BIND, request.destination),
            *(shared.census.limits.connect, self._came, self._fail, shared.policy.upstream.securing),
            self._listens,
        )

    def start(self) -> None:
        """Have the last proxy of the chain listen."""
        assert self._dial is not None
        self._dial.start()

    def _listens(self, sock: socket, bound: Endpoint) -> None:
        """Pass on the first reply: the address to which the peer has to connect."""
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
        """Pass on the second reply: the peer has connected, from ``source``."""
        self._dial = None
        record = self._note("", source)
        self._session.tunnel(peer, record, self._request.reply(v5.SUCCEEDED, source), self._early)

    def _stop(self) -> None:
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
