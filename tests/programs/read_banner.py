"""Reads what the server says first, in one recv() and without saying a word: read_banner.py HOST PORT"""

import json
import socket
import sys

host, port = sys.argv[1:]
with socket.create_connection((host, int(port)), timeout=30) as sock:
    print(json.dumps({"banner": sock.recv(1000).decode()}))
