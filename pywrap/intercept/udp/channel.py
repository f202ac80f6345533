"""A datagram socket's use of one chain: the association, what waits for it, and the sources of answers.

The header of an answer has the address that the last proxy received it from. The program must see the
address that it sent to. Where that was a name, no proxy says which name an answer belongs to. So each port of
a channel belongs either to one name, and every answer from that port comes from that name; or to literals,
whose answers have the same address in the header. A socket that sends to two names at one port, or to a name
and a literal, has two channels and two associations (``header_and_channel``).
"""

from __future__ import annotations

import _socket
from time import monotonic

from pywrap.errors import ProtocolError
from pywrap.frozen import frozen
from pywrap.socks.datagram import Reassembly, pack_header, unpack_header
from pywrap.socks.v5 import IPV6, NAME
from pywrap.socks.wire import for_ipv6_socket, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from pywrap.socks.wire import Endpoint
    from pywrap.tunnel.association import Association
    from pywrap.tunnel.background import Task
    from pywrap.tunnel.request_port import RequestPort

    SockAddr: TypeAlias = tuple[Any, ...]

# Sources that are remembered at the most: every host that can send to the relay may be one.
_SOURCES = 8192

# Destinations, and beginnings of answers, that a channel keeps at the most.
_MOST = 8192

# The owner of a port: the packed header of the destination, and the address that the program uses for it.
_LITERALS: tuple[bytes, SockAddr] = (b"", ())


class Usual:
    """What stood before payloads: for the straight road, which says when that is thrown away.

    ``to``: by the address that the program has sent to, or by the route to the peer, which no program has.
    ``sources``: the source by the first bytes of an answer; ``size``: how many those were in the last one.
    ``relay``: where datagrams go, and come from; () without an association.
    """

    __slots__ = ("relay", "size", "sources", "to")

    def __init__(self, relay: SockAddr = ()) -> None:
        self.relay = relay
        self.size = 0
        self.sources: dict[bytes, SockAddr] = {}
        self.to: dict[Any, bytes] = {}

    def add_destination(self, address: Any, front: bytes) -> None:
        """A datagram has gone to ``address``, which began with ``front``."""
        if len(self.to) >= _MOST:
            self.to.clear()
        try:
            self.to[address] = front
        except TypeError:
            # A host that is a bytearray.
            pass

    def add_source(self, front: bytes, source: SockAddr) -> None:
        """An answer has come from ``source``, which began with ``front``."""
        if len(self.sources) >= _MOST:
            self.sources.clear()
        self.sources[front] = source
        self.size = len(front)


