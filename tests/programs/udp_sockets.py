"""Two sockets in turns, and one that changes its peer: udp_sockets.py HOST PORT OTHER_PORT

Expects echo servers.
"""

import ctypes
import json
import socket
import sys

host, port, other = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def udp():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(30)
    return sock


def exchange(sock, word):
    sock.send(word)
    return sock.recv(100).decode()


with udp() as first, udp() as second:
    first.connect((host, port))
    second.connect((host, other))
    for number in range(10):
        for sock, name in (first, b"first"), (second, b"second"):
            sock.send(b"%s %d" % (name, number))
    # The second one is read first: nothing of it is the first one's.
    in_turns = [[sock.recv(100).decode() for _ in range(10)] for sock in (second, first)]

with udp() as sock:
    changed = []
    for to in (host, port), (host, other), (host, port):
        sock.connect(to)
        changed.append([exchange(sock, b"to %d" % to[1]), sock.getpeername()[1]])

# Not connected, and disconnected all the same: AF_UNSPEC, for which Python has no words.
with udp() as sock:
    sock.sendto(b"before", (host, port))
    before = sock.recv(100).decode()
    assert ctypes.CDLL(None).connect(sock.fileno(), bytes(16), 16) == 0
    sock.sendto(b"after", (host, other))
    after, source = sock.recvfrom(100)
print(json.dumps({"in turns": in_turns, "changed": changed, "unspec": [before, after.decode(), source[1]]}))
