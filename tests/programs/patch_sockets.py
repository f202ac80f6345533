"""Patches sockets as programs do, and prints what it sees: patch_sockets.py HOW HOST PORT [PROXY]

With PROXY, pysocksify is installed after that, by the program.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import Any
from unittest.mock import patch

HOW, HOST, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])


def install() -> None:
    if len(sys.argv) > 4:
        import pywrap

        pywrap.install(sys.argv[4], loopback="proxy")


def mocks() -> list[Any]:
    """unittest.mock on the class, of datagram sockets that are older and younger than the patch."""
    seen: list[Any] = []
    place = (HOST, PORT)
    with patch("socket.socket.sendto") as mock:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", place)
        seen.append(mock.call_count)
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(20)
    seen.append(sock.sendto(b"one", place))
    with patch("socket.socket.sendto") as mock:
        mock.side_effect = ConnectionRefusedError
        try:
            sock.sendto(b"x", place)
        except ConnectionRefusedError:
            seen.append("refused")
    with patch("socket.socket.recvfrom", return_value=(b"a", ("192.0.2.1", 1))):
        seen.append(sock.recvfrom(10)[0].decode())
    with patch.object(socket.socket, "send", autospec=True) as mock:
        sock.send(b"x")
        seen.append(mock.call_args[0][0] is sock)
    real = socket.socket.sendto

    def spy(self: socket.socket, *words: Any) -> int:
        seen.append("spied")
        return real(self, *words)

    with patch.object(socket.socket, "sendto", spy):
        seen.append(sock.sendto(b"three", place))
    seen.append(sock.sendto(b"four", place))
    seen.append(sorted(sock.recvfrom(99)[0].decode() for _ in range(3)))
    return seen


class Slotted(socket.socket):
    __slots__ = ("extra",)


class Counting(socket.socket):
    def sendto(self, *words: Any) -> int:
        return super().sendto(*words) + 100

    def connect(self, address: Any) -> None:
        super().connect(address)
        self.count = 1


def subclasses() -> list[Any]:
    seen: list[Any] = []
    for cls in (Slotted, Counting):
        sock = cls(socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(20)
        sent = sock.sendto(b"hello", (HOST, PORT))
        seen.append([sent, sock.recvfrom(9)[0].decode(), type(sock).__name__, isinstance(sock, cls)])
        stream = cls()
        stream.connect((HOST, PORT))
        seen.append([type(stream) is cls, hasattr(stream, "__dict__"), getattr(stream, "count", None)])
        stream.sendall(b"hello")
        seen.append(stream.recv(5).decode())
    return seen


class Blocked(RuntimeError):
    pass


def guard() -> list[Any]:
    """As pytest-socket: another class in the place of socket.socket, and a connect() that looks first."""
    seen: list[Any] = []
    real, connect = socket.socket, socket.socket.connect

    class Guarded(socket.socket):
        def __new__(cls, family: int = -1, *words: Any, **named: Any) -> Any:
            if family == socket.AF_UNIX:
                return super().__new__(cls, family, *words, **named)
            raise Blocked

    socket.socket = Guarded  # type: ignore[misc]
    try:
        socket.create_connection((HOST, PORT))
    except Blocked:
        seen.append("blocked")
    socket.socket = real  # type: ignore[misc]

    def only(self: socket.socket, address: Any) -> None:
        if address[0] != HOST:
            raise Blocked
        connect(self, address)

    socket.socket.connect = only  # type: ignore[method-assign,assignment]
    try:
        socket.create_connection(("192.0.2.1", PORT))
    except Blocked:
        seen.append("blocked")
    with socket.create_connection((HOST, PORT)) as sock:
        sock.sendall(b"hello")
        seen.append(sock.recv(5).decode())
    socket.socket.connect = connect  # type: ignore[method-assign]
    socket.create_connection((HOST, PORT)).close()
    return seen


def replaced_by_pysocks() -> list[Any]:
    """socket.socket = socks.socksocket, with no proxy of its own."""
    import socks

    socket.socket = socks.socksocket  # type: ignore[misc]
    install()
    with socket.create_connection((HOST, PORT)) as sock:
        sock.sendall(b"hello")
        return [type(sock).__name__, sock.recv(5).decode()]


def own_getaddrinfo() -> list[Any]:
    """A function in the place of socket.getaddrinfo, as programs do that want IPv4 alone, or a cache."""
    seen: list[Any] = []
    real = socket.getaddrinfo

    def only_4(host: Any, port: Any, family: int = 0, *words: Any, **named: Any) -> Any:
        seen.append("asked")
        return real(host, port, socket.AF_INET, *words, **named)

    socket.getaddrinfo = only_4  # type: ignore[assignment]
    with socket.create_connection(("localhost", PORT)) as sock:
        seen.append(sock.family == socket.AF_INET)
    return seen


def green() -> list[Any]:
    """gevent, which puts classes of its own into socket, after us or before us; and a mock on these."""
    from gevent import monkey

    monkey.patch_all()
    install()
    seen: list[Any] = [socket.socket.__module__]
    with socket.create_connection((HOST, PORT)) as sock:
        sock.sendall(b"hello")
        seen.append(sock.recv(5).decode())
    with patch("socket.socket.sendto") as mock:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (HOST, PORT))
        seen.append(mock.call_count)
    return seen


if __name__ == "__main__":
    print(json.dumps(globals()[HOW]()))
