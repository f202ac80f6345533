"""A proxy that plays a script: what it expects to read, what it then sends, how it ends."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator

GREETING = b"\x05\x01\x00"
CHOICE = b"\x05\x00"
REQUEST = b"\x05\x01\x00\x03" + b"\x0bexample.org" + b"\x01\xbb"
REPLY = b"\x05\x00\x00\x01" + b"\x00\x00\x00\x00" + b"\x00\x00"

# For what must happen soon, and would hang the test otherwise.
PATIENCE = 30


class Scripted:
    """Plays ``script`` to each client: bytes are sent, a number is so many bytes to read.

    ``None`` hangs until the test ends, and ``RESET`` ends the connection with an RST.
    """

    def __init__(self, script: tuple[bytes | int | str | None, ...]) -> None:
        self.script = script
        self.received: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        self._over = threading.Event()
        self._last: tuple[str, int] | None = None
        self._threads: list[threading.Thread] = []

    def serve(self) -> None:
        while True:
            client, address = self._listener.accept()
            if address == self._last:
                client.close()
                return
            thread = threading.Thread(target=self._play, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _play(self, client: socket.socket) -> None:
        got = bytearray()
        with client, contextlib.suppress(ConnectionError):
            client.settimeout(PATIENCE)
            for act in self.script:
                if act is None:
                    self._over.wait()
                elif act == "RESET":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                elif isinstance(act, bytes):
                    client.sendall(act)
                elif isinstance(act, int):
                    got += client.recv(act, socket.MSG_WAITALL)
        self.received.append(bytes(got))

    def end(self) -> None:
        """Have ``serve`` return; the last client it waits for is this one."""
        self._over.set()
        with socket.socket() as last:
            last.bind(("127.0.0.1", 0))
            self._last = last.getsockname()
            last.connect((self.host, self.port))

    def close(self) -> None:
        for thread in self._threads:
            thread.join()
        self._listener.close()


@contextlib.contextmanager
def scripted(*script: bytes | int | str | None) -> Iterator[Scripted]:
    proxy = Scripted(script)
    thread = threading.Thread(target=proxy.serve)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.end()
        thread.join()
        proxy.close()
