"""The sockets that are made inside and handed to the broker: TCP, UDP, packet and netlink sockets.

A socket belongs to the network namespace in which it was made, whichever process has it: by these few sockets
the broker, which stays outside, serves the program inside.

* Two listeners and two datagram sockets, one for each family, bound to a port that programs do not use. They
  are transparent (IP_TRANSPARENT, tcp(7), Documentation/networking/tproxy.rst): the packet filter gives them
  the packets to all destinations, and an accepted connection has the address that the program asked for.
* A packet socket on ``lo``, which sees the first SYN of each connection before the filter drops it, and by
  which the broker answers. A filter in the kernel (BPF) keeps all other packets from it.
* A netlink socket, to ask whether a program listens on loopback (sock_diag(7)).
"""

from __future__ import annotations

import struct
from _socket import (
    AF_INET,
    AF_INET6,
    AF_NETLINK,
    AF_PACKET,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SO_RCVBUF,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOCK_NONBLOCK,
    SOCK_RAW,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)

from pywrap.confine import kernel, netlink, ruleset

# linux/in.h, linux/in6.h, asm-generic/socket.h
_SOL_IP, _SOL_IPV6 = 0, 41
_IP_TRANSPARENT, _IPV6_TRANSPARENT = 19, 75
ORIGINAL_DESTINATION = {(_SOL_IP, 20), (_SOL_IPV6, 74)}
_IP_RECVORIGDSTADDR, _IPV6_RECVORIGDSTADDR = 20, 74
_SO_MARK = 36
_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33

# Connections that wait for being accepted, of each family.
BACKLOG = 4096
# Bytes of the receive buffers, for bursts of SYNs and of datagrams: a SYN that is lost comes again a second
# later.
_RECEIVE_BUFFER = 8 << 20

_ALL_FRAMES, _IPV4_FRAME, _IPV6_FRAME = 0x0003, 0x0800, 0x86DD

# How many bytes of a frame are read: 14 of Ethernet, 60 of IP, 60 of TCP, and some more; not the data of a
# SYN.
LONGEST = 256

# linux/filter.h: code, jump if true, jump if false, operand.
_LOAD_BYTE, _LOAD_HALF, _LOAD_WORD = 0x30, 0x28, 0x20
_LOAD_BYTE_X, _LOAD_HEADER_LENGTH = 0x50, 0xB1
_EQUAL, _ANY_BIT, _JUMP, _AND, _RETURN = 0x15, 0x45, 0x05, 0x54, 0x06
_PACKET_TYPE = -0x1000 + 4 & 0xFFFFFFFF  # SKF_AD_OFF + SKF_AD_PKTTYPE
_OUTGOING = 4

SYN, SYN_ACK_RST = 0x02, 0x16

# Offsets count from the Ethernet header. On lo there is one too, all zeros except for the type.
FILTER = (
    # Each packet passes this filter twice: as it leaves and as it comes back. Only the latter is wanted.
    (_LOAD_WORD, 0, 0, _PACKET_TYPE),
    (_EQUAL, 0, 15, _OUTGOING),
    (_LOAD_HALF, 0, 0, 12),
    (_EQUAL, 1, 0, _IPV4_FRAME),
    (_EQUAL, 7, 12, _IPV6_FRAME),
    # IPv4: TCP, no fragment, and the flags behind a header of any length.
    (_LOAD_BYTE, 0, 0, 23),
    (_EQUAL, 0, 10, ruleset.TCP),
    (_LOAD_HALF, 0, 0, 20),
    (_ANY_BIT, 8, 0, 0x3FFF),
    (_LOAD_HEADER_LENGTH, 0, 0, 14),
    (_LOAD_BYTE_X, 0, 0, 14 + 13),
    (_JUMP, 0, 0, 3),
    # IPv6: TCP without extension headers.
    (_LOAD_BYTE, 0, 0, 20),
    (_EQUAL, 0, 3, ruleset.TCP),
    (_LOAD_BYTE, 0, 0, 14 + 40 + 13),
    (_AND, 0, 0, SYN_ACK_RST),
    (_EQUAL, 1, 0, SYN),
    (_RETURN, 0, 0, 0),
    (_RETURN, 0, 0, LONGEST),
)


class Sockets:
    """All sockets of a confinement, in the order of the hand-over; without IPv6 there are two less."""

    def __init__(self, sockets: list[socket]) -> None:
        self.packets, self.questions, *rest = sockets
        self.listeners = [sock for sock in rest if sock.type == SOCK_STREAM]
        self.datagrams = [sock for sock in rest if sock.type == SOCK_DGRAM]


def make(ipv6: bool) -> list[socket]:
    """Make the sockets; called in the namespace, with its capabilities. ``ipv6``: also those for IPv6.

    Raises:
        OSError: the kernel refuses, or has no such sockets.
    """
    families = (AF_INET, AF_INET6) if ipv6 else (AF_INET,)
    made = [_packets(), questions()]
    for family in families:
        listener = _transparent(family, SOCK_STREAM)
        listener.listen(BACKLOG)
        made += [listener, _transparent(family, SOCK_DGRAM)]
    return made


def _packets() -> socket:
    # Protocol 0 receives nothing, until the filter is attached.
    sock = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
    program = kernel.memory(b"".join(struct.pack("=HBBI", *step) for step in FILTER))
    pointer = struct.pack("@HP", len(FILTER), kernel.address(program))
    sock.setsockopt(SOL_SOCKET, _SO_ATTACH_FILTER, pointer)
    sock.setsockopt(SOL_SOCKET, _SO_MARK, ruleset.OURS)
    _enlarge(sock)
    sock.bind(("lo", _ALL_FRAMES))
    return sock


def questions() -> socket:
    """A netlink socket for sock_diag(7), of the network namespace of this process."""
    return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, netlink.SOCK_DIAG)


def _transparent(family: int, kind: int) -> socket:
    sock = socket(family, kind | SOCK_CLOEXEC | SOCK_NONBLOCK)
    if family == AF_INET6:
        sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        sock.setsockopt(_SOL_IPV6, _IPV6_TRANSPARENT, 1)
    else:
        sock.setsockopt(_SOL_IP, _IP_TRANSPARENT, 1)
    if kind == SOCK_DGRAM:
        if family == AF_INET6:
            sock.setsockopt(_SOL_IPV6, _IPV6_RECVORIGDSTADDR, 1)
        else:
            sock.setsockopt(_SOL_IP, _IP_RECVORIGDSTADDR, 1)
        _enlarge(sock)
    sock.bind(("::" if family == AF_INET6 else "0.0.0.0", ruleset.PORT))
    return sock


def _enlarge(sock: socket) -> None:
    try:
        sock.setsockopt(SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    except PermissionError:
        # Without the capability for a larger buffer: as much as net.core.rmem_max allows.
        sock.setsockopt(SOL_SOCKET, SO_RCVBUF, _RECEIVE_BUFFER)
