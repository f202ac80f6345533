"""What a confined program tries: python -I -S inside.py FUNCTION ARGUMENTS; the result is printed as JSON.

It stands alone: neither pysocksify nor the tests can be imported where it runs.
"""

import errno
import json
import os
import select
import socket
import struct
import sys
import time

PATIENCE = 30


def _family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _name(number):
    return errno.errorcode.get(number, "OK")


def connect(host, port):
    """The errno of a blocking connect(), and how long it took."""
    began = time.monotonic()
    with socket.socket(_family(host)) as sock:
        sock.settimeout(None)
        return _name(sock.connect_ex((host, port))), time.monotonic() - began


def connect_nonblocking(host, port):
    """What connect() says, what poll() tells, what SO_ERROR is."""
    with socket.socket(_family(host)) as sock:
        sock.setblocking(False)
        first = _name(sock.connect_ex((host, port)))
        poller = select.poll()
        poller.register(sock, select.POLLOUT)
        ((_, events),) = poller.poll(PATIENCE * 1000)
        return (
            first,
            bool(events & select.POLLERR),
            _name(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)),
        )


def names(host, port):
    """getpeername() and getsockname() of a connection."""
    with socket.create_connection((host, port), PATIENCE) as sock:
        return sock.getpeername()[:2], sock.getsockname()[0]


def talk(host, port, size=1000):
    """Echo ``size`` bytes, the end of our direction before the end of the other's; how many came back."""
    with socket.create_connection((host, port), PATIENCE) as sock:
        data = os.urandom(size)
        import threading

        def send():
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        came = bytearray()
        while chunk := sock.recv(65536):
            came += chunk
        sender.join()
        return came == data


def speak_second(host, port):
    """A server that greets."""
    with socket.create_connection((host, port), PATIENCE) as sock:
        greeting = sock.recv(100)
        sock.sendall(b"hello")
        return greeting.decode(), sock.recv(100).decode()


def broken(host, port):
    """How a connection ends that the other end resets."""
    with socket.create_connection((host, port), PATIENCE) as sock:
        data = sock.recv(100)
        sock.sendall(b"x")
        try:
            sock.recv(100)
        except OSError as err:
            return data.decode(), _name(err.errno)
        return data.decode(), "end"


def many(host, port, count, at_once):
    """So many connections, from one thread: how many echoed a byte, and the errors."""
    poller = select.epoll()
    socks, good, errors, started = {}, 0, [], 0
    while good + len(errors) < count:
        while started < count and len(socks) < at_once:
            sock = socket.socket(_family(host))
            sock.setblocking(False)
            sock.connect_ex((host, port))
            poller.register(sock, select.EPOLLOUT)
            socks[sock.fileno()] = sock
            started += 1
        for fd, events in poller.poll(PATIENCE):
            sock = socks[fd]
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                errors.append(_name(error))
            elif events & select.EPOLLOUT:
                sock.send(b"x")
                poller.modify(fd, select.EPOLLIN)
                continue
            else:
                good += sock.recv(10) == b"x"
            poller.unregister(fd)
            del socks[fd]
            sock.close()
    return good, errors


def resolve(name, family=0):
    """The addresses of getaddrinfo(), in its order."""
    try:
        return [row[4][0] for row in socket.getaddrinfo(name, 80, family, socket.SOCK_STREAM)]
    except socket.gaierror as err:
        return [
            name for name in dir(socket) if name.startswith("EAI_") and getattr(socket, name) == err.errno
        ]


def reverse(address):
    """The name of an address."""
    try:
        return socket.gethostbyaddr(address)[0]
    except socket.herror as err:
        return err.args[0]


