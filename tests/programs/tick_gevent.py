"""Does a connection that hangs block gevent? tick_gevent.py HOST PORT SECONDS

Counts ticks of 10 ms beside an attempt that is given up after SECONDS.
"""

# ruff: noqa: E402 (the patches come first)
# isort: off
from gevent import monkey

monkey.patch_all()
# isort: on

import json
import socket
import sys
import time

import gevent

host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
ticks = []


def tick():
    while True:
        ticks.append(time.monotonic())
        gevent.sleep(0.01)


def attempt():
    try:
        socket.create_connection((host, port), timeout=seconds).close()
    except OSError as err:
        return type(err).__name__


ticker = gevent.spawn(tick)
began = time.monotonic()
outcome = attempt()
took = time.monotonic() - began
ticker.kill()
gaps = [after - before for before, after in zip(ticks, ticks[1:], strict=False)]
print(json.dumps({"outcome": outcome, "ticks": len(ticks), "longest": max(gaps), "took": took}))
