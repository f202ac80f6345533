"""A target of ours, and raw sockets to a server and behind it."""

from __future__ import annotations

import os
import resource
import socket
from itertools import count, islice

from tests.support.servers import PATIENCE, Running


class Target:
    """A listening socket; the test is the program behind it."""

    def __init__(self, family: socket.AddressFamily = socket.AF_INET) -> None:
        host = "127.0.0.1" if family == socket.AF_INET else "::1"
        self.listener = socket.create_server((host, 0), family=family, backlog=1024)
        self.listener.settimeout(PATIENCE)
        self.host, self.port = self.listener.getsockname()[:2]
        self._accepted: list[socket.socket] = []

    @property
    def address(self) -> bytes:
        """As requests carry it: 4 bytes and the port, for SOCKS5; the port comes first in SOCKS4."""
        return socket.inet_pton(self.listener.family, self.host) + self.port_bytes

    @property
    def port_bytes(self) -> bytes:
        return self.port.to_bytes(2, "big")

    def accept(self) -> socket.socket:
        sock, _ = self.listener.accept()
        sock.settimeout(PATIENCE)
        self._accepted.append(sock)
        return sock

    def close(self) -> None:
        for sock in [*self._accepted, self.listener]:
            sock.close()


class Client:
    """Connections to a server, closed at the end of the test."""

    def __init__(self) -> None:
        self._socks: list[socket.socket] = []

    def connect(self, server: Running) -> socket.socket:
        sock = socket.create_connection(server.address, PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socks.append(sock)
        return sock

    def tunnel(self, server: Running, target: Target) -> tuple[socket.socket, socket.socket]:
        """A tunnel, as its two ends."""
        sock = self.connect(server)
        sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x01" + target.address)
        assert receive(sock, 2) == b"\x05\x00"
        assert receive(sock, 10)[:4] == b"\x05\x00\x00\x01"
        return sock, target.accept()

    def close(self) -> None:
        for sock in self._socks:
            sock.close()


class Exhausted:
    """A limit of descriptors that leaves room for so many more."""

    def __init__(self, room: int) -> None:
        self.limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = (fd for fd in count() if not os.path.exists(f"/proc/self/fd/{fd}"))
        limit = next(islice(free, room, None))
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, self.limits[1]))

    def __enter__(self) -> Exhausted:
        return self

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, self.limits)


def receive(sock: socket.socket, size: int) -> bytes:
    """Exactly ``size`` bytes."""
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, f"the connection ended after {data!r}"
        data += piece
    return data


def receive_all(sock: socket.socket) -> bytes:
    """Everything up to the end."""
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data
