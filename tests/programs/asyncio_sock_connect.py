"""asyncio with sockets of our own, many at once: asyncio_sock_connect.py HOST PORT [COUNT]

Expects an echo server. HOST is an address: this call resolves no names.
"""

import asyncio
import json
import socket
import sys


async def one(loop, host, port, number):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (host, port))
        text = b"%d\n" % number
        await loop.sock_sendall(sock, text)
        answer = b""
        while len(answer) < len(text):
            answer += await loop.sock_recv(sock, 100)
        return answer == text


async def main(host, port, count="100"):
    loop = asyncio.get_running_loop()
    right = await asyncio.gather(*(one(loop, host, int(port), number) for number in range(int(count))))
    print(json.dumps({"connections": len(right), "right": all(right)}))


asyncio.run(main(*sys.argv[1:]))
