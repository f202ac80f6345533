"""Does a connection that hangs block Twisted? tick_twisted.py HOST PORT SECONDS

Counts ticks of 10 ms beside an attempt that is given up after SECONDS.
"""

import json
import sys
import time

from twisted.internet import defer, endpoints, error, protocol, task


async def main(reactor, host, port, seconds):
    times = [time.monotonic()]
    ticking = task.LoopingCall(lambda: times.append(time.monotonic()))
    ended = ticking.start(0.01, now=False)
    endpoint = endpoints.HostnameEndpoint(reactor, host, int(port), timeout=float(seconds))
    try:
        connected = await endpoints.connectProtocol(endpoint, protocol.Protocol())
        connected.transport.loseConnection()
        outcome = "connected"
    except error.ConnectError as err:
        outcome = type(err).__name__
    ticking.stop()
    await ended
    times.append(time.monotonic())
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    result = {"outcome": outcome, "ticks": len(gaps), "longest": max(gaps), "took": times[-1] - times[0]}
    print(json.dumps(result))


task.react(lambda reactor, *args: defer.Deferred.fromCoroutine(main(reactor, *args)), sys.argv[1:])
