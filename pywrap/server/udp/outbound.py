"""An association's sockets to the peers that its client sends to: one for each family.

They are not connected, so one socket is the client's address for all its peers, as a socket of its
own would be. The kernel reports an ICMP error to the next call on such a socket, whatever peer that call is
about. The error queue has the peer that the error belongs to; datagrams of the others go on.
"""

from __future__ import annotations

import errno
import struct
from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IP,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    MSG_ERRQUEUE,
    SO_RCVBUF,
    SO_SNDBUF,
    SOCK_DGRAM,
    SOL_SOCKET,
)

from pywrap.frozen import frozen
from pywrap.relay.descriptor_reserve import open_socket
from pywrap.relay.loop import ERR, IN
from pywrap.server.udp.batch import datagrams_of
from pywrap.server.udp.sockaddr import pack_sockaddr, unpack_sockaddr
from pywrap.socks.datagram import pack_header
from pywrap.socks.wire import Endpoint, packed, unmapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Any

    from pywrap.relay.loop import Loop
    from pywrap.server.record import Traffic
    from pywrap.server.tcp.dial import SockAddr
    from pywrap.server.udp.batch import Batch

# From linux/in.h and linux/in6.h.
_IP_RECVERR = 11
_IPV6_RECVERR = 25

# Bytes of a socket's buffers, as far as the kernel allows (net.core.rmem_max). A burst waits there while
# other connections have a turn.
BURST = 4 * 1024 * 1024

# How many errors of one socket are read in a row, before other connections have a turn.
_ERRORS = 64

STRANGERS = "from strangers"
NOT_UNICAST = "not to one host"
BUSY = "more than the network takes"


def udp_socket(family: int) -> socket:
    """A non-blocking UDP socket of ``family`` whose buffers hold a burst."""
    sock = open_socket(family, SOCK_DGRAM)
    for option in (SO_RCVBUF, SO_SNDBUF):
        sock.setsockopt(SOL_SOCKET, option, BURST)
    return sock


def address_of(host: str, port: int) -> SockAddr | None:
    """The address for sendto() of an IP literal; None when that is not the address of a single host."""
    host = unmapped(host)
    start = (packed(host) or b"\0")[0]
    if ":" in host:
        return None if start == 0xFF or host == "::" else (AF_INET6, (host, port, 0, 0))
    # 224.0.0.0/4 is multicast; addresses above are reserved, and the last one is broadcast.
    return None if start >= 224 or host == "0.0.0.0" else (AF_INET, (host, port))


def words_for(err: OSError) -> str:
    """The words for a datagram that could not be sent and was dropped, by the error."""
    if isinstance(err, BlockingIOError):
        return BUSY
    words = err.strerror or str(err)
    return f"not sent: {words[:1].lower()}{words[1:]}"


@frozen
class UdpRules:
    """Settings for all associations.

    ``any_peer``: whether answers may come from any peer, not only from those that the client has sent to; of
    these the ``peers`` latest are remembered. ``addresses``, one for each family: sent in replies in the
    place of the address to which the client has connected, when a NAT is between.
    """

    enabled: bool = True
    any_peer: bool = False
    peers: int = 1024
    addresses: tuple[str, ...] = ()


