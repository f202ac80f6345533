"""A port of Twisted's that sends numbers until stdin has a line: udp_twisted_ticks.py HOST PORT

Expects an echo server, and says {"got": ...} on stdout for each answer; {"stopped": true} if it is given up.
"""

import json
import sys

from twisted.internet import protocol, reactor, stdio, task

host, port = sys.argv[1], int(sys.argv[2])


class Ticks(protocol.DatagramProtocol):
    number = 0

    def startProtocol(self):
        self.transport.connect(host, port)
        self.ticking = task.LoopingCall(self.tick)
        self.ticking.start(0.02)

    def tick(self):
        self.number += 1
        self.transport.write(b"%d" % self.number)

    def datagramReceived(self, datagram, addr):
        print(json.dumps({"got": int(datagram)}), flush=True)

    def stopProtocol(self):
        self.ticking.stop()
        if reactor.running:
            print(json.dumps({"stopped": True}), flush=True)


class Input(protocol.Protocol):
    def dataReceived(self, data):
        reactor.stop()


ticks = Ticks()
reactor.listenUDP(0, ticks)
stdio.StandardIO(Input())
reactor.run()
