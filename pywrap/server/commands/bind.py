"""The command BIND: listen for one peer, reply with the address, reply with the peer, carry the bytes."""

from __future__ import annotations

import errno
import os
from _socket import (
    AF_INET,
    AF_INET6,
    SHUT_RDWR,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_STREAM,
    socket,
)

from pywrap.relay.descriptor_reserve import is_reserved, open_socket
from pywrap.relay.loop import IN
from pywrap.relay.relay import prepare, reset
from pywrap.server.commands.bind_onward import BindOnward
from pywrap.server.commands.two_replies import TwoReplies
from pywrap.server.tcp.dial import CODES, NameLookup
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pywrap.relay.timers import Timer
    from pywrap.server.session import Session
    from pywrap.server.tcp.dial import SockAddr
    from pywrap.socks.serve import Request

# Connections that may wait while another one is refused: the peer may be among them.
_BACKLOG = 16

_EVERYWHERE = {AF_INET: "0.0.0.0", AF_INET6: "::"}

# The port for a connect() that sends nothing; any but 0 would do.
_DISCARD = 9


class Bind(TwoReplies):
    """One request, from its listener to its tunnel.

    The request names the address of the peer that is expected. Its port is not compared, since
    an FTP server may connect from port 20 or from any other. 0.0.0.0 and :: let any peer in.
    """

    __slots__ = ("_expected", "_listener", "_lookup", "_timer")

    def __init__(self, session: Session, request: Request, early: bytes) -> None:
        super().__init__(session, request, early)
        self._expected: set[bytes | None] = set()  # empty: any peer
        self._listener: socket | None = None
        self._timer: Timer | None = None
        shared = session.shared
        self._lookup: NameLookup | None = NameLookup(
            shared.loop,
            session.resolver,
            request.destination,
            shared.census.limits.connect,
            self._found,
            self._fail,
            session.judge,
        )

    def start(self) -> None:
        """Listen for the peer, here or at the last proxy of a chain."""
        assert self._lookup is not None
        chain = self._session.shared.policy.upstream.way(self._request.destination).chain
        if chain:
            # The peer connects to the last proxy, so that has to listen.
            self._lookup = None
            self._session.go_on_with(BindOnward(self._session, self._request, self._early, chain))
        else:
            self._lookup.start()

    # ------------------------------------------------------------ the peer

    def _found(self, addresses: list[SockAddr]) -> None:
        """The peer has one of ``addresses``: choose the family to listen in."""
        self._lookup = None
        if self._request.version == 4:
            addresses = [each for each in addresses if each[0] == AF_INET]
            if not addresses:
                self._fail(v5.ADDRESS_TYPE_NOT_SUPPORTED, "SOCKS4 has no words for IPv6 addresses")
                return
        # Of a name with addresses of both families, take the client's family: the client may be unable to
        # pass an address of the other one to its peer.
        own = [each for each in addresses if each[0] == self._session.outer.family]
        family, peer = (own or addresses)[0]
        # Only where the request itself has 0.0.0.0: a name that leads there was blocked by a filter.
        if self._request.destination.host in _EVERYWHERE.values():
            self._listen(family, None)
        else:
            self._expected = {packed(sockaddr[0]) for kind, sockaddr in addresses if kind == family}
            self._listen(family, peer)

    def _listen(self, family: int, peer: Any) -> None:
        session, shared = self._session, self._session.shared
        public = shared.bind_addresses.get(family)
        try:
            here = (public, 0) if public else _address_towards(peer, family, session.outer)
            self._listener = listener = open_socket(family, SOCK_STREAM)
            prepare(listener)
            _bind(listener, here)
            listener.listen(_BACKLOG)
            name = listener.getsockname()
        except OSError as err:
            self._fail_with(err)
            return
        bound = Endpoint(public or name[0], name[1])
        self._timer = shared.loop.after(shared.census.limits.bind, self._too_slow)
        shared.loop.watch(listener.fileno(), IN, self._on_knock)
        self._note("", bound)
        if not session.say(self._request.reply(v5.SUCCEEDED, bound)):
            self._give_up("the client went away")

    def _on_knock(self, events: int) -> None:
        assert self._listener is not None
        try:
            fd, address = self._listener._accept()  # type: ignore[attr-defined]
        except (BlockingIOError, ConnectionAbortedError):
            # The peer has closed the connection already.
            return
        except OSError as err:
            # No descriptor is left for the peer. Its connection stays in the queue, and epoll would report it
            # again and again.
            self._fail_with(err)
            return
        peer = socket(self._listener.family, SOCK_STREAM, 0, fd)
        if is_reserved(fd):
            reset(peer)
            peer.close()
            self._fail_with(OSError(errno.EMFILE, os.strerror(errno.EMFILE)))
            return
        came = Endpoint(address[0], address[1])
        if self._expected and packed(came.host) not in self._expected:
            # The kernel has accepted the connection already. A RST is the nearest thing to a refusal.
            reset(peer)
            peer.close()
            assert self._record is not None
            where = f"{self._session.peer}: {came} at {self._record.answer}"
            self._session.shared.trouble(f"{where}: sent away, not the peer of this BIND")
            return
        peer.setblocking(False)
        self._stop()
        record = self._note("", came)
        self._session.tunnel(peer, record, self._request.reply(v5.SUCCEEDED, came), self._early)

    def _too_slow(self) -> None:
        # The reply of a CONNECT that is not answered in time: clients report it as ETIMEDOUT.
        self._fail(v5.TTL_EXPIRED, "no peer came in time")

    # ------------------------------------------------------------ the end

    def _fail_with(self, err: OSError) -> None:
        words = os.strerror(err.errno or errno.EIO)
        self._fail(CODES.get(err.errno or 0, v5.GENERAL_FAILURE), words[:1].lower() + words[1:])

    def _stop(self) -> None:
        """Look no name up and listen no more."""
        loop = self._session.shared.loop
        if self._lookup is not None:
            self._lookup.cancel()
            self._lookup = None
        if self._timer is not None:
            loop.cancel(self._timer)
            self._timer = None
        if self._listener is not None:
            try:
                # At once, since the next reply says that nothing listens any more; the loop closes a little
                # later.
                self._listener.shutdown(SHUT_RDWR)
            except OSError:
                # listen() has failed or was not called.
                pass
            loop.close(self._listener)
            self._listener = None


def _address_towards(peer: Any, family: int, client: socket) -> Any:
    """The address to listen at, so that ``peer`` can reach it; a ``peer`` of None is any."""
    if peer is not None:
        # The machine may have several addresses, and the one that the client has connected to
        # can be on its side only.
        probe = socket(family, SOCK_DGRAM | SOCK_CLOEXEC)
        try:
            # connect() of a UDP socket looks into the routing table, and sends nothing.
            probe.connect((peer[0], _DISCARD, *peer[2:]))
            here = probe.getsockname()
        finally:
            probe.close()
    elif client.family == family:
        here = client.getsockname()
    else:
        return _EVERYWHERE[family], 0
    return here[0], 0, *here[2:]


def _bind(listener: socket, here: Any) -> None:
    try:
        listener.bind(here)
    except OSError as err:
        if err.errno != errno.EADDRNOTAVAIL:
            raise
        # The address is not this machine's but a NAT's: connections that the NAT passes on arrive at an
        # address of this machine.
        listener.bind((_EVERYWHERE[listener.family], 0))