class Outbound:
    """``answers(found)`` is called with messages for the client. For each of them: where it begins in
    ``batch.memory``, its length, the length of its datagrams, where their header is, and its length.

    ``found``: for each datagram the offset of its header, the length with the header, and that of the
    payload. ``heard(sockaddr)`` is called when a peer has answered, ``refused(sockaddr)`` when the network
    reports that it cannot be reached.
    """

    __slots__ = (
        "_answers", "_batch", "_contacted", "_family", "_heard", "_latest", "_loop", "_refused", "_rules",
        "_socks", "_traffic",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        batch: Batch,
        traffic: Traffic,
        rules: UdpRules,
        answers: Callable[[list[tuple[int, int, int, int, int]]], None],
        heard: Callable[[bytes], None],
        refused: Callable[[bytes], None],
    ) -> None:
        self._loop = loop
        self._batch = batch
        self._traffic = traffic
        self._rules = rules
        self._answers = answers
        self._heard = heard
        self._refused = refused
        self._socks: dict[int, socket] = {}
        # The peers to which the client has sent, the latest last, with the header for an answer of each.
        self._contacted: dict[bytes, bytes] = {}
        self._latest = b""
        self._family = 0  # of the socket that ``add`` was called for; 0 when nothing waits for ``flush``

    def add(self, family: int, start: int, step: int, size: int, count: int, to: bytes) -> None:
        """Send parts of the batch (see ``Batch.add_many``), no later than with the next ``flush``."""
        if family != self._family:
            self.flush()
            if family not in self._socks:
                try:
                    self._open(family)
                except OSError as err:
                    self._traffic.drop(words_for(err))
                    return
            self._family = family
        if count == 1:
            self._batch.add(start, size, to)
        else:
            self._batch.add_many(start, step, size, count, to)
        if to is not self._latest:
            self._contact(to)

    def flush(self) -> None:
        """Send the parts that were added."""
        if self._family:
            sock, self._family = self._socks[self._family], 0
            datagrams, total = self._batch.send(sock, self._send_alone)
            self._traffic.up += datagrams
            self._traffic.bytes_up += total

    def _send_alone(self, payload: bytes, to: bytes) -> None:
        try:
            self.send(unpack_sockaddr(to), payload)
        except OSError as err:
            self._traffic.drop(words_for(err))

    def send(self, address: SockAddr, payload: bytes | memoryview) -> None:
        """Send ``payload`` to ``address`` at once.

        Raises:
            OSError: the datagram is dropped; the next one may be sent.
        """
        # Datagrams that came before are sent before.
        self.flush()
        family, sockaddr = address
        sock = self._socks.get(family) or self._open(family)
        try:
            sock.sendto(payload, sockaddr)
        except BlockingIOError:
            raise
        except OSError:
            # The error may be an ICMP error for an earlier datagram, which the kernel reports once.
            sock.sendto(payload, sockaddr)
        self._traffic.up += 1
        self._traffic.bytes_up += len(payload)
        self._contact(pack_sockaddr(family, sockaddr))

    def _contact(self, to: bytes) -> None:
        """Accept answers of the peer ``to`` from now on; it becomes the latest."""
        contacted = self._contacted
        header = contacted.pop(to, None)
        if header is None:
            header = _header(unpack_sockaddr(to)[1])
            if len(contacted) >= self._rules.peers:
                del contacted[next(iter(contacted))]
        contacted[to] = header
        self._latest = to

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._socks.values():
            self._loop.close(sock)
        self._socks.clear()
        # These are methods of the owner, so a circle: without this it would stay until the garbage collector
        # runs.
        del self._answers, self._heard, self._refused

    def _open(self, family: int) -> socket:
        sock = udp_socket(family)
        try:
            if family == AF_INET:
                sock.setsockopt(IPPROTO_IP, _IP_RECVERR, 1)
            else:
                sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
                sock.setsockopt(IPPROTO_IPV6, _IPV6_RECVERR, 1)
            self._batch.prepare(sock)
            self._loop.watch(sock.fileno(), IN, lambda events: self._on_events(sock, events))
        except BaseException:
            sock.close()
            raise
        self._socks[family] = sock
        return sock

    def _on_events(self, sock: socket, events: int) -> None:
        if events & ERR:
            self._read_errors(sock)
        memory, contacted, answers = self._batch.memory, self._contacted, []
        peer, at, header_size = b"", 0, 0
        for start, source, length, size in self._batch.receive(sock):
            if source != peer:
                # A burst mostly comes from one peer, so its entry is looked up once.
                known = contacted.get(source)
                if known is None:
                    if not self._rules.any_peer:
                        self._traffic.drop(STRANGERS, sum(1 for _ in datagrams_of(start, length, size)))
                        continue
                    known = _header(unpack_sockaddr(source)[1])
                peer, header_size = source, len(known)
                at = start - header_size
                memory[at:start] = known
                self._heard(source)
            answers.append((start, length, size, at, header_size))
        if answers:
            self._answers(answers)

    def _read_errors(self, sock: socket) -> None:
        for _ in range(_ERRORS):
            try:
                _, ancillary, _, sockaddr = sock.recvmsg(0, 512, MSG_ERRQUEUE)
            except OSError:
                # BlockingIOError: the error queue is empty.
                return
            for _, _, data in ancillary:
                # struct sock_extended_err (ip(7)) begins with the errno. EMSGSIZE is about the size of a
                # datagram, not about the peer, and the kernel has noted the size.
                (number,) = struct.unpack_from("=I", data)
                if number != errno.EMSGSIZE:
                    self._refused(pack_sockaddr(sock.family, sockaddr))


def _header(sockaddr: Any) -> bytes:
    return pack_header(Endpoint(sockaddr[0], sockaddr[1]))
