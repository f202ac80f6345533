"""asyncio, COUNT datagrams with a window of them on their way: udp_asyncio.py HOST PORT COUNT [connected]

Expects an echo server. Each datagram has its own number, and comes back once.
"""

import asyncio
import json
import sys

WINDOW = 64
HOST, PORT, COUNT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class Numbers(asyncio.DatagramProtocol):
    def __init__(self, address):
        self.address = address
        self.sent = 0
        self.received = set()
        self.sources = set()
        self.errors = []
        self.finished = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        while self.sent < min(WINDOW, COUNT):
            self.send()

    def send(self):
        self.transport.sendto(b"%d" % self.sent, self.address)
        self.sent += 1

    def datagram_received(self, data, source):
        self.received.add(int(data))
        self.sources.add(source[:2])
        if len(self.received) == COUNT:
            self.finished.set_result(None)
        elif self.sent < COUNT:
            self.send()

    def error_received(self, error):
        self.finished.set_exception(error)


async def main():
    connected = "connected" in sys.argv
    how = (
        {"remote_addr": (HOST, PORT)}
        if connected
        else {"local_addr": ("::" if ":" in HOST else "0.0.0.0", 0)}
    )
    loop = asyncio.get_running_loop()
    transport, numbers = await loop.create_datagram_endpoint(
        lambda: Numbers(None if connected else (HOST, PORT)), **how
    )
    result = {}
    try:
        async with asyncio.timeout(60):
            await numbers.finished
    except OSError as err:
        result["error"] = [type(err).__name__, str(err)]
    peer = transport.get_extra_info("peername")
    transport.close()
    return {
        "received": len(numbers.received),
        "sources": sorted(numbers.sources),
        "peer": peer,
    } | result


print(json.dumps(asyncio.run(main())))
