"""The functions we replace, as they were, and the way back to them.

Bound on import, which happens before any patch and before the program can replace them itself
(gevent, eventlet). Our own code calls these, so a patch never meets itself.
"""

from __future__ import annotations

import _socket
import _thread
import select

from pywrap.intercept import epoll as _epoll
from pywrap.intercept.patching import Patches as Patches

Socket = _socket.socket
AF_UNIX, SOCK_SEQPACKET, SOCK_CLOEXEC = _socket.AF_UNIX, _socket.SOCK_SEQPACKET, _socket.SOCK_CLOEXEC

accept = _socket.socket._accept  # type: ignore[attr-defined]
bind = _socket.socket.bind
close = _socket.socket.close
connect = _socket.socket.connect
connect_ex = _socket.socket.connect_ex
fileno = _socket.socket.fileno
getpeername = _socket.socket.getpeername
getsockname = _socket.socket.getsockname
getsockopt = _socket.socket.getsockopt
gettimeout = _socket.socket.gettimeout
listen = _socket.socket.listen
recv = _socket.socket.recv
recv_into = _socket.socket.recv_into
recvfrom = _socket.socket.recvfrom
recvfrom_into = _socket.socket.recvfrom_into
recvmsg = _socket.socket.recvmsg
recvmsg_into = _socket.socket.recvmsg_into
send = _socket.socket.send
sendmsg = _socket.socket.sendmsg
sendto = _socket.socket.sendto
setblocking = _socket.socket.setblocking
setsockopt = _socket.socket.setsockopt
settimeout = _socket.socket.settimeout
shutdown = _socket.socket.shutdown

dup = _socket.dup
socketpair = _socket.socketpair
getaddrinfo = _socket.getaddrinfo
gethostbyaddr = _socket.gethostbyaddr
gethostbyname = _socket.gethostbyname
gethostbyname_ex = _socket.gethostbyname_ex
getnameinfo = _socket.getnameinfo

epoll = _epoll.Real
poll = select.poll

RLock = _thread.RLock
allocate_lock = _thread.allocate_lock
start_new_thread = _thread.start_new_thread

# The descriptors of the C class. The properties of socket.socket make an enum of each value, which takes
# time.
_family = _socket.socket.family
_type = _socket.socket.type
_proto = _socket.socket.proto


# Protocols of a stream socket that a tunnel can stand for: unspecified, TCP, and MPTCP, which falls
# back to TCP with every proxy that does not know it.
TCP = (0, _socket.IPPROTO_TCP, 262)

# Families of sockets whose addresses C reads as those of IPv4 or IPv6, resolving names. RDS has IPv4
# addresses; and a program may make a socket object of that family for the descriptor of any socket.
_ADDRESSED = (_socket.AF_INET, _socket.AF_INET6, getattr(_socket, "AF_RDS", 21))


def family_type_proto(sock: _socket.socket) -> tuple[int, int, int]:
    """The family, type and protocol that ``sock`` was made with (socket(2))."""
    return _family.__get__(sock), _type.__get__(sock), _proto.__get__(sock)


def family(sock: _socket.socket) -> int:
    """The address family that ``sock`` was made with, such as AF_INET."""
    return _family.__get__(sock)  # type: ignore[no-any-return]


def is_inet(sock: _socket.socket) -> bool:
    """Whether C reads IPv4 or IPv6 addresses for ``sock``, so that its traffic can leave this machine."""
    return _family.__get__(sock) in _ADDRESSED


def is_tcp(sock: _socket.socket) -> bool:
    """Whether ``sock`` is a TCP socket of IPv4 or IPv6, so that a tunnel can take its place."""
    return (
        _type.__get__(sock) == _socket.SOCK_STREAM
        and _proto.__get__(sock) in TCP
        and _family.__get__(sock) in (_socket.AF_INET, _socket.AF_INET6)
    )


def is_datagram(sock: _socket.socket) -> bool:
    """Whether ``sock`` is a datagram socket of IPv4 or IPv6."""
    return _type.__get__(sock) == _socket.SOCK_DGRAM and _family.__get__(sock) in (
        _socket.AF_INET,
        _socket.AF_INET6,
    )
