"""A proxy that answers one request and drops what came behind it in the same piece."""

import contextlib
import socket
import socketserver
import threading

from tests.support.naming_proxy import carry
from tests.support.scripted import CHOICE, GREETING

GRANT = b"\x05\x00\x00\x01" + b"\x00" * 6

# A greeting and a request for an IPv4 address.
OF_ONE_HOP = len(GREETING) + 10


class Swallower(socketserver.ThreadingTCPServer):
    """SOCKS5 that answers what comes in its first piece, and drops what is behind its request there."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError):
                got = self.request.recv(1 << 16)
                self.request.sendall(CHOICE)
                if len(got) == len(GREETING):
                    got += self.request.recv(1 << 16)
                self.server.pieces.append(len(got))
                port = int.from_bytes(got[len(GREETING) + 8 : len(GREETING) + 10], "big")
                with socket.create_connection(("127.0.0.1", port)) as onward:
                    self.request.sendall(GRANT)
                    for source, sink in ((self.request, onward), (onward, self.request)):
                        threading.Thread(target=carry, args=(source, sink)).start()
                    self.server.over.wait()

    def __init__(self):
        self.pieces = []
        self.over = threading.Event()
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.host, self.port = self.server_address

    def lost(self):
        """In how many pieces was more than it takes?"""
        return sum(size > OF_ONE_HOP for size in self.pieces)


@contextlib.contextmanager
def swallower():
    with Swallower() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join()
