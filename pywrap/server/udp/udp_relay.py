"""The datagrams of one association: from its client to any peer, and the answers back."""

from __future__ import annotations

from time import monotonic

from pywrap.errors import ProtocolError, SocksError
from pywrap.relay.loop import IN
from pywrap.server.record import Traffic
from pywrap.server.udp.batch import datagrams_of
from pywrap.server.udp.outbound import BUSY, NOT_UNICAST, STRANGERS, Outbound, address_of, words_for
from pywrap.server.udp.peer_names import DENIED, PeerNames
from pywrap.server.udp.sockaddr import pack_sockaddr, unpack_sockaddr
from pywrap.socks.datagram import Reassembly, unpack_header
from pywrap.socks.gssapi import Encapsulation
from pywrap.socks.wire import packed, unmapped, with_plain_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from pywrap.relay.bucket import Bucket
    from pywrap.relay.loop import Loop
    from pywrap.relay.wrapped import Codec
    from pywrap.server.access_rules import Judge
    from pywrap.server.onward import Onward
    from pywrap.server.tcp.dial import Resolver, SockAddr
    from pywrap.server.udp.batch import Batch
    from pywrap.server.udp.outbound import UdpRules
    from pywrap.server.upstream import Upstream
    from pywrap.socks.wire import Endpoint

BROKEN = "with a broken header"
TOO_FAST = "beyond the client's rate"
FRAGMENTS = "in fragments that do not make a whole"


# The header of a datagram to an IPv4 address (RFC 1928 section 7): its length, and the offset of FRAG, behind
# which the address begins.
_PLAIN_HEADER, _FRAG = 10, 2

# Batches that are taken from a client whose connection has ended: more than its socket's buffer holds.
_REST = 64


