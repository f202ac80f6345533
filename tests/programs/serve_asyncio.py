"""Servers and a client of each in one process: serve_asyncio.py HOST PORT

At HOST and PORT; and for clients of a socket that is made before.
"""

import asyncio
import json
import socket
import sys


async def answer(reader, writer):
    writer.write((await reader.readline()).upper())
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def ask(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"hello\n")
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return line.decode()


async def attempt(host, port, **options):
    try:
        server = await asyncio.start_server(answer, host, port, **options)
    except OSError as err:
        return [type(err).__name__, err.errno]
    async with server:
        return await ask(server.sockets[0].getsockname()[1])


async def main(host, port):
    result = {"own": await attempt(host, int(port))}
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    result["given"] = await attempt(None, None, sock=sock)
    print(json.dumps(result))


asyncio.run(main(*sys.argv[1:]))
