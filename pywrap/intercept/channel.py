"""A datagram socket's way through one chain: its association, what waits for it, whose answers are whose.

An answer carries the address that the last proxy got it from, and the program gets back the address that it
sent to. For a name that only the proxy resolved, the two are put together here: the first answer from an
unknown address goes to the name that was sent to on that port and has none yet. Two names on one port that
answer in the wrong order on one socket would be confused; no proxy says more.
"""

from __future__ import annotations

import _socket
from time import monotonic

from pywrap.errors import ProtocolError
from pywrap.socks.datagram import Reassembly, unpack_header
from pywrap.socks.wire import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from pywrap.socks.wire import Endpoint
    from pywrap.tunnel.association import Association
    from pywrap.tunnel.background import Task

    Address: TypeAlias = tuple[Any, ...]


class Channel:
    """``chain`` is its name. ``association`` is None until it stands; ``relay`` is where its datagrams go,
    as the socket's own family writes it, and ``prefix`` what stands before each header.

    ``task`` and ``queue``: an association in the making, and the packets that wait for it.
    """

    __slots__ = (
        "_ipv6",
        "_named",
        "_names",
        "_reassembly",
        "answers",
        "association",
        "chain",
        "prefix",
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
        self.prefix = b""
        self.task: Task | None = None
        self.watches: list[Task] = []
        self.queue: list[bytes] = []
        self.queued = 0
        # What the program calls the source, by the header of its datagrams.
        self.answers: dict[bytes, Address] = {}
        # Names that were sent to and have not answered, by port.
        self._named: dict[int, list[Address]] = {}
        self._names: set[Address] = set()
        self._reassembly = Reassembly()
        self._ipv6 = ipv6

    def expect(self, destination: Endpoint, header: bytes, address: Address) -> None:
        """The program sends to ``destination``, which it calls ``address``."""
        if header not in self.answers:
            self.answers[header] = address
            if packed(destination.host) is None:
                self._named.setdefault(destination.port, []).append(address)
                self._names.add(address)

    def forget(self) -> None:
        """Whose answers are whose is learned anew."""
        self.answers.clear()
        self._named.clear()
        self._names.clear()

    def unwrap(self, data: bytes, peer: Address | None) -> tuple[bytes, Address] | None:
        """The payload of what the relay sent, and its source; None when it is not for the program (yet).

        ``peer`` is the one that the program is connected to.
        """
        if not self.prefix and data[2:4] == b"\0\1":
            # What nearly all are, in a third of the time.
            source = self.answers.get(data[:10])
            if source is not None and (peer is None or source == peer):
                return data[10:], source
        if self.association is None:
            return None
        try:
            start = self.association.unwrap(data)
            header = unpack_header(memoryview(data)[start:])
        except ProtocolError:
            # RFC 1928 has nobody to tell: such a datagram is dropped.
            return None
        end = start + header.size
        head, payload = data[start:end], data[end:]
        if header.fragment:
            whole = self._reassembly.add(header, payload, monotonic())
            if whole is None:
                return None
            head, payload = head[:2] + b"\0" + head[3:], whole
        source = self.answers.get(head) or self._attribute(head, header.endpoint, peer)
        if source is None or (peer is not None and source != peer):
            return None
        return payload, source

    def _attribute(self, head: bytes, endpoint: Endpoint, peer: Address | None) -> Address | None:
        """Whom an unknown source belongs to."""
        if peer is not None:
            # A name may have many addresses, and the proxy may send to another one each time.
            if peer not in self._names or peer[1] != endpoint.port:
                return None
            source = peer
        elif waiting := self._named.get(endpoint.port):
            source = waiting.pop(0)
        else:
            return self._literal(endpoint)
        self.answers[head] = source
        return source

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
