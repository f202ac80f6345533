"""eventlet with everything monkey-patched, ten at once: fetch_eventlet.py URL"""

# ruff: noqa: E402 (the patches come first)
# isort: off
import eventlet

eventlet.monkey_patch()
# isort: on

import json
import socket
import sys
import urllib.request


def fetch(_):
    with urllib.request.urlopen(sys.argv[1], timeout=30) as response:
        return response.read().decode()


bodies = set(eventlet.GreenPool().imap(fetch, range(10)))
print(json.dumps({"bodies": sorted(bodies), "socket": socket.socket.__module__}))
