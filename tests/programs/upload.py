"""An upload, then a half-close, and the SHA-256 of both sides: upload.py HOST PORT SIZE"""

import hashlib
import json
import random
import socket
import sys

host, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
block = random.Random(1).randbytes(1 << 20)
digest = hashlib.sha256()
with socket.create_connection((host, port), timeout=50) as sock:
    for start in range(0, size, len(block)):
        # Each block begins with another byte: a lost or doubled one is seen.
        piece = (bytes([(start >> 20) % 256]) + block)[: min(len(block), size - start)]
        digest.update(piece)
        sock.sendall(piece)
    sock.shutdown(socket.SHUT_WR)
    answer = b""
    while chunk := sock.recv(100):
        answer += chunk
print(json.dumps({"bytes": size, "sha256": digest.hexdigest(), "received": answer.decode()}))
