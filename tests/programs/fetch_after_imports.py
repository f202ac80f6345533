"""A script that protects itself, after its imports: fetch_after_imports.py URL [CA]

Everything that keeps a socket class or function of its own was imported before us.
"""

import asyncio
import json
import socket
import ssl
import sys
from socket import create_connection
from socket import socket as Socket

import requests

# isort: split
import pywrap.auto  # noqa: F401

url, *ca = sys.argv[1:]
scheme, _, rest = url.partition("://")
host, _, port = rest.partition("/")[0].rpartition(":")


async def through_asyncio():
    context = ssl.create_default_context(cafile=ca[0]) if ca else None
    reader, writer = await asyncio.open_connection(host.strip("[]"), int(port), ssl=context)
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.partition(b"\r\n\r\n")[2].decode()


def through_the_early_name():
    with create_connection((host.strip("[]"), int(port)), timeout=30) as sock:
        return isinstance(sock, socket.socket) and type(sock) is Socket


answer = requests.get(url, timeout=30, verify=ca[0] if ca else True)
print(
    json.dumps(
        {
            "status": answer.status_code,
            "body": answer.text,
            "asyncio": asyncio.run(through_asyncio()),
            "socket class": through_the_early_name(),
        }
    )
)
