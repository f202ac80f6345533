"""Two child processes and then ourselves: fetch_multiprocessing.py URL fork|spawn|forkserver

With a fetch before the fork, so that the children inherit whatever a connection sets up.
"""

import json
import multiprocessing
import sys
import urllib.request


def fetch(url):
    with urllib.request.urlopen(url, timeout=30) as response:
        return response.read().decode()


if __name__ == "__main__":
    url, method = sys.argv[1:]
    before = fetch(url)
    with multiprocessing.get_context(method).Pool(2) as pool:
        children = pool.map(fetch, [url, url])
        pool.close()
        pool.join()
    after = fetch(url)
    print(json.dumps({"before": before, "children": children, "after": after}))
