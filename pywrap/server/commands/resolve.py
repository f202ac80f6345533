"""Tor's commands RESOLVE and RESOLVE_PTR: a name looked up for the client, and nothing else."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6

from pywrap.errors import Unencodable
from pywrap.relay.loop import ERR
from pywrap.relay.relay import reset
from pywrap.server.tcp.dial import NameLookup
from pywrap.server.upstream import ChainDial
from pywrap.socks import v5
from pywrap.socks.v5 import name_bytes
from pywrap.socks.wire import Endpoint, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from pywrap.server.session import Session
    from pywrap.server.tcp.dial import SockAddr
    from pywrap.socks.serve import Request


class Resolve:
    """One look-up. The connection ends with its answer, and what else the client sends is dropped."""

    __slots__ = ("_dial", "_lookup", "_request", "_session")

    def __init__(self, session: Session, request: Request, early: bytes) -> None:
        self._session = session
        self._request = request
        self._dial: ChainDial | None = None
        shared = session.shared
        # No events are asked for: the client may end its direction, since it has nothing else to send.
        shared.loop.watch(session.client.fileno(), 0, self._on_client)
        self._lookup = NameLookup(
            shared.loop,
            session.resolver,
            request.destination,
            shared.census.limits.connect,
            self._found if request.command == v5.RESOLVE else self._found_name,
            self._failed,
            session.judge,
        )

    def start(self) -> None:
        """Look the name or the address up, here or at the last proxy of a chain."""
        request, shared = self._request, self._session.shared
        chain = shared.policy.upstream.way(request.destination).chain
        if chain and packed(request.destination.host) is None and request.command == v5.RESOLVE:
            self._dial = ChainDial(
                *(shared.loop, self._session.resolver, chain, v5.RESOLVE, request.destination),
                *(shared.census.limits.connect, self._resolved_there, self._failed),
                shared.policy.upstream.securing,
            )
            self._dial.start()
        elif chain and request.command == v5.RESOLVE_PTR:
            self._failed(v5.COMMAND_NOT_SUPPORTED, "RESOLVE_PTR does not go through a proxy")
        elif self._request.command == v5.RESOLVE:
            self._lookup.start()
        elif self._request.version == 4:
            self._failed(v5.COMMAND_NOT_SUPPORTED, "command not supported")
        elif packed(self._request.destination.host) is None:
            self._failed(v5.ADDRESS_TYPE_NOT_SUPPORTED, "not an address")
        else:
            self._lookup.reverse()

    def abort(self) -> None:
        """End the request now, in whatever state it is."""
        self._give_up("the server stopped")

    def _on_client(self, events: int) -> None:
        if events & ERR:
            self._give_up("the client went away")

    def _resolved_there(self, sock: socket, bound: Endpoint) -> None:
        self._session.shared.loop.close(sock)
        if packed(bound.host) is None:
            self._failed(v5.HOST_UNREACHABLE, "the proxy has answered with a name")
        else:
            self._found([(AF_INET6 if ":" in bound.host else AF_INET, (bound.host, 0))])

    def _give_up(self, words: str) -> None:
        self._cancel()
        self._session.record(self._request, words)
        reset(self._session.client)
        self._session.hang_up()

    def _found(self, addresses: list[SockAddr]) -> None:
        """Answer with the first IPv4 address, as tor does: clients of this command may have no IPv6.

        Otherwise with the first, as getaddrinfo() has put them in order (RFC 6724).
        """
        ipv4 = [sockaddr for family, sockaddr in addresses if family == AF_INET]
        if ipv4:
            self._answer(ipv4[0][0])
        elif self._request.version == 5:
            self._answer(addresses[0][1][0])
        else:
            self._failed(v5.HOST_UNREACHABLE, "SOCKS4 has no words for IPv6 addresses")

    def _found_name(self, name: str) -> None:
        try:
            name_bytes(name)
        except Unencodable as err:
            self._failed(v5.HOST_UNREACHABLE, str(err))
            return
        if packed(name) is not None:
            # The owner of an address writes its PTR record. A name that is an address would make the reply
            # look like the answer to another command.
            self._failed(v5.HOST_UNREACHABLE, "its name is an address")
            return
        self._answer(name)

    def _cancel(self) -> None:
        self._lookup.cancel()
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None

    def _answer(self, host: str) -> None:
        self._cancel()
        answer = Endpoint(host, 0)
        self._session.record(self._request, "", answer)
        self._session.dismiss(self._request.reply(v5.SUCCEEDED, answer))

    def _failed(self, code: int, words: str) -> None:
        self._cancel()
        self._session.refuse(self._request, code, words)
