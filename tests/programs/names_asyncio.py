"""Look-ups by an event loop: names_asyncio.py NAME"""

import asyncio
import json
import socket
import sys


async def attempt(function, *args, **options):
    try:
        return await function(*args, **options)
    except (OSError, ValueError, TypeError) as err:
        return [type(err).__name__, getattr(err, "errno", None)]


async def main(name):
    loop = asyncio.get_running_loop()
    rows = await loop.getaddrinfo(name, 80, type=socket.SOCK_STREAM)
    address = rows[0][4]
    result = {
        "rows": [[int(row[0]), int(row[1]), row[4]] for row in rows],
        "name": await loop.getnameinfo(address),
        "literal": [row[4] for row in await loop.getaddrinfo("192.0.2.1", 80, type=socket.SOCK_STREAM)],
        "loopback": await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
        "bad": await attempt(loop.getaddrinfo, "a name", 80),
        "own": (await loop.getaddrinfo("localhost", 80, family=socket.AF_INET))[0][4],
    }
    print(json.dumps(result))


asyncio.run(main(*sys.argv[1:]))
