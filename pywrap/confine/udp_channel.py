"""A flow's use of one chain: its association, the datagrams that wait for it, the sources of answers.

The counterpart of ``intercept.udp.channel`` and ``intercept.udp.second_association``, which do this for the
sockets of a patched program. While a second association is tried, whose request has the port of the broker's
socket, the first one is kept.
"""

from __future__ import annotations

import errno
from time import monotonic

from pywrap.confine.relay_socket import RelaySocket, datagram_socket
from pywrap.errors import ProtocolError, SocksError
from pywrap.socks.datagram import Reassembly, pack_header, unpack_header
from pywrap.socks.wire import Endpoint, packed
from pywrap.tunnel.request_port import WITH_PORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from functools import partial
    from typing import Protocol, TypeAlias

    from pywrap.confine.outside import OnDatagramsEnd, Outside
    from pywrap.tunnel.association import Association
    from pywrap.tunnel.request_port import RequestPort

    # An address of 4 or 16 bytes, and a port.
    Place: TypeAlias = tuple[bytes, int]

    class Owner(Protocol):
        """The flow of a channel: the datagrams of a program from the address and port ``program``."""

        @property
        def program(self) -> Place: ...
        @property
        def outside(self) -> Outside: ...
        def answer(self, source: Place, data: bytes) -> None: ...
        def refuse(self, destination: Place) -> None: ...

else:
    # Without what else ``functools`` defines: a program waits until its broker is ready.
    from _functools import partial


# How many datagrams may wait for each association.
_QUEUE = 32
# Seconds for which an association is not set up again after a failure.
_FAILED_FOR = 1.0
# How many sources of answers are remembered.
_SOURCES = 4096


