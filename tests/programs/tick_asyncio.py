"""Does a connection that hangs block asyncio? tick_asyncio.py HOST PORT SECONDS

Counts ticks of 10 ms beside an attempt that is given up after SECONDS.
"""

import asyncio
import json
import sys
import time


async def main(host, port, seconds):
    times = [time.monotonic()]

    async def tick():
        while True:
            await asyncio.sleep(0.01)
            times.append(time.monotonic())

    ticking = asyncio.create_task(tick())
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), float(seconds))
        writer.close()
        await writer.wait_closed()
        outcome = "connected"
    except OSError as err:
        # TimeoutError is one.
        outcome = type(err).__name__
    ticking.cancel()
    times.append(time.monotonic())
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    result = {"outcome": outcome, "ticks": len(gaps), "longest": max(gaps), "took": times[-1] - times[0]}
    print(json.dumps(result))


asyncio.run(main(*sys.argv[1:]))
