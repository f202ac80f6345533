"""Listens on HOST, prints the port, and tells two clients, one after the other, what their address is.

serve_twice.py HOST
"""

import socket
import sys

family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.create_server((sys.argv[1], 0), family=family) as server:
    print(server.getsockname()[1], flush=True)
    for _ in range(2):
        sock, peer = server.accept()
        sock.sendall(peer[0].encode())
        sock.close()
