"""Datagrams of all sizes there and back: udp_sizes.py HOST PORT SIZE...

Expects an echo server. One socket for all of them, not connected.
"""

import json
import os
import socket
import sys

host, port, *sizes = sys.argv[1], *map(int, sys.argv[2:])
with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(30)
    wrong, sources = [], set()
    for size in sizes:
        data = os.urandom(size)
        sent = sock.sendto(data, (host, port))
        answer, source = sock.recvfrom(65536)
        sources.add(source[:2])
        if (sent, answer) != (size, data):
            wrong.append(size)
print(json.dumps({"wrong": wrong, "sources": sorted(sources)}))
