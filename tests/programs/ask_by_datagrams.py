"""Asks for names, sends datagrams, and sends one that is refused: ask_by_datagrams.py HOST PORT REFUSED"""

import contextlib
import socket
import sys

host, port, refused = sys.argv[1], int(sys.argv[2]), sys.argv[3]

with contextlib.suppress(OSError):
    socket.getaddrinfo("nowhere.invalid", 80)
with contextlib.suppress(OSError):
    socket.gethostbyaddr("192.0.2.7")
with socket.socket(type=socket.SOCK_DGRAM) as sock:
    sock.settimeout(20)
    for _ in range(2):
        sock.sendto(b"four", (host, port))
        sock.recv(9)
    with contextlib.suppress(ConnectionRefusedError):
        sock.connect((refused, 9))
        sock.send(b"refused")
        sock.recv(9)
