"""Connects to HOST PORT, prints "up", and keeps the connection until stdin ends.

hold_connection.py HOST PORT
"""

import socket
import sys

with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30):
    print("up", flush=True)
    sys.stdin.read()
