"""What is behind the proxy: python services.py ADDRESS... The numbers are of ``tests.support.confined``."""

import selectors
import socket
import struct
import sys
import threading

ECHO, GREETING, RESETTING, UDP_ECHO, HTTP = 7, 25, 26, 9000, 80


def echo(sock: socket.socket) -> None:
    """Echo until the other end has ended; then end."""
    while data := sock.recv(65536):
        sock.sendall(data)


def greet(sock: socket.socket) -> None:
    """Speak first, then say what was asked."""
    sock.sendall(b"220 ready\r\n")
    sock.sendall(sock.recv(100).upper())


def resetting(sock: socket.socket) -> None:
    """Answer, and break the connection."""
    sock.sendall(b"half of ")
    sock.recv(1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def http(sock: socket.socket) -> None:
    """One page."""
    while b"\r\n\r\n" not in (data := sock.recv(65536)):
        if not data:
            return
    sock.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 6\r\n\r\nhello\n")


def serve(sock: socket.socket, service: object) -> None:
    with sock:
        try:
            service(sock)  # type: ignore[operator]
        except OSError:
            pass


selector = selectors.DefaultSelector()
for host in sys.argv[1:]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port, service in ((ECHO, echo), (GREETING, greet), (RESETTING, resetting), (HTTP, http)):
        listener = socket.create_server((host, port), family=family, backlog=1024)
        selector.register(listener, selectors.EVENT_READ, service)
    datagrams = socket.socket(family, socket.SOCK_DGRAM)
    datagrams.bind((host, UDP_ECHO))
    selector.register(datagrams, selectors.EVENT_READ, None)
while True:
    for key, _ in selector.select():
        if key.data is None:
            data, source = key.fileobj.recvfrom(65536)  # type: ignore[union-attr]
            try:
                key.fileobj.sendto(data, source)  # type: ignore[union-attr]
            except OSError:
                pass
        else:
            sock, _ = key.fileobj.accept()  # type: ignore[union-attr]
            threading.Thread(target=serve, args=(sock, key.data), daemon=True).start()