class Datagrams:
    """Carries datagrams (RFC 1928 section 7) between ``sock``, which belongs to it, and the client's peers.

    ``client``: the address from which the client's datagrams must come; if its port is 0, the first valid
    datagram decides it. ``met`` is called with each destination, named as by the client, at the first
    datagram to it (and again when it was forgotten because of many others).
    """

    __slots__ = (
        "traffic", "_batch", "_client", "_codec", "_judge", "_known", "_loop", "_met", "_names", "_onward",
        "_outbound", "_reassembly", "_rules", "_sock", "_source", "_throttles", "_upstream",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        resolver: Resolver,
        buffer: memoryview,
        batch: Batch,
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
        self._batch = batch
        self._sock = sock
        self._client = client
        self._source = b""  # the client's address, once it is certain
        self._rules = rules
        self._met = met
        self._reassembly = Reassembly()
        # For destinations that are addresses, by the bytes of the header from ATYP to the port: the family,
        # and the address as the kernel has it.
        self._known: dict[bytes, tuple[int, bytes]] = {}
        self._names = PeerNames(resolver, self.traffic, self._send, judge)
        self._outbound = Outbound(
            loop, batch, self.traffic, rules, self._answer_all, self._names.heard, self._names.refused
        )
        batch.prepare(sock)
        loop.watch(sock.fileno(), IN, self._on_client)

    def close(self) -> None:
        """Close the relay's sockets."""
        self._loop.close(self._sock)
        self._names.close()
        self._outbound.close()
        if self._onward is not None:
            self._onward.close()
        self._drop_fragments(self._reassembly.abandon())
        del self._met

    # ------------------------------------------------------------ from the client

    def _on_client(self, events: int) -> None:
        memory = self._batch.memory
        # The usual datagram takes the shortest way: no fragment, to an IPv4 address that was seen before.
        is_plain = self._codec is None and self._throttles is None
        for start, source, length, size in self._batch.receive(self._sock):
            if is_plain and source == self._source and self._pass_on(start, length, size):
                continue
            for at, each in datagrams_of(start, length, size):
                self._take(source, memory[at : at + each])
        self._outbound.flush()

    def _pass_on(self, start: int, length: int, size: int) -> bool:
        """Send the datagrams of a message on, if all have one known destination; return whether they do."""
        if size < _PLAIN_HEADER:
            return False
        memory = self._batch.memory
        head = bytes(memory[start + _FRAG : start + _PLAIN_HEADER])
        known = self._known.get(head[1:])
        if known is None or head[0]:
            return False
        count, rest = divmod(length, size)
        end = start + length
        if rest and rest < _PLAIN_HEADER:
            return False
        if length > size and any(
            bytes(memory[start + _FRAG + at : end : size]) != head[at : at + 1] * (count + bool(rest))
            for at in range(len(head))
        ):
            return False
        family, to = known
        begin = start + _PLAIN_HEADER
        self._outbound.add(family, begin, size, size - _PLAIN_HEADER, count, to)
        if rest:
            self._outbound.add(family, begin + count * size, 0, rest - _PLAIN_HEADER, 1, to)
        return True

    def take_rest(self) -> None:
        """Send on the datagrams that the client has sent already, up to ``_REST`` batches."""
        for _ in range(_REST):
            self._on_client(IN)

    def _take(self, source: bytes, data: memoryview) -> None:
        """Send a datagram on, or drop it."""
        is_certain = source == self._source
        if not is_certain and not self._may_be(source):
            self.traffic.drop(STRANGERS)
            return
        try:
            if self._codec is not None:
                data = memoryview(self._codec.decode_one(bytes(data)))
            header = unpack_header(data)
        except SocksError:
            self.traffic.drop(BROKEN)
            return
        payload: bytes | memoryview = data[header.size :]
        if header.fragment:
            whole = self._reassembly.add(header, bytes(payload), monotonic())
            self._drop_fragments(self._reassembly.abandoned)
            payload = b"" if whole is None else whole
        if not header.fragment or whole is not None:
            self._route(with_plain_address(header.endpoint), bytes(data[3 : header.size]), payload)
        if not is_certain:
            self._source = source

    def _may_be(self, source: bytes) -> bool:
        """Whether ``source`` may be the client, whose port is not certain before its first valid datagram."""
        if self._source:
            return False
        host, port = unpack_sockaddr(source)[1][:2]
        return unmapped(host) == self._client.host and self._client.port in (0, port)

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
        known = self._known.get(key)
        if known is None:
            address = address_of(endpoint.host, endpoint.port)
            if address is None:
                self.traffic.drop(NOT_UNICAST)
                return
            if self._judge is not None and self._judge.address(endpoint, address[1][0]):
                self.traffic.drop(DENIED)
                return
            if len(self._known) >= self._rules.peers:
                self._known.clear()
            self._known[key] = known = address[0], pack_sockaddr(*address)
            self._met(endpoint)
        try:
            self._send(unpack_sockaddr(known[1]), payload)
        except OSError as err:
            self.traffic.drop(words_for(err))

    def _send_onward(
        self, onward: Onward, endpoint: Endpoint, key: bytes, payload: bytes | memoryview
    ) -> None:
        """Send to the proxy's relay, if the rules allow it."""
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
        """Pass on ``datagram`` of the proxy's relay, which has its header already."""
        try:
            size = unpack_header(datagram).size
        except ProtocolError:
            self.traffic.drop(BROKEN)
            return
        if self._source:
            self._answer(datagram, len(datagram) - size)

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

    def _answer_all(self, found: list[tuple[int, int, int, int, int]]) -> None:
        """Send answers to the client: messages of the batch, with their headers (see ``Outbound``)."""
        batch, source = self._batch, self._source
        if self._codec is not None or self._throttles is not None:
            memory = batch.memory
            for start, length, size, header, header_size in found:
                for at, each in datagrams_of(start, length, size):
                    whole = b"".join((memory[header : header + header_size], memory[at : at + each]))
                    self._answer(whole, each)
            return
        for start, length, size, header, header_size in found:
            if length == size:
                batch.add(start, size, source, header, header_size)
                continue
            count, rest = divmod(length, size)
            batch.add_many(start, size, size, count, source, header, header_size)
            if rest:
                batch.add(start + count * size, rest, source, header, header_size)
        datagrams, total = batch.send(self._sock, self._answer_alone)
        self.traffic.down += datagrams
        # The headers are all of one length: these are answers of one family.
        self.traffic.bytes_down += total - datagrams * found[0][4]

    def _answer_alone(self, datagram: bytes, to: bytes) -> None:
        self._answer(datagram, len(datagram) - unpack_header(datagram).size)

    def _answer(self, datagram: bytes | memoryview, size: int) -> None:
        """Send the client a datagram that has its header already; ``size``: the length of its payload."""
        if self._throttles is not None:
            if self._throttles[1].wait():
                self.traffic.drop(TOO_FAST)
                return
            self._throttles[1].take(size)
        try:
            data = datagram if self._codec is None else self._codec.encode_one(bytes(datagram))
            self._sock.sendto(data, unpack_sockaddr(self._source)[1])
        except SocksError:
            self.traffic.drop(BUSY)
        except OSError as err:
            self.traffic.drop(words_for(err))
        else:
            self.traffic.down += 1
            self.traffic.bytes_down += size
