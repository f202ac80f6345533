"""Tries to get past the proxy in every way that should be refused: leak.py [ATTEMPT]...

Prints for each attempt the errno or the name of the exception, or what it got. The addresses are those for
documentation, and what runs this sees to it that nothing gets there.
"""

import _socket
import asyncio
import errno
import json
import socket
import sys

HOST, HOST_6, NAME = "192.0.2.1", "2001:db8::1", "elsewhere.test"
GROUP, EVERYBODY = "239.255.255.250", "255.255.255.255"
MESSAGE = b"hello"

# The class below socket.socket, which cannot be patched, whatever is in _socket under that name.
C = socket.socket.__base__

# C reads the addresses of that family as IPv4 ones, whatever socket the kernel has.
AF_RDS = 21

# linux/tcp.h; Python 3.11 has no name for it.
TCP_FASTOPEN_CONNECT = 30


def udp(family=socket.AF_INET):
    return socket.socket(family, socket.SOCK_DGRAM)


def tcp():
    return socket.socket()


def broadcast(address):
    sock = udp()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    return sock.sendto(MESSAGE, (address, 9))


def fast_open_by_option():
    sock = C()
    sock.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
    return sock.connect((HOST, 80))


def stated(family, kind=socket.SOCK_STREAM):
    """A socket object that says another family than its descriptor has."""
    return socket.socket(family, kind, fileno=socket.socket(socket.AF_INET, kind).detach())


def refused(number):
    # connect_ex() returns what others raise.
    if number:
        raise OSError(number, "")


async def datagram_endpoint():
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=(HOST, 9))


async def sock_sendto():
    sock = udp()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_sendto(sock, MESSAGE, (HOST, 9))


async def unconnected_endpoint():
    lost = asyncio.get_running_loop().create_future()

    class Protocol(asyncio.DatagramProtocol):
        def error_received(self, exc):
            lost.set_exception(exc)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Protocol, local_addr=("127.0.0.1", 0))
    transport.sendto(MESSAGE, (HOST, 9))
    try:
        await asyncio.wait_for(lost, 10)
    finally:
        transport.close()


