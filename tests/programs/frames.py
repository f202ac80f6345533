"""Whose Python code runs between the program and the kernel? frames.py HOST PORT [CA]

Prints the files whose functions were called while data went to and fro, for blocking sockets and asyncio.
Speaks HTTP, since that is what both of the servers with TLS and without do.
"""

import asyncio
import json
import os
import socket
import ssl
import sys

host, port, *ca = sys.argv[1:]
context = ssl.create_default_context(cafile=ca[0]) if ca else None
REQUEST = f"GET /bytes/100000 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
AT_LEAST = 100_000
files = set()


def profile(frame, event, argument):
    if event == "call":
        files.add(os.path.realpath(frame.f_code.co_filename))


def with_a_socket():
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        if context:
            sock = context.wrap_socket(sock, server_hostname=host)
        buffer = bytearray(65536)
        sys.setprofile(profile)
        got = 0
        sock.sendall(REQUEST)
        while got < AT_LEAST:
            got += len(sock.recv(10)) + sock.recv_into(buffer)
        sock.send(REQUEST)
        with sock.makefile("rb") as file:
            file.read(AT_LEAST)
        sys.setprofile(None)
        sock.close()


async def with_asyncio():
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    sys.setprofile(profile)
    writer.write(REQUEST)
    await writer.drain()
    await reader.readexactly(AT_LEAST)
    sys.setprofile(None)
    writer.close()
    await writer.wait_closed()


with_a_socket()
blocking, files = files, set()
asyncio.run(with_asyncio())
print(json.dumps({"blocking": sorted(blocking), "asyncio": sorted(files)}))
