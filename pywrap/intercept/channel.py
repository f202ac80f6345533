"""A datagram socket's way through one chain: its association, what waits for it, whose answers are whose.

An answer carries the address that the last proxy got it from, and the program gets back the address that it
sent to. For a name that only the proxy resolved, no proxy says which that is. So a channel takes one name for
each port, and what comes from an unknown address at that port comes from that name. A socket that sends to
two names at one port has two channels, and two associations (``flows``).
"""

from __future__ import annotations

import _socket
from time import monotonic

from pywrap.errors import ProtocolError
from pywrap.socks.datagram import Reassembly, pack_header, unpack_header
from pywrap.socks.v5 import IPV6
from pywrap.socks.wire import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from pywrap.socks.wire import Endpoint
    from pywrap.tunnel.association import Association
    from pywrap.tunnel.background import Task

    Address: TypeAlias = tuple[Any, ...]


class Channel:
    """``chain`` is its name. ``association`` is None until it stands; ``relay`` is where its datagrams go, as
    the socket's own family writes it.

    ``task`` and ``queue``: an association in the making, and what waits for it, with headers.
    """

    __slots__ = (
        "_ipv6",
        "_named",
        "_reassembly",
        "answers",
        "association",
        "chain",
        "ended",
        "opening",
        "queue",
        "queued",
        "relay",
        "task",
        "watches",
    )

    def __init__(self, chain: str, ipv6: bool) -> None:
        self.chain = chain
        self.association: Association | None = None
        self.relay: Address = ()
        # The one before, while its end has not been told.
        self.ended: Association | None = None
        self.task: Task | None = None
        # Does a thread of the program's open one?
        self.opening = False
        self.watches: list[Task] = []
        self.queue: list[bytes] = []
        self.queued = 0
        # What the program calls the source, by the header of its datagrams.
        self.answers: dict[bytes, Address] = {}
        # The name that each port belongs to, and what the program calls it.
        self._named: dict[int, tuple[str, Address]] = {}
        self._reassembly = Reassembly()
        self._ipv6 = ipv6

    def takes(self, destination: Endpoint) -> bool:
        """Can answers of ``destination`` be told from others here?"""
        if packed(destination.host) is not None:
            return True
        known = self._named.get(destination.port)
        return known is None or known[0] == destination.host

    def expect(self, destination: Endpoint, header: bytes, address: Address) -> None:
        """The program sends to ``destination``, which it calls ``address``."""
        self.answers[header] = address
        if packed(destination.host) is None:
            self._named.setdefault(destination.port, (destination.host, address))

    def forget(self) -> None:
        """Whose answers are whose is learned anew."""
        self.answers.clear()
        self._named.clear()

    def unwrap(self, data: bytes, peer: Address | None, peek: bool = False) -> tuple[bytes, Address] | None:
        """The payload of what the relay sent, and its source; None when it is not for the program (yet).

        ``peek``: it will come once more, unless the result is None. ``peer`` is the one that the program is
        connected to.
        """
        association = self.association or self.ended
        if association is None:
            return None
        if not association.prefix and data[2:4] == b"\0\1":
            # What nearly all are, in a third of the time.
            source = self.answers.get(data[:10])
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
        source = self.answers.get(head) or self._attribute(head, header.endpoint)
        if source is None or (peer is not None and source != peer):
            return None
        return payload, source

    def _attribute(self, head: bytes, endpoint: Endpoint) -> Address | None:
        """Whom an unknown source belongs to."""
        named = self._named.get(endpoint.port)
        if named is None:
            return self._literal(endpoint)
        self.answers[head] = named[1]
        return named[1]

    def _literal(self, endpoint: Endpoint) -> Address | None:
        """``endpoint`` as recvfrom() of the program's family tells it, where it can."""
        address = packed(endpoint.host)
        if address is None or (len(address) == 16 and not self._ipv6):
            return None
        if not self._ipv6:
            return endpoint.host, endpoint.port
        host = endpoint.host if len(address) == 16 else f"::ffff:{endpoint.host}"
        return host, endpoint.port, 0, 0


def relay_address(endpoint: Endpoint, family: int) -> Address:
    """Where a relay is, as a socket of ``family`` sends to it and tells of it."""
    if family == _socket.AF_INET:
        return endpoint.host, endpoint.port
    host = endpoint.host if ":" in endpoint.host else f"::ffff:{endpoint.host}"
    return host, endpoint.port, 0, 0
