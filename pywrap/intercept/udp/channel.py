"""A datagram socket's way through one chain: its association, what waits for it, whose answers are whose.

An answer carries the address that the last proxy got it from, and the program gets back the address that it
sent to. For a name that only the proxy resolved, no proxy says which that is. So a port of a channel belongs
to one name, and whatever comes from there comes from that name; or to literals, whose answers say themselves
who they are. A socket that sends to two names at one port, or to a name and a literal, has two channels, and
two associations (``flow``).
"""

from __future__ import annotations

import _socket
from time import monotonic

from pywrap.errors import ProtocolError
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

    SockAddr: TypeAlias = tuple[Any, ...]

# Sources that are remembered: whoever can send to the relay may be one.
_SOURCES = 8192

# Whose a port is: by the header of what is sent there, and what the program calls that.
_LITERALS: tuple[bytes, SockAddr] = (b"", ())


class Channel:
    """``chain`` is its name. ``association`` is None until it stands; ``relay`` is where its datagrams go, as
    the socket's own family writes it.

    ``is_from_beyond``: can a datagram come from an address through the chain (``tunnel.routes``)?
    ``task`` and ``queue``: an association in the making, and what waits for it, with headers. ``used``: when
    the program began to send here, after others.
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
        "is_recycled",
        "is_opening",
        "queue",
        "queued",
        "relay",
        "task",
        "used",
        "watches",
    )

    def __init__(self, chain: str, ipv6: bool, is_from_beyond: Callable[[Endpoint], bool]) -> None:
        self.chain = chain
        self._is_from_beyond = is_from_beyond
        self.association: Association | None = None
        self.relay: SockAddr = ()
        # The one before, while its end has not been told.
        self.ended: Association | None = None
        self.task: Task | None = None
        # Does a thread of the program's open one?
        self.is_opening = False
        self.watches: list[Task] = []
        self.queue: list[bytes] = []
        self.queued = 0
        self.used = monotonic()
        # Another has taken its place: nothing is sent here any more.
        self.is_recycled = False
        # What the program calls the source, by the header of its datagrams. May be learned anew at any time.
        self._answers: dict[bytes, SockAddr] = {}
        # By the port: who it belongs to.
        self._owners: dict[int, tuple[bytes, SockAddr]] = {}
        self._reassembly = Reassembly()
        self._ipv6 = ipv6

    @property
    def is_busy(self) -> bool:
        """Is its association in the making?"""
        return self.is_opening or self.task is not None

    def takes(self, destination: Endpoint, header: bytes, address: SockAddr) -> bool:
        """Can answers of ``destination``, which the program calls ``address``, be told from others here?"""
        owner = self._owners.get(destination.port)
        return owner is None or owner[0] == self._owner(destination, header, address)[0]

    def expect(self, destination: Endpoint, header: bytes, address: SockAddr) -> None:
        """The program sends to ``destination``, which it calls ``address``."""
        owner = self._owner(destination, header, address)
        if self._owners.get(destination.port, _LITERALS) != owner or len(self._answers) >= _SOURCES:
            # What came from that port before was a stranger's.
            self._answers.clear()
        self._owners[destination.port] = owner
        self._answers[header] = address
        self.used = monotonic()

    def _owner(self, destination: Endpoint, header: bytes, address: SockAddr) -> tuple[bytes, SockAddr]:
        """Who gets the port; also the literal that is the destination in the place of another."""
        return _LITERALS if self._literal(destination) == address else (header, address)

    def source(self, header: bytes, endpoint: Endpoint) -> SockAddr | None:
        """What the program calls ``endpoint``, of ``header``; None when it cannot be told."""
        known = self._answers.get(header)
        if known is not None:
            return known
        owner = self._owners.get(endpoint.port, _LITERALS)
        if owner is not _LITERALS and (owner[0] == header or owner[0][3] == NAME):
            found: SockAddr | None = owner[1]
        else:
            # To an address of this machine, say, the program's answer would leave directly.
            found = self._literal(endpoint) if self._is_from_beyond(endpoint) else None
        if found is not None:
            if len(self._answers) >= _SOURCES:
                self._answers.clear()
            self._answers[header] = found
        return found

    def unwrap(self, data: bytes, peer: SockAddr | None, peek: bool = False) -> tuple[bytes, SockAddr] | None:
        """The payload of what the relay sent, and its source; None when it is not for the program (yet).

        ``peek``: it will come once more, unless the result is None. ``peer`` is the one that the program is
        connected to.
        """
        association = self.association or self.ended
        if association is None:
            return None
        if not association.prefix and data[2:4] == b"\0\1":
            # What nearly all are, in a third of the time.
            source = self._answers.get(data[:10])
            if source is not None and (peer is None or source == peer):
                return data[10:], source
        try:
            start = association.unwrap(data)
            header = unpack_header(memoryview(data)[start:])
        except ProtocolError:
            # RFC 1928 has nobody to tell: such a datagram is dropped.
            return None
        end = start + header.size
        head, payload = data[start:end], data[end:]
        if data[start + 3] == IPV6:
            # It may be IPv4 in IPv6 clothes, and then it was sent to as IPv4.
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
        return payload, source

    def _literal(self, endpoint: Endpoint) -> SockAddr | None:
        """``endpoint`` as recvfrom() of the program's family tells it, where it can."""
        address = packed(endpoint.host)
        if address is None or (len(address) == 16 and not self._ipv6):
            return None
        if not self._ipv6:
            return endpoint.host, endpoint.port
        return for_ipv6_socket(endpoint.host), endpoint.port, 0, 0


# What the datagrams of a relay go to that has been given up: nobody.
GONE = Channel("", ipv6=False, is_from_beyond=lambda endpoint: False)


def relay_address(endpoint: Endpoint, family: int) -> SockAddr:
    """Where a relay is, as a socket of ``family`` sends to it and tells of it."""
    if family == _socket.AF_INET:
        return endpoint.host, endpoint.port
    return for_ipv6_socket(endpoint.host), endpoint.port, 0, 0
