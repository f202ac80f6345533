"""socket.sendfile() and os.sendfile(), and what the other side got: send_file.py HOST PORT SIZE

Expects a server that answers with the SHA-256 when it has read to the end.
"""

import hashlib
import json
import os
import random
import socket
import sys
import tempfile

host, port, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
data = random.Random(1).randbytes(size)
result = {"sha256": hashlib.sha256(data).hexdigest()}


def digest_of_the_other_side(sock):
    sock.shutdown(socket.SHUT_WR)
    answer = b""
    while chunk := sock.recv(100):
        answer += chunk
    return answer.decode()


with tempfile.TemporaryFile() as file:
    file.write(data)
    file.flush()
    with socket.create_connection((host, port), timeout=50) as sock:
        file.seek(0)
        assert sock.sendfile(file) == size
        result["socket.sendfile"] = digest_of_the_other_side(sock)
    with socket.create_connection((host, port)) as sock:
        sent = 0
        while sent < size:
            sent += os.sendfile(sock.fileno(), file.fileno(), sent, size - sent)
        result["os.sendfile"] = digest_of_the_other_side(sock)
print(json.dumps(result))
