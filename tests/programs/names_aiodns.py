"""What aiodns says of a name and an address: names_aiodns.py NAME ADDRESS"""

import asyncio
import dataclasses
import json
import socket
import sys
import warnings

import aiodns


async def attempt(lookup):
    try:
        return await lookup
    except aiodns.error.DNSError as err:
        return [type(err).__name__, *err.args]


async def main(name, address):
    warnings.simplefilter("ignore")
    async with aiodns.DNSResolver() as resolver:
        rows = await resolver.getaddrinfo(name, port=80, type=socket.SOCK_STREAM)
        result = {
            "getaddrinfo": [[node.family, node.addr[0].decode(), node.addr[1]] for node in rows.nodes],
            "gethostbyname": (await resolver.gethostbyname(name, socket.AF_INET)).addresses,
            "getnameinfo": (await attempt(resolver.getnameinfo((address, 80)))),
            "gethostbyaddr": (await attempt(resolver.gethostbyaddr(address))),
            "A": await attempt(resolver.query_dns(name, "A")),
            "old A": await attempt(resolver.query(name, "A")),
            "AAAA": await attempt(resolver.query_dns(name, "AAAA")),
            "MX": await attempt(resolver.query_dns(name, "MX")),
            "bad": await attempt(resolver.getaddrinfo("a name")),
        }
        hanging = asyncio.ensure_future(attempt(resolver.query_dns(name, "A")))
        await asyncio.sleep(0)
        resolver.cancel()
        await hanging
    print(json.dumps(result, default=lambda found: dataclasses.asdict(found)))


asyncio.run(main(*sys.argv[1:]))
