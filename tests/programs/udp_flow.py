"""Threads and an event loop that send and receive until they are told otherwise: udp_flow.py HOST PORT

Expects an echo server. Says {"flowing": true} on stdout, and at the end what each of them was told.
"""

import asyncio
import errno
import json
import socket
import sys
import threading

HOST, PORT = sys.argv[1], int(sys.argv[2])
told = {}
flowing = threading.Barrier(4)


def until_told(name, function):
    try:
        function()
        flowing.wait(30)
        while True:
            function()
    except OSError as err:
        told[name] = [errno.errorcode.get(err.errno, err.errno), str(err)]


class Echoing(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
        self.told = asyncio.get_running_loop().create_future()
        self.began = False
        transport.sendto(b"x")

    def datagram_received(self, data, source):
        if not self.began:
            self.began = True
            flowing.wait(30)
        self.transport.sendto(data)

    def error_received(self, error):
        if not self.told.done():
            self.told.set_result(error)


async def loop():
    running = asyncio.get_running_loop()
    transport, echoing = await running.create_datagram_endpoint(Echoing, remote_addr=(HOST, PORT))
    error = await echoing.told
    told["loop"] = [errno.errorcode.get(error.errno, error.errno), str(error)]
    transport.close()


sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((HOST, PORT))
jobs = [
    threading.Thread(target=until_told, args=("sender", lambda: sock.send(b"x"))),
    threading.Thread(target=until_told, args=("receiver", lambda: sock.recv(10))),
    threading.Thread(target=lambda: asyncio.run(loop())),
]
for job in jobs:
    job.start()
flowing.wait(30)
print(json.dumps({"flowing": True}), flush=True)
for job in jobs:
    job.join()
print(json.dumps(told))
