"""The datagrams of one association: from its client to everybody, and the answers back."""

from __future__ import annotations

from time import monotonic

from pywrap.errors import ProtocolError
from pywrap.relay.loop import IN
from pywrap.server.record import Traffic
from pywrap.server.udp.names import PeerNames
from pywrap.server.udp.outbound import (
    BATCH,
    NOT_UNICAST,
    STRANGERS,
    Outbound,
    address_of,
    words_for,
)
from pywrap.socks.datagram import Reassembly, unpack_header
from pywrap.socks.v5 import IPV4
from pywrap.socks.wire import packed, without_mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Any

    from pywrap.relay.loop import Loop
    from pywrap.server.tcp.dial import Resolver, SockAddr
    from pywrap.server.udp.outbound import UdpRules
    from pywrap.socks.wire import Endpoint

BROKEN = "with a broken header"
FRAGMENTS = "in fragments that do not make a whole"


# Batches that are taken from a client whose connection has ended: more than its socket's buffer holds.
_REST = 64


class Datagrams:
    """Carries datagrams between ``sock``, which belongs to it, and the peers of ``client``.

    ``client`` is where they must come from, of which the first good one decides a port that is 0.
    ``met`` is called with each destination when it is sent to for the first time (or again, after so many
    others that it was forgotten), as the client called it.
    """

    __slots__ = (
        "traffic", "_buffer", "_client", "_known", "_loop", "_met", "_names", "_outbound", "_reassembly",
        "_rules", "_sock", "_source",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        resolver: Resolver,
        buffer: memoryview,
        sock: socket,
        client: Endpoint,
        rules: UdpRules,
        met: Callable[[Endpoint], None],
    ) -> None:
        self.traffic = Traffic()
        self._loop = loop
        self._buffer = buffer
        self._sock = sock
        self._client = client
        self._source: Any = None  # the client's address, once it is certain
        self._rules = rules
        self._met = met
        self._reassembly = Reassembly()
        # Destinations that are addresses, as they were written, from ATYP to the port.
        self._known: dict[bytes, SockAddr] = {}
        self._names = PeerNames(resolver, self.traffic, self._send)
        self._outbound = Outbound(
            loop, buffer, self.traffic, rules, self._answer, self._names.heard, self._names.refused
        )
        loop.watch(sock.fileno(), IN, self._on_client)

    def close(self) -> None:
        self._loop.close(self._sock)
        self._names.close()
        self._outbound.close()
        self._drop_fragments(self._reassembly.abandon())
        del self._met

    # ------------------------------------------------------------ from the client

    def _on_client(self, events: int) -> None:
        sock, buffer = self._sock, self._buffer
        for _ in range(BATCH):
            try:
                count, source = sock.recvfrom_into(buffer)
            except BlockingIOError:
                return
            if source == self._source:
                self._take(buffer[:count])
            elif self._may_be(source):
                if self._take(buffer[:count]):
                    self._source = source
            else:
                self.traffic.drop(STRANGERS)

    def take_rest(self) -> None:
        """Take what the client has sent already, within reason."""
        for _ in range(_REST):
            self._on_client(IN)

    def _may_be(self, source: Any) -> bool:
        """May this be the client? Its port is not certain before its first good datagram."""
        host, port = self._client.host, self._client.port
        return self._source is None and without_mapping(source[0]) == host and port in (0, source[1])

    def _take(self, data: memoryview) -> bool:
        """Send a datagram on, or drop it; False when it has no header."""
        # What most are costs least: not a fragment, to an IPv4 address that was seen before.
        if len(data) >= 10 and data[3] == IPV4 and not data[2]:
            address = self._known.get(bytes(data[3:10]))
            if address is not None:
                self._forward(address, data[10:])
                return True
        try:
            header = unpack_header(data)
        except ProtocolError:
            self.traffic.drop(BROKEN)
            return False
        payload: bytes | memoryview = data[header.size :]
        if header.fragment:
            whole = self._reassembly.add(header, bytes(payload), monotonic())
            self._drop_fragments(self._reassembly.abandoned)
            if whole is None:
                return True
            payload = whole
        self._route(header.endpoint, bytes(data[3 : header.size]), payload)
        return True

    def _route(self, endpoint: Endpoint, key: bytes, payload: bytes | memoryview) -> None:
        if packed(endpoint.host) is None:
            if self._names.send(endpoint, payload):
                self._met(endpoint)
            return
        address = self._known.get(key)
        if address is None:
            address = address_of(endpoint.host, endpoint.port)
            if address is None:
                self.traffic.drop(NOT_UNICAST)
                return
            if len(self._known) >= self._rules.peers:
                self._known.clear()
            self._known[key] = address
            self._met(endpoint)
        self._forward(address, payload)

    def _forward(self, address: SockAddr, payload: bytes | memoryview) -> None:
        try:
            self._outbound.send(address, payload)
        except OSError as err:
            self.traffic.drop(words_for(err))

    def _send(self, address: SockAddr, payload: bytes | memoryview) -> None:
        self._outbound.send(address, payload)

    def _drop_fragments(self, count: int) -> None:
        if count:
            self.traffic.drop(FRAGMENTS, count)

    # ------------------------------------------------------------ to the client

    def _answer(self, datagram: memoryview, size: int) -> None:
        """Send what has its header already, and ``size`` bytes of payload."""
        try:
            self._sock.sendto(datagram, self._source)
        except OSError as err:
            self.traffic.drop(words_for(err))
        else:
            self.traffic.down += 1
            self.traffic.bytes_down += size