ATTEMPTS = {
    "udp sendto": lambda: udp().sendto(MESSAGE, (HOST, 9)),
    "udp sendto with flags": lambda: udp().sendto(MESSAGE, 0, (HOST, 9)),
    "udp sendto over ipv6": lambda: udp(socket.AF_INET6).sendto(MESSAGE, (HOST_6, 9, 0, 0)),
    "udp sendto in IPv4-mapped IPv6": lambda: udp(socket.AF_INET6).sendto(MESSAGE, (f"::ffff:{HOST}", 9)),
    "udp sendmsg": lambda: udp().sendmsg([MESSAGE], [], 0, (HOST, 9)),
    "udp connect": lambda: udp().connect((HOST, 9)),
    "udp connect_ex": lambda: refused(udp().connect_ex((HOST, 9))),
    "udp to a name server": lambda: udp().sendto(MESSAGE, (HOST, 53)),
    "udp sendto a name": lambda: udp().sendto(MESSAGE, (NAME, 9)),
    "udp sendmsg to a name": lambda: udp().sendmsg([MESSAGE], [], 0, (NAME, 9)),
    "udp connect to a name": lambda: udp().connect((NAME, 9)),
    "udp multicast": lambda: udp().sendto(MESSAGE, (GROUP, 1900)),
    "udp broadcast": lambda: broadcast(EVERYBODY),
    "udp broadcast by its name": lambda: broadcast("<broadcast>"),
    "udp of asyncio": lambda: asyncio.run(datagram_endpoint()),
    "udp of asyncio, not connected": lambda: asyncio.run(unconnected_endpoint()),
    "udp of asyncio, a socket of its own": lambda: asyncio.run(sock_sendto()),
    "fast open by sendto": lambda: tcp().sendto(MESSAGE, socket.MSG_FASTOPEN, (HOST, 80)),
    "fast open by sendmsg": lambda: tcp().sendmsg([MESSAGE], [], socket.MSG_FASTOPEN, (HOST, 80)),
    "fast open by sendto, to a name": lambda: tcp().sendto(MESSAGE, socket.MSG_FASTOPEN, (NAME, 80)),
    "fast open by an option": fast_open_by_option,
    "_socket sendto": lambda: _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM).sendto(MESSAGE, (HOST, 9)),
    "_socket sendmsg": lambda: _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM).sendmsg(
        [MESSAGE], [], 0, (HOST, 9)
    ),
    "_socket sendto a name": lambda: _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM).sendto(
        MESSAGE, (NAME, 9)
    ),
    "_socket bind to a name": lambda: _socket.socket().bind((NAME, 0)),
    "c class connect": lambda: C().connect((HOST, 80)),
    "c class connect_ex": lambda: C().connect_ex((HOST, 80)),
    "c class connect of a socket": lambda: C.connect(tcp(), (HOST, 80)),
    "c class sendto": lambda: C(socket.AF_INET, socket.SOCK_DGRAM).sendto(MESSAGE, (HOST, 9)),
    "c class sendmsg": lambda: C.sendmsg(udp(), [MESSAGE], [], 0, (HOST, 9)),
    "a descriptor stated as RDS": lambda: stated(AF_RDS).connect((HOST, 80)),
    "a descriptor stated as RDS, connect_ex": lambda: refused(stated(AF_RDS).connect_ex((HOST, 80))),
    "a descriptor stated as RDS, by _socket": lambda: C.connect(stated(AF_RDS), (HOST, 80)),
    "a descriptor stated as RDS, to a name": lambda: stated(AF_RDS).connect((NAME, 80)),
    "a descriptor stated as RDS, bind to a name": lambda: stated(AF_RDS).bind((NAME, 0)),
    "a descriptor stated as RDS, sendto": lambda: stated(AF_RDS, socket.SOCK_DGRAM).sendto(
        MESSAGE, (HOST, 9)
    ),
    "a descriptor stated as RDS, sendmsg": lambda: stated(AF_RDS, socket.SOCK_DGRAM).sendmsg(
        [MESSAGE], [], 0, (HOST, 9)
    ),
    "sctp": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).connect(
        (HOST, 80)
    ),
    "raw icmp": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).sendto(
        bytes(8), (HOST, 0)
    ),
    "raw connect": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).connect(
        (HOST, 0)
    ),
    "ping socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).sendto(
        bytes(8), (HOST, 0)
    ),
    "packet": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "packet by _socket": lambda: _socket.socket(_socket.AF_PACKET, _socket.SOCK_DGRAM, 0),
    "c class connect to a name": lambda: C().connect((NAME, 80)),
    "c class sendto a name": lambda: C(socket.AF_INET, socket.SOCK_DGRAM).sendto(MESSAGE, (NAME, 9)),
    "c class bind to a name": lambda: C().bind((NAME, 0)),
    "bind to a name": lambda: tcp().bind((NAME, 0)),
    "a server at a name": lambda: socket.create_server((NAME, 0)),
    "an address with a scope": lambda: socket.socket(socket.AF_INET6).connect(("fe80::1%lo", 80)),
    "getaddrinfo": lambda: sorted({row[4][0] for row in socket.getaddrinfo(NAME, 80)}),
    "getaddrinfo of bytes": lambda: socket.getaddrinfo(NAME.encode(), 80)[0][4][0],
    "getaddrinfo of _socket": lambda: _socket.getaddrinfo(NAME, 80)[0][4][0],
    "getaddrinfo, ipv6": lambda: socket.getaddrinfo(NAME, 80, socket.AF_INET6)[0][4][0],
    "getaddrinfo of asyncio": lambda: asyncio.run(asyncio_getaddrinfo())[0][4][0],
    "gethostbyname": lambda: socket.gethostbyname(NAME),
    "gethostbyname_ex": lambda: socket.gethostbyname_ex(NAME)[2],
    "gethostbyaddr": lambda: socket.gethostbyaddr(HOST),
    "gethostbyaddr, ipv6": lambda: socket.gethostbyaddr(HOST_6),
    "gethostbyaddr of a name": lambda: socket.gethostbyaddr(NAME)[0],
    "getfqdn of a name": lambda: socket.getfqdn(NAME),
    "getfqdn of an address": lambda: socket.getfqdn(HOST),
    "getfqdn of this machine": lambda: bool(socket.getfqdn()),
    "this machine": lambda: bool(socket.gethostbyname(socket.gethostname())),
    "getnameinfo": lambda: socket.getnameinfo((HOST, 80), socket.NI_NUMERICSERV)[0],
    "getnameinfo, ipv6": lambda: socket.getnameinfo((HOST_6, 80, 0, 0), socket.NI_NUMERICSERV)[0],
    "getnameinfo, a name required": lambda: socket.getnameinfo((HOST, 80), socket.NI_NAMEREQD),
    # The C code takes the address for one that has to be resolved.
    "getnameinfo of a name": lambda: socket.getnameinfo((NAME, 80), 0),
}


async def asyncio_getaddrinfo():
    return await asyncio.get_running_loop().getaddrinfo(NAME, 80)


def outcome(attempt):
    try:
        result = attempt()
    except (socket.gaierror, socket.herror) as err:
        return type(err).__name__
    except OSError as err:
        return errno.errorcode.get(err.errno, type(err).__name__)
    except Exception as err:
        return type(err).__name__
    return [result]


wanted = sys.argv[1:] or ATTEMPTS
print(json.dumps({name: outcome(ATTEMPTS[name]) for name in wanted}))
