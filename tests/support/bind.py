"""Programs whose sockets listen at a proxy (``--listen bind``), and what their proxies say to that."""

import select
import socket

from tests.support.child import kernel
from tests.support.inside import PATIENCE


def listening(blocking=True, family=socket.AF_INET):
    """A socket that listens on a port of the proxy's."""
    sock = socket.socket(family)
    sock.setblocking(blocking)
    sock.bind(("", 0))
    sock.listen()
    return sock


def peer(sock):
    """A connection to ``sock`` from outside: past the proxy, since loopback is direct here."""
    return socket.create_connection(("127.0.0.1", sock.getsockname()[1]), PATIENCE)


def readable(sock, timeout=0):
    """Whether ``sock`` is readable within ``timeout`` seconds, on which select, poll and epoll agree."""
    polled = select.poll()
    polled.register(sock, select.POLLIN)
    epolled = select.epoll()
    epolled.register(sock, select.EPOLLIN)
    first = bool(select.select([sock], [], [], timeout)[0])
    assert first == bool(polled.poll(timeout * 1000)) == bool(epolled.poll(timeout))
    return first


def talk(one, other):
    """Have each send to the other."""
    for left, right in ((one, other), (other, one)):
        left.sendall(b"hello")
        assert right.recv(5, socket.MSG_WAITALL) == b"hello"
    return "talked"


def acceptable(sock):
    """What accept() returns, called as an event loop does: until there is no peer, and then it polls."""
    while True:
        try:
            return sock.accept()
        except BlockingIOError:
            assert select.select([sock], [], [], PATIENCE)[0], "never readable"


REQUEST = b"\x05\x02\x00\x01" + b"\x00\x00\x00\x00" + b"\x00\x00"
BOUND = b"\x05\x00\x00\x01" + b"\xcb\x00\x71\x09" + b"\x12\x67"
CAME = b"\x05\x00\x00\x01" + b"\xc0\x00\x02\x07" + b"\x00\x14"


def at(proxy, code, *args, **how):
    """What ``code`` says, run with ``listen bind`` and with loopback reached directly."""
    options = ("--loopback", "direct", "--listen", "bind", *how.pop("options", ()))
    return kernel(proxy, code, *args, options=options, names=globals(), **how)


def url(proxy, scheme="socks5h"):
    """The URL of ``proxy``, a server."""
    return f"{scheme}://{proxy.host}:{proxy.port}"
