"""The command UDP ASSOCIATE: a socket for the client's datagrams, as long as its connection lasts."""

from __future__ import annotations

from _socket import IPPROTO_IPV6, IPPROTO_TCP, IPV6_V6ONLY, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL
from time import monotonic

from pywrap.relay.loop import ERR, HUP, IN
from pywrap.server.onward import Associating, Onward
from pywrap.server.tcp.dial import CODES
from pywrap.server.udp.outbound import udp_socket
from pywrap.server.udp.udp_relay import Datagrams
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint, unmapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from pywrap.server.record import Record
    from pywrap.server.session import Session
    from pywrap.socks.serve import Request

# No bytes come on the control connection, and a client that vanished would leave three sockets: so TCP
# keep-alive probes the client after a minute of silence, and then twice more.
_KEEPALIVE = ((TCP_KEEPIDLE, 60), (TCP_KEEPINTVL, 20), (TCP_KEEPCNT, 3))


class Associate:
    """One association, from its reply to the end of either socket."""

    __slots__ = ("_datagrams", "_dial", "_record", "_request", "_session", "_since")

    def __init__(self, session: Session, request: Request, early: bytes) -> None:
        # ``early`` means nothing, like everything else that comes on the connection.
        self._session = session
        self._request = request
        self._since = monotonic()
        self._datagrams: Datagrams | None = None
        self._dial: Associating | None = None
        self._record: Record | None = None

    def start(self) -> None:
        """Open the relay of datagrams, or refuse."""
        session, request, shared = self._session, self._request, self._session.shared
        if request.version != v5.VERSION or not shared.udp.enabled:
            # SOCKS4 has no command for UDP.
            session.refuse(request, v5.COMMAND_NOT_SUPPORTED, "command not supported")
            return
        if shared.policy.upstream.for_datagrams:
            shared.loop.watch(session.client.fileno(), 0, self._on_client_early)
            self._dial = Associating(
                *(shared.loop, session.resolver, shared.policy.upstream, shared.census.limits.connect),
                *(self._associated, self._failed, self.abort),
            )
            self._dial.start()
        else:
            self._begin(None)

    def _on_client_early(self, events: int) -> None:
        if events & (ERR | HUP):
            self._leave("the client went away")

    def _leave(self, words: str) -> None:
        assert self._dial is not None
        self._dial.cancel()
        self._session.record(self._request, words)
        self._session.hang_up()

    def _failed(self, code: int, words: str) -> None:
        self._session.refuse(self._request, code, words)

    def _associated(self, onward: Onward) -> None:
        self._dial = None
        self._begin(onward)

    def _begin(self, onward: Onward | None) -> None:
        session, request, shared = self._session, self._request, self._session.shared
        try:
            sock = _beside(session.outer)
        except OSError as err:
            if onward is not None:
                onward.close()
            words = f"no socket for its datagrams: {err.strerror}"
            session.refuse(request, CODES.get(err.errno or 0, v5.GENERAL_FAILURE), words)
            return
        host, port = sock.getsockname()[:2]
        told = next((each for each in shared.udp.addresses if (":" in each) == (":" in host)), host)
        self._record = record = session.record(request)
        self._datagrams = Datagrams(
            shared.loop,
            session.resolver,
            shared.buffer,
            shared.batch(),
            sock,
            _client(session.peer, request.destination),
            shared.udp,
            lambda peer: shared.udp_peer(record, peer),
            session.judge,
            session.throttles,
            session.codec,
            shared.policy.upstream if onward else None,
            onward,
        )
        for option, value in _KEEPALIVE:
            session.outer.setsockopt(IPPROTO_TCP, option, value)
        shared.loop.watch(session.client.fileno(), IN, self._on_client)
        if not session.say(request.reply(v5.SUCCEEDED, Endpoint(told, port))):
            self.abort()

    @property
    def moved(self) -> int:
        """How many datagrams have passed in both directions together."""
        return -1 if self._datagrams is None else self._datagrams.traffic.up + self._datagrams.traffic.down

    def abort(self) -> None:
        """End the association now."""
        if self._datagrams is None:
            self._leave("the server stopped")
            return
        assert self._datagrams is not None and self._record is not None
        self._datagrams.close()
        seconds = monotonic() - self._since
        self._session.shared.udp_closed(self._record, self._datagrams.traffic, seconds)
        self._session.hang_up()

    def _on_client(self, events: int) -> None:
        try:
            if self._session.client.recv_into(self._session.shared.buffer):
                return
        except BlockingIOError:
            return
        except OSError:
            # A reset ends the association like a close.
            pass
        assert self._datagrams is not None, "it is watched only while it stands"
        # A client may send datagrams and close the connection at once: take these datagrams first.
        self._datagrams.take_rest()
        self.abort()


def _beside(client: socket) -> socket:
    """A UDP socket at the address to which the client has connected."""
    sock = udp_socket(client.family)
    try:
        address = client.getsockname()
        if ":" in address[0]:
            sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        sock.bind((address[0], 0, *address[2:]))
    except BaseException:
        sock.close()
        raise
    return sock


def _client(peer: Endpoint, announced: Endpoint) -> Endpoint:
    """The address from which the client's datagrams must come; port 0 when the port is not known.

    RFC 1928 section 4: the request has the address and port from which they will come, or zeros. If its
    address is not the one that we see, the client is behind a NAT, which gives the datagrams another port.
    """
    host = unmapped(peer.host)
    return Endpoint(host, announced.port if unmapped(announced.host) == host else 0)
