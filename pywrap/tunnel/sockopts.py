"""Copies the options of a socket to another one that replaces it.

All options that Linux lets a process read and set, by number where Python has no name for one. Left out are

* options that cannot be read: multicast groups, filters;
* options that the kernel itself changes, also through a connection: SO_INCOMING_CPU, SO_PEEK_OFF, TCP_MAXSEG,
  TCP_WINDOW_CLAMP, TCP_QUICKACK;
* options that act when they are set: IPV6_ADDRFORM, SO_LOCK_FILTER, TCP_REPAIR;
* the sizes of buffers that the program has not set: the kernel stops growing a buffer whose size was set;
* options that split or join datagrams, which no proxy can do: UDP_SEGMENT, UDP_GRO.
"""

from __future__ import annotations

import _socket
import sys

_SOL_UDP = 17

# As in asm-generic/socket.h.
_SO_BUF_LOCK = 72
_BOTH_BUFFERS = 3

# A few architectures (MIPS, SPARC) have other numbers for SOL_SOCKET and for the options of this level.
_IS_USUAL = _socket.SOL_SOCKET == 1


def copy_options(old: _socket.socket, fresh: _socket.socket) -> None:
    """Give ``fresh`` the options of ``old``. It may be an AF_INET6 socket that replaces an AF_INET one.

    Raises:
        OSError: the kernel refuses to set an option that it has reported.
    """
    locked = _locked_buffers(old)
    for level, option, size in _OPTIONS:
        if (level, option) in _BUFFERS and not locked & _BUFFERS[level, option]:
            continue
        _copy(old, fresh, (level, option), (level, option), size)
    if old.family != fresh.family:
        for theirs, ours in _COUNTERPARTS:
            _copy(old, fresh, (_socket.IPPROTO_IP, theirs), (_socket.IPPROTO_IPV6, ours), 4)
    # At the end, since setting IP_TOS changes SO_PRIORITY as well.
    _copy(old, fresh, _PRIORITY, _PRIORITY, 4)


