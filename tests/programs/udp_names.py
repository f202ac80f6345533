"""A destination by its name, four ways: udp_names.py HOST PORT

Expects an echo server.
"""

import asyncio
import json
import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
got = {}

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(30)
    sock.sendto(b"by name", (host, port))
    got["sendto"] = sock.recv(100).decode()

with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
    sock.settimeout(30)
    sock.connect((host, port))
    sock.send(b"over an IPv6 socket")
    got["connect"] = sock.recv(100).decode()

family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
with socket.socket(family, kind, proto) as sock:
    sock.settimeout(30)
    sock.sendto(b"looked up", address)
    answer, source = sock.recvfrom(100)
    got["getaddrinfo"] = [answer.decode(), source == address]


class Once(asyncio.DatagramProtocol):
    def __init__(self):
        self.answer = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        transport.sendto(b"by asyncio")

    def datagram_received(self, data, source):
        self.answer.set_result(data.decode())


async def main():
    loop = asyncio.get_running_loop()
    transport, once = await loop.create_datagram_endpoint(Once, remote_addr=(host, port))
    async with asyncio.timeout(30):
        got["asyncio"] = await once.answer
    transport.close()


asyncio.run(main())
print(json.dumps(got))
