"""Twisted's HostnameEndpoint on a given reactor: twisted_endpoint.py HOST PORT [epoll|poll|select|asyncio]

Expects an echo server.
"""

import json
import sys

host, port, *reactor_name = sys.argv[1:]
if reactor_name:
    __import__(f"twisted.internet.{reactor_name[0]}reactor", fromlist=["install"]).install()

from twisted.internet import defer, endpoints, protocol, task  # noqa: E402

SIZE = 1_000_000


class Echoed(protocol.Protocol):
    def __init__(self):
        self.size = 0
        self.finished = defer.Deferred()

    def connectionMade(self):
        self.transport.write(b"x" * SIZE)

    def dataReceived(self, data):
        self.size += len(data)
        if self.size == SIZE:
            self.transport.loseConnection()

    def connectionLost(self, reason):
        self.finished.callback(self.size)


async def main(reactor):
    endpoint = endpoints.HostnameEndpoint(reactor, host, int(port), timeout=30)
    echoed = await endpoints.connectProtocol(endpoint, Echoed())
    peer = echoed.transport.getPeer()
    size = await echoed.finished
    print(json.dumps({"echoed": size, "peer": [peer.host, peer.port], "reactor": type(reactor).__name__}))


task.react(lambda reactor: defer.Deferred.fromCoroutine(main(reactor)))
