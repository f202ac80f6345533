"""Exchange COUNT datagrams with an echo, one after the other, between two calls of getppid(2), for strace.

datagrams_often.py HOW HOST PORT COUNT. HOW: blocking, connected, timeout, asyncio.
"""

import asyncio
import os
import socket
import sys

how, host, port, count = sys.argv[1:]
there = host, int(port)


def exchange(sock, times):
    for _ in range(times):
        if how == "connected":
            sock.send(b"x" * 64)
            assert sock.recv(2048) == b"x" * 64
        else:
            sock.sendto(b"x" * 64, there)
            assert sock.recvfrom(2048) == (b"x" * 64, there)


class Exchange(asyncio.DatagramProtocol):
    """``left``: so many are still to be sent."""

    def connection_made(self, transport):
        self.transport = transport
        self.over = None

    def begin(self, times):
        self.left, self.over = times - 1, asyncio.get_running_loop().create_future()
        self.transport.sendto(b"x" * 64, there)
        return self.over

    def datagram_received(self, data, source):
        assert (data, source) == (b"x" * 64, there)
        if self.left:
            self.left -= 1
            self.transport.sendto(data, there)
        else:
            self.over.set_result(None)


async def in_asyncio():
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Exchange, family=socket.AF_INET)
    # Twice before, for the association and for what is remembered after the first one.
    await protocol.begin(2)
    os.getppid()
    await protocol.begin(int(count))
    os.getppid()
    transport.close()


if how == "asyncio":
    asyncio.run(in_asyncio())
else:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if how == "timeout":
            sock.settimeout(30)
        if how == "connected":
            sock.connect(there)
        exchange(sock, 2)
        os.getppid()
        exchange(sock, int(count))
        os.getppid()
