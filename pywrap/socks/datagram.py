"""The header of a UDP datagram through a SOCKS5 proxy (RFC 1928 section 7), and its fragments.

A datagram arrives whole, so these are plain functions, not dialogues. No sockets, no logging, no clock: the
caller passes the time.
"""

from __future__ import annotations

from pywrap.errors import ProtocolError, counted
from pywrap.frozen import frozen
from pywrap.socks.v5 import IPV4, IPV6, NAME, pack_endpoint
from pywrap.socks.wire import Endpoint, unmapped_bytes, unpacked

# RSV, FRAG, ATYP, a name of 255 bytes with its length, a port.
LONGEST_HEADER = 2 + 1 + 1 + 1 + 255 + 2

# Section 7: "The reassembly timer MUST be no less than 5 seconds."
REASSEMBLY_SECONDS = 5.0

# Bytes that a sequence of fragments may have in all: the longest payload of UDP over IPv4 (RFC 768).
LONGEST_PAYLOAD = 65507


@frozen
class Header:
    """The header of a datagram. ``size``: its length in bytes, so the offset of the payload.

    ``endpoint``: the destination, or the source when the datagram comes from the proxy. ``fragment``: 0 for
    a datagram that is not fragmented; else the position of the fragment, from 1, with the highest bit (0x80)
    set in the last one.
    """

    endpoint: Endpoint
    fragment: int
    size: int


def pack_header(endpoint: Endpoint) -> bytes:
    """The header of a datagram that is not fragmented (RFC 1928 section 7, FRAG 0).

    Raises:
        Unencodable: the name is empty, too long, or not ASCII.
    """
    # +----+------+------+----------+----------+----------+
    # |RSV | FRAG | ATYP | DST.ADDR | DST.PORT |   DATA   |
    # +----+------+------+----------+----------+----------+
    # | 2  |  1   |  1   | Variable |    2     | Variable |
    # +----+------+------+----------+----------+----------+
    return b"\0\0\0" + pack_endpoint(endpoint)


def unpack_header(data: bytes | memoryview) -> Header:
    """Read the header (RFC 1928 section 7) at the start of ``data``, a whole datagram.

    Raises:
        ProtocolError: there is no valid header; the caller drops such a datagram.
    """
    if len(data) < 4:
        raise ProtocolError(f"a datagram of {counted(len(data), 'byte')} has no SOCKS header")
    kind = data[3]
    if kind == IPV4:
        start, end = 4, 8
    elif kind == IPV6:
        start, end = 4, 20
    elif kind == NAME and len(data) > 4:
        start, end = 5, 5 + data[4]
    else:
        raise ProtocolError(f"a datagram with an unknown address type: {kind}")
    if len(data) < end + 2:
        raise ProtocolError("a datagram ends within its SOCKS header")
    address = bytes(data[start:end])
    if kind != NAME:
        # Servers with one IPv6 socket for both families write IPv4 addresses as IPv4-mapped IPv6 ones.
        host = unpacked(unmapped_bytes(address))
    elif not address or b"\0" in address:
        raise ProtocolError("a datagram with an empty name, or a NUL in it")
    else:
        host = address.decode("ascii", "backslashreplace")
    return Header(Endpoint(host, data[end] << 8 | data[end + 1]), data[2], end + 2)


class Reassembly:
    """Puts fragments together; one object for each association and direction.

    As RFC 1928 section 7 says, a fragment with a lower number than the highest one so far begins a new
    sequence, and a sequence that is not complete when its timer ends is dropped. A sequence with a gap is
    dropped too: fragments are not sorted. ``abandoned``: how many fragments the last ``add`` has dropped.
    """

    __slots__ = ("_endpoint", "_expires", "_highest", "_pieces", "_size", "abandoned")

    def __init__(self) -> None:
        self._endpoint: Endpoint | None = None
        self._expires = 0.0
        self._highest = 0
        self._size = 0
        self._pieces: list[bytes] = []
        self.abandoned = 0

    def add(self, header: Header, payload: bytes, now: float) -> bytes | None:
        """Take a fragment; return the payload of the datagram when it is complete, else None.

        ``header``: of this fragment, with ``fragment`` not 0. ``now``: seconds of the monotonic clock.
        """
        position, last = header.fragment & 0x7F, bool(header.fragment & 0x80)
        self.abandoned = 0
        if self._pieces and now < self._expires and header.endpoint == self._endpoint:
            if position == self._highest > 1:
                # The network has duplicated this fragment. (A duplicate of the first one begins the sequence
                # again, with the same result.)
                self.abandoned = 1
                return None
        else:
            self.abandoned = self.abandon()
        if position <= self._highest:
            self.abandoned = self.abandon()
        if position != self._highest + 1 or self._size + len(payload) > LONGEST_PAYLOAD:
            self.abandoned += self.abandon() + 1
            return None
        if position == 1:
            self._endpoint, self._expires = header.endpoint, now + REASSEMBLY_SECONDS
        self._highest = position
        self._pieces.append(payload)
        self._size += len(payload)
        if not last:
            return None
        whole = b"".join(self._pieces)
        self.abandon()
        return whole

    def copy(self) -> Reassembly:
        """A copy, to see what a fragment would do."""
        other = Reassembly()
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        other._pieces = self._pieces.copy()
        return other

    def abandon(self) -> int:
        """Drop the fragments of the present sequence; return how many there were."""
        count = len(self._pieces)
        self._endpoint = None
        self._highest = self._size = 0
        self._pieces = []
        return count