def _copy(
    old: _socket.socket, fresh: _socket.socket, theirs: tuple[int, int], ours: tuple[int, int], size: int
) -> None:
    try:
        value = old.getsockopt(*theirs, size)
        if value == fresh.getsockopt(*ours, size):
            return
    except OSError:
        # The option is for another family or type of socket, or this kernel does not know it.
        return
    if ours in _BUFFERS:
        # The kernel reports twice the size that was set (socket(7)).
        value = (int.from_bytes(value, sys.byteorder) // 2).to_bytes(4, sys.byteorder)
    fresh.setsockopt(*ours, value)


def _locked_buffers(sock: _socket.socket) -> int:
    """The bits (SO_BUF_LOCK) of the buffers whose size the program has set; both where they are unknown."""
    if not _IS_USUAL:
        return _BOTH_BUFFERS
    try:
        return sock.getsockopt(_socket.SOL_SOCKET, _SO_BUF_LOCK)
    except OSError:
        # Linux before 5.14 has no SO_BUF_LOCK.
        return _BOTH_BUFFERS


def _numbers(level: int, words: str) -> list[int]:
    """The numbers of options: names of the socket module, or ``name=number`` where that may lack the name."""
    is_known = level != _socket.SOL_SOCKET or _IS_USUAL
    found = []
    for word in words.split():
        name, _, number = word.partition("=")
        known = getattr(_socket, name, int(number) if number and is_known else None)
        if known is not None:
            found.append(known)
    return found


_PRIORITY = (_socket.SOL_SOCKET, _socket.SO_PRIORITY)

# Level and option, and the bit of SO_BUF_LOCK that says whether the program has set it.
_BUFFERS = {(_socket.SOL_SOCKET, _socket.SO_SNDBUF): 1, (_socket.SOL_SOCKET, _socket.SO_RCVBUF): 2}

# Level, option, and the size of its value in bytes.
_OPTIONS = tuple(
    (level, number, size)
    for level, size, words in (
        (
            *(_socket.SOL_SOCKET, 4),
            """
            SO_DEBUG SO_REUSEADDR SO_REUSEPORT SO_KEEPALIVE SO_OOBINLINE SO_BROADCAST SO_DONTROUTE SO_MARK
            SO_RCVBUF SO_SNDBUF SO_RCVLOWAT SO_NO_CHECK=11 SO_PASSSEC=34 SO_RXQ_OVFL=40 SO_WIFI_STATUS=41
            SO_NOFCS=43 SO_SELECT_ERR_QUEUE=45 SO_BUSY_POLL=46 SO_ZEROCOPY=60 SO_PREFER_BUSY_POLL=69
            SO_RCVMARK=75 SO_RCVPRIORITY=82
            SO_TIMESTAMP=29 SO_TIMESTAMPNS=35 SO_TIMESTAMP_NEW=63 SO_TIMESTAMPNS_NEW=64
            """,
        ),
        (
            *(_socket.SOL_SOCKET, 8),
            "SO_LINGER SO_TIMESTAMPING=37 SO_TIMESTAMPING_NEW=65 SO_TXTIME=61 SO_MAX_PACING_RATE=47",
        ),
        (_socket.SOL_SOCKET, 16, "SO_RCVTIMEO SO_SNDTIMEO SO_BINDTODEVICE"),
        (
            *(_socket.IPPROTO_TCP, 4),
            """
            TCP_NODELAY TCP_CORK TCP_KEEPIDLE TCP_KEEPINTVL TCP_KEEPCNT TCP_SYNCNT TCP_LINGER2
            TCP_DEFER_ACCEPT TCP_THIN_LINEAR_TIMEOUTS=16 TCP_USER_TIMEOUT=18 TCP_NOTSENT_LOWAT=25
            TCP_SAVE_SYN=27 TCP_INQ=36 TCP_TX_DELAY=37
            """,
        ),
        (_socket.IPPROTO_TCP, 16, "TCP_CONGESTION=13"),
        (_SOL_UDP, 4, "UDP_CORK=1 UDP_NO_CHECK6_TX=101 UDP_NO_CHECK6_RX=102"),
        (
            *(_socket.IPPROTO_IP, 4),
            """
            IP_TOS IP_TTL IP_MINTTL=21 IP_MTU_DISCOVER=10 IP_FREEBIND=15 IP_TRANSPARENT=19 IP_UNICAST_IF=50
            IP_BIND_ADDRESS_NO_PORT=24 IP_LOCAL_PORT_RANGE=51
            IP_MULTICAST_IF IP_MULTICAST_TTL IP_MULTICAST_LOOP IP_MULTICAST_ALL=49
            IP_RECVERR=11 IP_RECVERR_RFC4884=26 IP_PKTINFO=8 IP_RECVTTL=12 IP_RECVTOS=13 IP_RECVOPTS=6
            IP_RETOPTS=7 IP_PASSSEC=18 IP_RECVORIGDSTADDR=20 IP_CHECKSUM=23 IP_RECVFRAGSIZE=25
            """,
        ),
        (_socket.IPPROTO_IP, 40, "IP_OPTIONS"),
        (
            *(_socket.IPPROTO_IPV6, 4),
            """
            IPV6_V6ONLY IPV6_UNICAST_HOPS IPV6_MINHOPCOUNT=73 IPV6_TCLASS IPV6_MTU_DISCOVER=23 IPV6_DONTFRAG
            IPV6_FREEBIND=78 IPV6_TRANSPARENT=75 IPV6_UNICAST_IF=76 IPV6_ADDR_PREFERENCES=72
            IPV6_FLOWINFO_SEND=33 IPV6_AUTOFLOWLABEL=70
            IPV6_MULTICAST_IF IPV6_MULTICAST_HOPS IPV6_MULTICAST_LOOP IPV6_MULTICAST_ALL=29
            IPV6_RECVERR=25 IPV6_RECVERR_RFC4884=31 IPV6_RECVPKTINFO IPV6_RECVHOPLIMIT IPV6_RECVTCLASS
            IPV6_RECVPATHMTU IPV6_RECVHOPOPTS IPV6_RECVRTHDR IPV6_RECVDSTOPTS IPV6_RECVORIGDSTADDR=74
            IPV6_RECVFRAGSIZE=77 IPV6_FLOWINFO=11 IPV6_2292PKTINFO=2 IPV6_2292HOPLIMIT=8
            """,
        ),
        (_socket.IPPROTO_IPV6, 1024, "IPV6_HOPOPTS IPV6_RTHDRDSTOPTS IPV6_RTHDR IPV6_DSTOPTS"),
    )
    for number in _numbers(level, words)
)

# Options of IPv4 for outgoing packets, and their counterparts of IPv6: on an AF_INET6 socket the former apply
# to IPv4-mapped addresses only. Options for incoming packets (IP_PKTINFO) are left out: the program would get
# control messages of IPv6, which it does not expect.
_COUNTERPARTS = tuple(
    (theirs, ours)
    for words in (
        "IP_TOS IPV6_TCLASS",
        "IP_TTL IPV6_UNICAST_HOPS",
        "IP_MTU_DISCOVER=10 IPV6_MTU_DISCOVER=23",
        "IP_UNICAST_IF=50 IPV6_UNICAST_IF=76",
        "IP_MULTICAST_TTL IPV6_MULTICAST_HOPS",
        "IP_MULTICAST_LOOP IPV6_MULTICAST_LOOP",
    )
    for theirs, ours in (_numbers(_socket.IPPROTO_IP, words),)
)
