"""Packets on ``lo``, behind its Ethernet header: reads a SYN, makes the answers (RFC 791, 8200, 9293, 768).

No sockets, no clock. No byte from a program inside is to be trusted: ``read_syn`` returns None for everything
that is not a complete SYN.
"""

from __future__ import annotations

import struct

from pywrap.confine.ruleset import ICMP, ICMPV6, TCP, UDP
from pywrap.frozen import frozen

_ETHERNET = bytes(12)
_IPV4_FRAME, _IPV6_FRAME = b"\x08\x00", b"\x86\xdd"

# An ICMP message has the header and 8 bytes of the packet that it is about (RFC 792, RFC 4443). By the first
# 4 of these the kernel finds the socket; in the others it compares the sequence number of TCP.
_RST_ACK = 0x14
_TTL = 64


@frozen
class Syn:
    """A SYN: addresses of 4 or 16 bytes in network order, ports, and the TCP segment without its data."""

    source: bytes
    port: int
    destination: bytes
    destination_port: int
    sequence: int
    segment: bytes

    @property
    def key(self) -> tuple[bytes, int, bytes, int]:
        """The identity of the connection: both addresses and ports."""
        return self.source, self.port, self.destination, self.destination_port


def read_syn(frame: bytes) -> Syn | None:
    """The SYN in ``frame``, which begins with its Ethernet header; None when ``frame`` is anything else."""
    packet = frame[14:]
    if frame[12:14] == _IPV4_FRAME:
        if len(packet) < 20 or packet[0] >> 4 != 4 or packet[9] != TCP:
            return None
        start, end = (packet[0] & 15) * 4, int.from_bytes(packet[2:4], "big")
        source, destination = packet[12:16], packet[16:20]
        if start < 20:
            return None
    elif frame[12:14] == _IPV6_FRAME:
        if len(packet) < 40 or packet[6] != TCP:
            return None
        start, end = 40, 40 + int.from_bytes(packet[4:6], "big")
        source, destination = packet[8:24], packet[24:40]
    else:
        return None
    segment = packet[start:end]
    if len(segment) < 20:
        return None
    header = (segment[12] >> 4) * 4
    if not 20 <= header <= len(segment) or segment[13] & 0x16 != 2:
        return None
    port, destination_port, sequence = struct.unpack_from("!HHI", segment)
    # Without data in the SYN (TCP Fast Open): the kernel sends it again.
    return Syn(source, port, destination, destination_port, sequence, segment[:header])


def again(syn: Syn) -> bytes:
    """The frame of the same SYN, with a checksum. On lo packets have none, which a network card would add."""
    return _frame(
        syn.source, syn.destination, TCP, _summed(syn.source, syn.destination, TCP, syn.segment, 16)
    )


def reset(syn: Syn) -> bytes:
    """The RST that answers ``syn`` where nothing listens (RFC 9293 section 3.10.7.1): ECONNREFUSED."""
    answer = struct.pack(
        "!HHIIBBHHH",
        *(syn.destination_port, syn.port, 0, syn.sequence + 1 & 0xFFFFFFFF),
        *(0x50, _RST_ACK, 0, 0, 0),
    )
    return _frame(syn.destination, syn.source, TCP, _summed(syn.destination, syn.source, TCP, answer, 16))


def unreachable(syn: Syn, kind: int, code: int) -> bytes:
    """The ICMP message of type ``kind`` about ``syn``, from the destination's address (RFC 792, RFC 4443)."""
    return _error(syn.source, syn.destination, TCP, syn.segment, kind, code)


def datagram(source: bytes, port: int, destination: bytes, destination_port: int, data: bytes) -> bytes:
    """The frame of a UDP datagram (RFC 768) with the payload ``data``."""
    segment = struct.pack("!HHHH", port, destination_port, 8 + len(data), 0) + data
    return _frame(source, destination, UDP, _summed(source, destination, UDP, segment, 6))


def port_unreachable(source: bytes, port: int, destination: bytes, destination_port: int) -> bytes:
    """The ICMP "port unreachable" about a datagram from ``source`` to ``destination``: ECONNREFUSED."""
    kind, code = (3, 3) if len(source) == 4 else (1, 4)
    about = struct.pack("!HHHH", port, destination_port, 8, 0)
    return _error(source, destination, UDP, about, kind, code)


def _error(source: bytes, destination: bytes, protocol: int, about: bytes, kind: int, code: int) -> bytes:
    quoted = _packet(source, destination, protocol, about)
    message = struct.pack("!BBHI", kind, code, 0, 0) + quoted
    if len(source) == 4:
        # RFC 792: the checksum is over the message alone; in ICMPv6 over a pseudo header too.
        return _frame(destination, source, ICMP, message[:2] + _sum(message) + message[4:])
    return _frame(destination, source, ICMPV6, _summed(destination, source, ICMPV6, message, 2))


def _frame(source: bytes, destination: bytes, protocol: int, body: bytes) -> bytes:
    kind = _IPV4_FRAME if len(source) == 4 else _IPV6_FRAME
    return _ETHERNET + kind + _packet(source, destination, protocol, body)


def _packet(source: bytes, destination: bytes, protocol: int, body: bytes) -> bytes:
    if len(source) == 16:
        return struct.pack("!IHBB", 0x60000000, len(body), protocol, _TTL) + source + destination + body
    # +-------+-----+--------+----+-------+-----+----------+-----+--------+-------------+
    # |VER/IHL| TOS | LENGTH | ID | FRAG  | TTL | PROTOCOL | SUM | SOURCE | DESTINATION |
    # +-------+-----+--------+----+-------+-----+----------+-----+--------+-------------+
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, _TTL, protocol, 0) + source + destination
    return head[:10] + _sum(head) + head[12:] + body


def _summed(source: bytes, destination: bytes, protocol: int, body: bytes, at: int) -> bytes:
    """``body`` with its checksum at ``at``, over the pseudo header of its family too."""
    body = body[:at] + b"\0\0" + body[at + 2 :]
    pseudo = source + destination + struct.pack("!II", len(body), protocol)
    found = _sum(pseudo + body)
    if protocol == UDP and found == b"\0\0":
        # 0 would mean that there is no checksum (RFC 768).
        found = b"\xff\xff"
    return body[:at] + found + body[at + 2 :]


def _sum(data: bytes) -> bytes:
    """RFC 1071: the sum of 16-bit words, in ones' complement."""
    # The sum of the digits of a number, carries folded in, is the number modulo base - 1: one operation in C.
    if len(data) % 2:
        data += b"\0"
    total = int.from_bytes(data, "big") % 0xFFFF
    # In ones' complement 0 and 0xffff are both zero; the sum of words that are not all 0 is 0xffff.
    if total == 0 and any(data):
        total = 0xFFFF
    return (~total & 0xFFFF).to_bytes(2, "big")
