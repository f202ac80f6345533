"""The datagrams of one association: from its client to any peer, and the answers back."""

from __future__ import annotations

from time import monotonic

from pywrap.errors import ProtocolError, SocksError
from pywrap.relay.loop import IN
from pywrap.server.record import Traffic
from pywrap.server.udp.names import DENIED, PeerNames
from pywrap.server.udp.outbound import BATCH, BUSY, NOT_UNICAST, STRANGERS, Outbound, address_of, words_for
from pywrap.socks.datagram import Reassembly, unpack_header
from pywrap.socks.gssapi import Encapsulation
from pywrap.socks.v5 import IPV4
from pywrap.socks.wire import packed, unbracketed, unmapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Any

    from pywrap.relay.bucket import Bucket
    from pywrap.relay.loop import Loop
    from pywrap.relay.wrapped import Codec
    from pywrap.server.onward import Onward
    from pywrap.server.rules import Judge
    from pywrap.server.tcp.dial import Resolver, SockAddr
    from pywrap.server.udp.outbound import UdpRules
    from pywrap.server.upstream import Upstream
    from pywrap.socks.wire import Endpoint

BROKEN = "with a broken header"
TOO_FAST = "beyond the client's rate"
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
        "traffic", "_buffer", "_client", "_codec", "_judge", "_known", "_loop", "_met", "_names", "_onward",
        "_outbound", "_reassembly", "_rules", "_sock", "_source", "_throttles", "_upstream",
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
        judge: Judge | None = None,
        throttles: tuple[Bucket, Bucket] | None = None,
        codec: Codec | None = None,
        upstream: Upstream | None = None,
        onward: Onward | None = None,
    ) -> None:
        self._upstream = upstream
        self._onward = onward
        if onward is not None:
            onward.start(self._answer_from_there, buffer)
        # Datagrams of GSSAPI are wrapped (RFC 1961 section 5); those beside TLS are not.
        self._codec = codec if isinstance(codec, Encapsulation) else None
        self._judge = judge
        self._throttles = throttles
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
        self._names = PeerNames(resolver, self.traffic, self._send, judge)
        self._outbound = Outbound(
            loop, buffer, self.traffic, rules, self._answer, self._names.heard, self._names.refused
        )
        loop.watch(sock.fileno(), IN, self._on_client)

    def close(self) -> None:
        self._loop.close(self._sock)
        self._names.close()
        self._outbound.close()
        if self._onward is not None:
            self._onward.close()
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
            data = buffer[:count]
            if self._codec is not None and (source == self._source or self._may_be(source)):
                try:
                    data = memoryview(self._codec.decode_one(bytes(data)))
                except SocksError:
                    self.traffic.drop(BROKEN)
                    continue
            if source == self._source:
                self._take(data)
            elif self._may_be(source):
                if self._take(data):
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
        return self._source is None and unmapped(source[0]) == host and port in (0, source[1])

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
        self._route(unbracketed(header.endpoint), bytes(data[3 : header.size]), payload)
        return True

    def _route(self, endpoint: Endpoint, key: bytes, payload: bytes | memoryview) -> None:
        if self._upstream is not None and self._onward is not None:
            way = self._upstream.way(endpoint, datagram=True)
            if way.refusal:
                self.traffic.drop(DENIED)
                return
            if way.chain:
                self._send_onward(self._onward, endpoint, key, payload)
                return
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
            if self._judge is not None and self._judge.address(endpoint, address[1][0]):
                self.traffic.drop(DENIED)
                return
            if len(self._known) >= self._rules.peers:
                self._known.clear()
            self._known[key] = address
            self._met(endpoint)
        self._forward(address, payload)

    def _send_onward(
        self, onward: Onward, endpoint: Endpoint, key: bytes, payload: bytes | memoryview
    ) -> None:
        """Send to the proxy's relay, after the rules."""
        judge = self._judge
        if judge is not None:
            is_name = packed(endpoint.host) is None
            denied = (
                judge.name(endpoint.host, endpoint.port)
                if is_name
                else judge.address(endpoint, endpoint.host)
            )
            if denied:
                self.traffic.drop(DENIED)
                return
        if self._throttles is not None:
            if self._throttles[0].wait():
                self.traffic.drop(TOO_FAST)
                return
            self._throttles[0].take(len(payload))
        try:
            onward.send(b"\0\0\0" + key + payload)
        except OSError as err:
            self.traffic.drop(words_for(err))
            return
        self.traffic.up += 1
        self.traffic.bytes_up += len(payload)

    def _answer_from_there(self, datagram: memoryview) -> None:
        """What the proxy's relay says, which has its header already."""
        try:
            size = unpack_header(datagram).size
        except ProtocolError:
            self.traffic.drop(BROKEN)
            return
        if self._source is not None:
            self._answer(datagram, len(datagram) - size)

    def _forward(self, address: SockAddr, payload: bytes | memoryview) -> None:
        try:
            self._send(address, payload)
        except OSError as err:
            self.traffic.drop(words_for(err))

    def _send(self, address: SockAddr, payload: bytes | memoryview) -> None:
        if self._throttles is None:
            self._outbound.send(address, payload)
        elif self._throttles[0].wait():
            self.traffic.drop(TOO_FAST)
        else:
            self._throttles[0].take(len(payload))
            self._outbound.send(address, payload)

    def _drop_fragments(self, count: int) -> None:
        if count:
            self.traffic.drop(FRAGMENTS, count)

    # ------------------------------------------------------------ to the client

    def _answer(self, datagram: memoryview, size: int) -> None:
        """Send what has its header already, and ``size`` bytes of payload."""
        if self._throttles is not None:
            if self._throttles[1].wait():
                self.traffic.drop(TOO_FAST)
                return
            self._throttles[1].take(size)
        try:
            data = datagram if self._codec is None else self._codec.encode_one(bytes(datagram))
            self._sock.sendto(data, self._source)
        except SocksError:
            self.traffic.drop(BUSY)
        except OSError as err:
            self.traffic.drop(words_for(err))
        else:
            self.traffic.down += 1
            self.traffic.bytes_down += size