class Channel:
    """One channel. ``chain``: the name of the chain. ``association``: None until it is set up. ``relay``: the
    address of its first relay, in the family of the socket.

    ``is_from_beyond``: can a datagram from an address come through the chain (``tunnel.routes``)? ``task``:
    the background thread's, that opens an association. ``queue``: datagrams with headers that wait for it,
    of ``queued`` bytes. ``watches``: the tasks that watch the control connections. ``used``: when the socket
    switched to this channel last. ``is_recycled``: another channel has taken its place. ``has_port``: has the
    request of ``association`` carried our port? ``usual``: for the straight road (``straight_datagrams``).
    """

    __slots__ = (
        "_answers",
        "_ipv6",
        "_is_from_beyond",
        "_owners",
        "_reassembly",
        "association",
        "chain",
        "ended",
        "has_port",
        "is_recycled",
        "is_being_set_up",
        "kept",
        "queue",
        "queued",
        "relay",
        "request_port",
        "task",
        "used",
        "usual",
        "watches",
    )

    def __init__(self, chain: str, ipv6: bool, is_from_beyond: Callable[[Endpoint], bool]) -> None:
        self.chain = chain
        self._is_from_beyond = is_from_beyond
        self.association: Association | None = None
        self.relay: SockAddr = ()
        # The association before, until the program has got the error that it has ended.
        self.ended: Association | None = None
        self.task: Task | None = None
        # Whether a thread of the program is setting an association up.
        self.is_being_set_up = False
        self.watches: list[Task] = []
        self.queue: list[bytes] = []
        self.queued = 0
        self.used = monotonic()
        self.is_recycled = False
        self.usual = Usual()
        self.has_port = False
        # While it is not known whether the hop wants our port in requests (``second_association``).
        self.request_port: RequestPort | None = None
        # Meanwhile, the association before ``association``, without the port where that has it.
        self.kept: Kept | None = None
        # The program's address of each source, by the header of its datagrams. May be emptied at any time.
        self._answers: dict[bytes, SockAddr] = {}
        # The owner of each port.
        self._owners: dict[int, tuple[bytes, SockAddr]] = {}
        self._reassembly = Reassembly()
        self._ipv6 = ipv6

    @property
    def is_busy(self) -> bool:
        """Is an association being opened?"""
        return self.is_being_set_up or self.task is not None

    def use(self, association: Association, relay: SockAddr) -> None:
        """Send by ``association`` from now on, to ``relay``."""
        self.relay = relay
        self.usual = Usual(relay)
        self.association = association

    def forget_usual(self) -> None:
        """Something has changed: no datagram is as the one before until one has come or gone."""
        self.usual = Usual(self.usual.relay)

    def takes(self, destination: Endpoint, header: bytes, address: SockAddr) -> bool:
        """Can answers of ``destination``, the program's ``address``, be told from others in this channel?"""
        owner = self._owners.get(destination.port)
        return owner is None or owner[0] == self._owner(destination, header, address)[0]

    def expect(self, destination: Endpoint, header: bytes, address: SockAddr) -> None:
        """The program sends to ``destination``, by ``address``."""
        owner = self._owner(destination, header, address)
        before = self._owners.get(destination.port, _LITERALS)
        self._owners[destination.port] = owner
        if before != owner or len(self._answers) >= _SOURCES:
            # Answers from that port were another owner's before.
            self._answers.clear()
            self.forget_usual()
        self._answers[header] = address
        self.used = monotonic()

    def _owner(self, destination: Endpoint, header: bytes, address: SockAddr) -> tuple[bytes, SockAddr]:
        """The owner that the port gets: literals, unless the destination is a name or a rewritten address."""
        return _LITERALS if self._literal(destination) == address else (header, address)

    def source(self, header: bytes, endpoint: Endpoint) -> SockAddr | None:
        """The program's address of ``endpoint``, packed: ``header``; None for no possible source."""
        known = self._answers.get(header)
        if known is not None:
            return known
        owner = self._owners.get(endpoint.port, _LITERALS)
        if owner is not _LITERALS and (owner[0] == header or owner[0][3] == NAME):
            found: SockAddr | None = owner[1]
        else:
            # The program's answer to an address of this machine, for example, would leave directly.
            found = self._literal(endpoint) if self._is_from_beyond(endpoint) else None
        if found is not None:
            if len(self._answers) >= _SOURCES:
                self._answers.clear()
            self._answers[header] = found
        return found

    def unwrap(
        self, data: bytes, peer: SockAddr | None, peek: bool = False, usual: Usual | None = None
    ) -> tuple[bytes, SockAddr] | None:
        """The payload of a datagram from the relay, and its source; None when it is not for the program.

        ``peek``: the same datagram will be received once more, unless the result is None. ``peer`` is the
        address that the socket is connected to. ``usual``: the channel's, from before ``peer`` was looked
        up, to enter the datagram in.
        """
        association = self.association or self.ended
        if association is None:
            return None
        try:
            start = association.unwrap(data)
            header = unpack_header(memoryview(data)[start:])
        except ProtocolError:
            # RFC 1928 section 7 has no errors: such a datagram is dropped.
            return None
        end = start + header.size
        head, payload = data[start:end], data[end:]
        if data[start + 3] == IPV6:
            # Perhaps IPv4-mapped, and then the datagram went to the IPv4 address.
            head = pack_header(header.endpoint)
        if header.fragment:
            put_together = self._reassembly.copy() if peek else self._reassembly
            whole = put_together.add(header, payload, monotonic())
            if whole is None:
                self._reassembly = put_together
                return None
            head, payload = head[:2] + b"\0" + head[3:], whole
        source = self.source(head, header.endpoint)
        if source is None or (peer is not None and source != peer):
            return None
        if usual is not None and not header.fragment:
            usual.add_source(data[:end], source)
        return payload, source

    def _literal(self, endpoint: Endpoint) -> SockAddr | None:
        """``endpoint`` as recvfrom() of the program's family returns it; None where that cannot."""
        address = packed(endpoint.host)
        if address is None or (len(address) == 16 and not self._ipv6):
            return None
        if not self._ipv6:
            return endpoint.host, endpoint.port
        return for_ipv6_socket(endpoint.host), endpoint.port, 0, 0


@frozen
class Kept:
    """An association that is not sent through, and what its channel had of it."""

    association: Association
    relay: SockAddr
    watches: list[Task]
    has_port: bool


# For datagrams of a relay that has been given up: it takes none.
ABANDONED = Channel("", ipv6=False, is_from_beyond=lambda endpoint: False)


def relay_address(endpoint: Endpoint, family: int) -> SockAddr:
    """The address of a relay for a socket of ``family``, as sendto() takes it and recvfrom() returns it."""
    if family == _socket.AF_INET:
        return endpoint.host, endpoint.port
    return for_ipv6_socket(endpoint.host), endpoint.port, 0, 0
