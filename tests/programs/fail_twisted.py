"""What Twisted makes of a connection that fails: fail_twisted.py HOST PORT epoll|poll|select|asyncio

Prints the exception's class and the number in it.
"""

import json
import sys

host, port, reactor_name = sys.argv[1:]
__import__(f"twisted.internet.{reactor_name}reactor", fromlist=["install"]).install()

from twisted.internet import defer, endpoints, error, protocol, task  # noqa: E402


async def main(reactor):
    endpoint = endpoints.HostnameEndpoint(reactor, host, int(port), timeout=30)
    try:
        await endpoints.connectProtocol(endpoint, protocol.Protocol())
    except error.ConnectError as err:
        print(json.dumps({"error": type(err).__name__, "errno": err.osError}))


task.react(lambda reactor: defer.Deferred.fromCoroutine(main(reactor)))
