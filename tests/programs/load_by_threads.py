"""The first connection is made by many threads at once: load_by_threads.py HOST PORT THREADS

Says which modules of ours were executed more than once, and how many threads were connected.
"""

import collections
import json
import socket
import sys
import threading

host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
together = threading.Barrier(count)
connected = []


def connect():
    with socket.socket() as sock:
        together.wait()
        sock.connect((host, port))
        connected.append(sock)


threads = [threading.Thread(target=connect) for _ in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()

from pywrap.intercept import loading  # noqa: E402

times = collections.Counter(loading._loaded)
print(json.dumps({"connected": len(connected), "twice": [name for name in times if times[name] > 1]}))
