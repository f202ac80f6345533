"""UDP destinations for programs: an echo that notes its clients, in a thread."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

PATIENCE = 30.0


class Echo:
    """``host``, ``port``, and ``seen``: the source of each datagram."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        try:
            self._sock.bind((host, port))
        except OSError:
            self._sock.close()
            raise
        self.host, self.port = self._sock.getsockname()[:2]
        self.seen: list[tuple[str, int]] = []
        self._over = False
        self._thread = threading.Thread(target=self._serve, name="UDP echo")

    def start(self) -> None:
        self._thread.start()

    def _serve(self) -> None:
        while True:
            data, source = self._sock.recvfrom(1 << 16)
            if self._over:
                return
            self.seen.append(source[:2])
            with contextlib.suppress(OSError):
                self._sock.sendto(data, source)

    def close(self) -> None:
        self._over = True
        with socket.socket(self._sock.family, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._sock.getsockname())
        self._thread.join()
        self._sock.close()


@contextlib.contextmanager
def udp_echo(host: str = "127.0.0.1", port: int = 0) -> Iterator[Echo]:
    """An echo of datagrams on ``host``, on a free port unless that of another echo is given.

    Raises:
        OSError: another socket has that port.
    """
    echo = Echo(host, port)
    echo.start()
    try:
        yield echo
    finally:
        echo.close()
