"""The command CONNECT: reach the destination, answer, carry the bytes."""

from __future__ import annotations

from pywrap.relay.loop import ERR, IN
from pywrap.relay.relay import prepare, reset
from pywrap.relay.wrapped import Near
from pywrap.server.tcp.dial import Dial
from pywrap.server.upstream import ChainDial
from pywrap.socks import v5

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from pywrap.server.session import Session
    from pywrap.socks.serve import Request
    from pywrap.socks.wire import Endpoint


class Connect:
    """One request, from the dial to its tunnel."""

    __slots__ = ("_dial", "_early", "_request", "_session", "_target")

    def __init__(self, session: Session, request: Request, early: bytes) -> None:
        self._session = session
        self._request = request
        self._early = early
        self._target: socket | None = None  # from its connection to its tunnel
        shared = session.shared
        shared.loop.watch(session.client.fileno(), IN, self._on_client)
        upstream = shared.policy.upstream
        chain = upstream.way(request.destination).chain
        timeout, destination = shared.census.limits.connect, request.destination
        self._dial: Dial | ChainDial | None
        if chain:
            self._dial = ChainDial(
                *(shared.loop, session.resolver, chain, v5.CONNECT, destination, timeout),
                *(self._connected, self._failed, upstream.securing),
            )
        else:
            self._dial = Dial(
                *(shared.loop, session.resolver, destination, timeout),
                *(self._connected, self._failed, session.judge),
            )

    def start(self) -> None:
        """Begin to reach the destination."""
        assert self._dial is not None
        self._dial.start()

    def abort(self) -> None:
        """End the request now, in whatever state it is."""
        self._give_up("the server stopped")

    def _on_client(self, events: int) -> None:
        """Handle events of the client's socket while the destination is being reached."""
        if events & ERR:
            self._give_up("the client went away")
        else:
            # The bytes are for the destination, so they stay unread. A RST is reported without being asked
            # for.
            client = self._session.client
            self._session.shared.loop.watch(client.fileno(), 0, self._on_client)

    def _give_up(self, words: str) -> None:
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        if self._target is not None:
            self._session.shared.loop.close(self._target)
            self._target = None
        self._session.record(self._request, words)
        reset(self._session.client)
        self._session.hang_up()

    def _failed(self, code: int, words: str) -> None:
        self._dial = None
        self._session.refuse(self._request, code, words)

    def _connected(self, target: socket, bound: Endpoint) -> None:
        self._dial = None
        self._target = target
        if not isinstance(target, Near):
            prepare(target)
        record = self._session.record(self._request)
        self._target = None
        self._session.tunnel(target, record, self._request.reply(v5.SUCCEEDED, bound), self._early)
