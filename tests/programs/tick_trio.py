"""Does a connection that hangs block trio? tick_trio.py HOST PORT SECONDS

Counts ticks of 10 ms beside an attempt that is given up after SECONDS.
"""

import json
import sys
import time

import trio


async def main(host, port, seconds):
    times = [time.monotonic()]

    async def tick():
        while True:
            await trio.sleep(0.01)
            times.append(time.monotonic())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        try:
            with trio.fail_after(float(seconds)):
                stream = await trio.open_tcp_stream(host, int(port))
            await stream.aclose()
            outcome = "connected"
        except (OSError, trio.TooSlowError) as err:
            outcome = type(err).__name__
        nursery.cancel_scope.cancel()
    times.append(time.monotonic())
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    result = {"outcome": outcome, "ticks": len(gaps), "longest": max(gaps), "took": times[-1] - times[0]}
    print(json.dumps(result))


trio.run(main, *sys.argv[1:])