def query(server, name, kind, tcp=False, edns=0):
    """A question to a name server: its code, flags, and how many answers, as they come."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label)
    message = (
        struct.pack("!HHHHHH", 4711, 0x0100, 1, 0, 0, bool(edns)) + labels + struct.pack("!BHH", 0, kind, 1)
    )
    if edns:
        message += struct.pack("!BHHIH", 0, 41, edns, 0, 0)
    with socket.socket(_family(server), socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect((server, 53))
        sock.send(struct.pack("!H", len(message)) + message if tcp else message)
        if tcp:
            (size,) = struct.unpack("!H", sock.recv(2, socket.MSG_WAITALL))
            answer = sock.recv(size, socket.MSG_WAITALL)
        else:
            answer = sock.recv(65535)
    number, flags, _, answers, _, _ = struct.unpack("!HHHHHH", answer[:12])
    return number == 4711, flags & 15, bool(flags & 0x0200), answers


def datagram(host, port, data="hello", connected=False, bound=""):
    """Send one and wait for the answer: what comes, and from where; or the errno."""
    with socket.socket(_family(host), socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        if bound:
            sock.bind((bound, 0))
        try:
            if connected:
                sock.connect((host, port))
                sock.send(data.encode())
                return sock.recv(65535).decode(), sock.getpeername()[:2]
            sock.sendto(data.encode(), (host, port))
            came, source = sock.recvfrom(65535)
            return came.decode(), source[:2]
        except OSError as err:
            return _name(err.errno), ()


def datagrams(host, port, others):
    """One socket, several destinations: which one answers."""
    with socket.socket(_family(host), socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        for place in ([host, port], *others):
            sock.sendto(repr(place[0]).encode(), (place[0], place[1]))
        return sorted([*(sock.recvfrom(100)[1][:2])] for _ in range(1 + len(others)))


def serve_inside(host):
    """A server and its client, both inside."""
    with socket.create_server((host, 0), family=_family(host)) as listener:
        with socket.create_connection(listener.getsockname()[:2], PATIENCE) as sock:
            accepted, peer = listener.accept()
            with accepted:
                accepted.sendall(b"inside")
                return sock.recv(10).decode(), peer[0] == sock.getsockname()[0]


def serve_datagrams_inside(host):
    """The same, of datagrams."""
    kind = socket.SOCK_DGRAM
    with socket.socket(_family(host), kind) as one, socket.socket(_family(host), kind) as two:
        for sock in (one, two):
            sock.bind((host, 0))
            sock.settimeout(PATIENCE)
        one.sendto(b"inside", two.getsockname()[:2])
        data, source = two.recvfrom(10)
        return data.decode(), source[:2] == one.getsockname()[:2]


# ---------------------------------------------------------------- hostile


def _attempt(call):
    try:
        call()
    except OSError as err:
        return _name(err.errno)
    return "OK"


def privileges():
    """What a program needs privileges for that it must not have."""
    inet, raw = socket.AF_INET, socket.SOCK_RAW
    with socket.socket(inet) as sock, socket.socket(inet, socket.SOCK_DGRAM) as datagrams:
        return {
            "raw socket": _attempt(lambda: socket.socket(inet, raw, socket.IPPROTO_TCP)),
            "raw IPv6 socket": _attempt(lambda: socket.socket(socket.AF_INET6, raw, socket.IPPROTO_TCP)),
            "packet socket": _attempt(lambda: socket.socket(socket.AF_PACKET, raw, socket.htons(3))),
            "SO_MARK": _attempt(lambda: sock.setsockopt(socket.SOL_SOCKET, 36, 81)),
            "IP_TRANSPARENT": _attempt(lambda: datagrams.setsockopt(0, 19, 1)),
            "port of the broker": _attempt(lambda: sock.bind(("0.0.0.0", 1))),
        }


def network_changes():
    """What netlink says to: lo down, the default route away, the packet filter away."""

    def send(family, kind, body, flags=5):
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family) as sock:
            sock.bind((0, 0))
            message = struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body
            begin = struct.pack("=IHHIIBBH", 20, 0x10, 1, 0, 0, 0, 0, socket.htons(10))
            end = struct.pack("=IHHIIBBH", 20, 0x11, 1, 2, 0, 0, 0, socket.htons(10))
            sock.send(begin + message + end if family == 12 else message)
            sock.settimeout(2)
            (number,) = struct.unpack_from("=i", sock.recv(4096), 16)
            return _name(-number)

    return [
        send(0, 16, struct.pack("=BxHiII", 0, 0, 1, 0, 1)),
        send(0, 25, struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 255, 3, 254, 2, 0)),
        send(12, 10 << 8 | 2, struct.pack("=BBH", 1, 0, 0)),
    ]


def reach_out():
    """Into the launcher and the namespaces outside: by ptrace, /proc, pidfd_getfd and setns."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getppid()

    def call(*arguments):
        result = libc.syscall(*map(ctypes.c_long, arguments))
        return "OK" if result >= 0 else _name(ctypes.get_errno())

    pidfd = os.pidfd_open(parent)
    return {
        "ptrace": call(101, 16, parent, 0, 0),
        "pidfd_getfd": call(438, pidfd, 3, 0),
        "setns": call(308, pidfd, 0x40000000),
        "memory": _attempt(lambda: os.open(f"/proc/{parent}/mem", os.O_RDWR)),
        "descriptor": _attempt(lambda: os.readlink(f"/proc/{parent}/fd/0")),
        "namespace": _attempt(lambda: os.open(f"/proc/{parent}/ns/net", os.O_RDONLY)),
        "umount": "OK" if libc.umount2(b"/etc/resolv.conf", 2) == 0 else _name(ctypes.get_errno()),
    }


def nested(host, port):
    """A network namespace of its own leads nowhere."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000 | 0x40000000):
        return "forbidden"
    with socket.socket(_family(host)) as sock:
        return _name(sock.connect_ex((host, port)))


def flood(count):
    """So many connections are asked for and given up at once; is there room for one more?"""
    for number in range(count):
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.connect_ex((f"10.200.{number >> 8 & 255}.{number & 255}", 80))
    return True


def noise(count):
    """Datagrams that are no questions, to port 53; then one that is."""
    import random

    random.seed(count)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(count):
            sock.sendto(random.randbytes(random.randrange(0, 300)), ("8.8.8.8", 53))
        question = b"\x12\x34\1\0\0\1" + bytes(6)
        for tail in (b"\xc0\x0c", b"\x3f", b"\x05abc", b"", b"\0", b"\0\0\1", b"\0\0\1\0\2"):
            sock.sendto(question + tail, ("8.8.8.8", 53))
    with socket.create_connection(("8.8.8.8", 53), PATIENCE) as sock:
        sock.sendall(b"\0\0\xff\xff" + b"x" * 1000)
    return query("8.8.8.8", "four.test", 1)


def disconnect_and_go(host, port, elsewhere):
    """A connected socket, disconnected and connected to somewhere else, is still inside."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    with socket.create_connection((host, port), PATIENCE) as sock:
        sock.settimeout(None)
        libc.connect(sock.fileno(), bytes(16), 16)
        return _name(sock.connect_ex((elsewhere, port)))


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*json.loads(sys.argv[2]))))
