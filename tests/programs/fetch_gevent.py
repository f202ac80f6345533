"""gevent with everything monkey-patched, ten at once: fetch_gevent.py URL"""

# ruff: noqa: E402 (the patches come first)
# isort: off
from gevent import monkey

monkey.patch_all()
# isort: on

import json
import socket
import sys
import urllib.request

import gevent


def fetch():
    with urllib.request.urlopen(sys.argv[1], timeout=30) as response:
        return response.read().decode()


jobs = [gevent.spawn(fetch) for _ in range(10)]
gevent.joinall(jobs, raise_error=True)
bodies = {job.value for job in jobs}
print(json.dumps({"bodies": sorted(bodies), "socket": socket.socket.__module__}))