class Channel:
    """The channel of ``flow`` through the chain with the name ``chain``."""

    __slots__ = (
        "_answers", "_cancel", "_failed_until", "_flow", "_kept", "_open", "_owners", "_queue",
        "_reassembly", "_request", "chain",
    )  # fmt: skip

    def __init__(self, flow: Owner, chain: str) -> None:
        self.chain = chain
        self._flow = flow
        self._open: RelaySocket | None = None
        # The first association, until it is known whether answers come through the second.
        self._kept: RelaySocket | None = None
        # Whether the hop wants our port in the request, as far as known; None for chains of several hops, and
        # once it is known.
        self._request: RequestPort | None = flow.outside.request_port(chain)
        # A function that gives up the association that is being set up; None without one.
        self._cancel: Callable[[], None] | None = None
        self._failed_until = 0.0
        self._queue: list[tuple[bytes, Place, bytes]] = []
        # The program's address of each source, by the header of its datagrams.
        self._answers: dict[bytes, Place] = {}
        # The owner of each port: the packed header of a name (b"" for all addresses), and the program's
        # address.
        self._owners: dict[int, tuple[bytes, Place]] = {}
        self._reassembly = Reassembly()

    def expect(self, destination: Endpoint, header: bytes, place: Place) -> bool:
        """Expect answers of ``destination``, the program's ``place``; False if they could be confused."""
        is_literal = packed(destination.host) == place[0]
        owner = (b"", (b"", 0)) if is_literal else (header, place)
        if self._owners.setdefault(destination.port, owner) != owner:
            return False
        if len(self._answers) >= _SOURCES:
            self._answers.clear()
        self._answers[header] = place
        return True

    @property
    def has_unsent(self) -> bool:
        """Whether a datagram waits for the association."""
        return bool(self._queue)

    def take(self, header: bytes, destination: Place, data: bytes) -> None:
        """Send ``data`` behind ``header``, now or when the association stands."""
        if self._open is None and monotonic() < self._failed_until:
            self._flow.refuse(destination)
        elif self._open is not None and (not self._wants_second() or len(self._queue) >= _QUEUE):
            self._send(self._open, header, destination, data)
        elif len(self._queue) < _QUEUE:
            self._queue.append((header, destination, data))
            if self._cancel is None:
                self._associate(destination)

    def close(self) -> None:
        """End the association, and drop the datagrams that wait for it."""
        if self._cancel is not None:
            self._cancel()
            self._cancel = None
        self._queue.clear()
        for each in (self._open, self._kept):
            if each is not None:
                each.close()
        self._open = self._kept = None

    # ------------------------------------------------------------ set-up

    def _wants_second(self) -> bool:
        """Whether a datagram that is sent now has to wait for the second association."""
        assert self._open is not None, "there is a first one"
        if self._cancel is not None:
            return True
        request, now = self._request, monotonic()
        if request is None or now < self._failed_until or request.is_wanted(now) == self._open.has_port:
            return False
        self._settle()
        return self._request is not None

    def _associate(self, destination: Place) -> None:
        outside = self._flow.outside
        request = outside.request_port(self.chain)
        own: Endpoint | None = None
        sock: socket | None = None
        if request is not None and request.is_wanted(monotonic()):
            host = outside.local_host(self.chain)
            try:
                sock = datagram_socket(host)
                sock.bind(("", 0))
            except OSError as err:
                self._failed(None, SocksError(f"no socket for datagrams: {err.strerror}", err.errno))
                return
            own = Endpoint(host, sock.getsockname()[1])
        self._cancel = _nothing
        asker = outside.asker((*self._flow.program, *destination), datagram=True)
        stands, failed = partial(self._stands, sock), partial(self._failed, sock)
        cancel = outside.associate(self.chain, stands, failed, asker, own)

        def give_up() -> None:
            cancel()
            if sock is not None:
                sock.close()

        if self._cancel is not None:
            self._cancel = give_up

    def _stands(self, sock: socket | None, association: Association, on_end: OnDatagramsEnd | None) -> None:
        self._cancel = None
        has_port = sock is not None
        try:
            sock = sock or datagram_socket(association.relay.host)
        except OSError as err:
            association.close()
            self._failed(None, SocksError(f"no socket for datagrams: {err.strerror}", err.errno))
            return
        first = self._open
        try:
            opened = RelaySocket(
                *(self._flow.outside.loop, association, sock, has_port, on_end, self._on_answer, self._on_end)
            )
        except SocksError as err:
            self._failed(None, err)
            return
        self._request = self._flow.outside.request_port(self.chain)
        self._open, self._kept = opened, first
        request = self._request
        if first is not None and request is not None and association.relay == first.association.relay:
            # The proxy has one relay for all requests: an answer would not show to which request it is due.
            request.refused()
        self._settle()
        self._send_queue()

    def _failed(self, sock: socket | None, err: SocksError) -> None:
        self._cancel = None
        if sock is not None:
            sock.close()
        self._failed_until = monotonic() + _FAILED_FOR
        if self._open is not None:
            if self._request is not None:
                self._request.refused()
                self._settle()
            self._send_queue()
            return
        queue, self._queue = self._queue, []
        for destination in dict.fromkeys(destination for _, destination, _ in queue):
            self._flow.refuse(destination)

    def _settle(self) -> None:
        """If it is known which request the hop wants, send through that association, and close the other."""
        request, kept = self._request, self._kept
        if request is None or self._open is None or not request.is_known:
            return
        if self._open.has_port != (request.state == WITH_PORT):
            if kept is None:
                # There is no association; the next datagram sets one up.
                return
            self._open, kept = kept, self._open
        self._kept = self._request = None
        if kept is not None:
            kept.close()

    # ------------------------------------------------------------ open

    def _send_queue(self) -> None:
        queue, self._queue = self._queue, []
        for each in queue:
            if self._open is not None:
                self._send(self._open, *each)

    def _send(self, by: RelaySocket, header: bytes, destination: Place, data: bytes) -> None:
        if self._request is not None:
            self._request.sent(monotonic(), by.has_port)
        try:
            by.send(header + data, len(data))
        except BlockingIOError:
            # The buffer is full: the datagram is dropped, as a network would.
            pass
        except OSError as err:
            if err.errno != errno.EMSGSIZE:
                self._flow.refuse(destination)

    def _on_end(self, ended: RelaySocket, why: str) -> None:
        """Handle the end of an association: a control connection, or the relay, is gone."""
        if ended is self._kept:
            self._kept = None
        elif self._kept is not None:
            # The second association has ended during the trial: go on with the first.
            if self._request is not None:
                self._request.refused()
            self._open, self._kept = self._kept, None
        else:
            # The association has ended; the next datagram sets up another.
            self._flow.outside.messages.say(1, why)
            self._open = None
        ended.close()

    def _on_answer(self, by: RelaySocket, data: bytes) -> None:
        try:
            start = by.association.unwrap(data)
            header = unpack_header(memoryview(data)[start:])
        except ProtocolError:
            # A malformed datagram is dropped: RFC 1928 has no message to report it to the relay.
            return
        payload = data[start + header.size :]
        if header.fragment:
            whole = self._reassembly.add(header, payload, monotonic())
            if whole is None:
                return
            payload = whole
        source = self._source(header.endpoint)
        if source is not None:
            by.count_received(len(payload))
            if self._request is not None:
                self._answered(self._request, by)
            self._flow.answer(source, payload)

    def _answered(self, request: RequestPort, by: RelaySocket) -> None:
        if by.has_port and not request.is_known:
            hop = by.association.path[0]
            words = f"UDP: proxy {hop} answers only if the request carries our port"
            self._flow.outside.messages.say(1, words)
        request.answered(by.has_port)
        self._settle()

    def _source(self, endpoint: Endpoint) -> Place | None:
        """The program's address of ``endpoint``; None when it has none."""
        try:
            known = self._answers.get(pack_header(endpoint))
        except SocksError:
            return None
        if known is not None:
            return known
        owner, place = self._owners.get(endpoint.port, (b"", (b"", 0)))
        if owner:
            return place
        address = packed(endpoint.host)
        return None if address is None else (address, endpoint.port)


def _nothing() -> None:
    pass
