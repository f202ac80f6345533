"""What getpeername() tells in threads that are connected at once: peers_of_threads.py HOST PORT [COUNT]"""

import json
import socket
import sys
import threading

host, port, *rest = sys.argv[1:]
count = int(rest[0]) if rest else 200
all_connected = threading.Barrier(count)
peers = []


def connect():
    with socket.create_connection((host, int(port)), timeout=50) as sock:
        all_connected.wait(50)
        peers.append(sock.getpeername()[:2])


threads = [threading.Thread(target=connect) for _ in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
right = [peer for peer in peers if peer == (host, int(port))]
print(json.dumps({"connections": len(peers), "right": len(right)}))
