"""Does a connection that hangs block tornado? tick_tornado.py HOST PORT SECONDS

Counts ticks of 10 ms beside an attempt that is given up after SECONDS.
"""

import asyncio
import json
import sys
import time

from tornado.ioloop import PeriodicCallback
from tornado.iostream import StreamClosedError
from tornado.tcpclient import TCPClient
from tornado.util import TimeoutError


async def main(host, port, seconds):
    times = [time.monotonic()]
    ticking = PeriodicCallback(lambda: times.append(time.monotonic()), 10)
    ticking.start()
    try:
        stream = await TCPClient().connect(host, int(port), timeout=float(seconds))
        stream.close()
        outcome = "connected"
    except (OSError, StreamClosedError, TimeoutError) as err:
        outcome = type(err).__name__
    ticking.stop()
    times.append(time.monotonic())
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    result = {"outcome": outcome, "ticks": len(gaps), "longest": max(gaps), "took": times[-1] - times[0]}
    print(json.dumps(result))


asyncio.run(main(*sys.argv[1:]))
