"""Twisted's listenUDP, connected or not: udp_twisted.py HOST PORT epoll|select|asyncio [connected]

Expects an echo server.
"""

import json
import sys

host, port, reactor_name, *words = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]
__import__(f"twisted.internet.{reactor_name}reactor", fromlist=["install"]).install()

from twisted.internet import defer, protocol, task  # noqa: E402

COUNT = 100


class Numbers(protocol.DatagramProtocol):
    def __init__(self):
        self.received = []
        self.sources = set()
        self.finished = defer.Deferred()

    def startProtocol(self):
        if words:
            self.transport.connect(host, port)
        self.send(0)

    def send(self, number):
        self.transport.write(b"%d" % number, *([] if words else [(host, port)]))

    def datagramReceived(self, datagram, addr):
        self.received.append(int(datagram))
        self.sources.add(tuple(addr))
        if len(self.received) == COUNT:
            self.finished.callback(None)
        else:
            self.send(len(self.received))

    def connectionRefused(self):
        self.finished.errback(ConnectionRefusedError())


async def main(reactor):
    numbers = Numbers()
    listening = reactor.listenUDP(0, numbers)
    numbers.finished.addTimeout(30, reactor)
    await numbers.finished
    await listening.stopListening()
    right = numbers.received == list(range(COUNT))
    print(json.dumps({"right": right, "sources": sorted(numbers.sources), "reactor": type(reactor).__name__}))


task.react(lambda reactor: defer.Deferred.fromCoroutine(main(reactor)))
