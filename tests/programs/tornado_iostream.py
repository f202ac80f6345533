"""tornado's IOStream on a socket of our own, and its TCPClient: tornado_iostream.py HOST PORT

Expects an echo server. HOST is an address for IOStream.connect(), which resolves no names.
"""

import asyncio
import json
import socket
import sys

from tornado.iostream import IOStream
from tornado.tcpclient import TCPClient


async def main(host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    answers = []
    for stream in (
        await IOStream(socket.socket(family)).connect((host, int(port))),
        await TCPClient().connect(host, int(port)),
    ):
        # More than fits into a socket's buffer, so that it waits for writability and for readability.
        writing = asyncio.ensure_future(stream.write(b"x" * 5_000_000))
        answers.append(len(await stream.read_bytes(5_000_000)))
        await writing
        stream.close()
    print(json.dumps({"echoed": answers}))


asyncio.run(main(*sys.argv[1:]))
