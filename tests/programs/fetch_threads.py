"""A thread for each fetch: fetch_threads.py URL [THREADS]"""

import json
import sys
import threading
import urllib.request

url, *count = sys.argv[1:]
bodies = []


def fetch():
    with urllib.request.urlopen(url, timeout=50) as response:
        bodies.append(response.read().decode())


threads = [threading.Thread(target=fetch) for _ in range(int(count[0]) if count else 200)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({"done": len(bodies), "body": bodies[0], "different": len(set(bodies))}))
