"""niquests over HTTP/3, with a Session and then with an AsyncSession: fetch_niquests_http3.py HOST PORT CA"""

import asyncio
import json
import sys

import niquests

host, port, ca = sys.argv[1], int(sys.argv[2]), sys.argv[3]
url = f"https://{host}:{port}/"


def told(answer):
    return [answer.status_code, answer.text, answer.http_version]


with niquests.Session() as session:
    session.quic_cache_layer.add_domain(host, port)
    result = {"blocking": told(session.get(url, verify=ca, timeout=30))}


async def main():
    async with niquests.AsyncSession() as session:
        session.quic_cache_layer.add_domain(host, port)
        result["asyncio"] = told(await session.get(url, verify=ca, timeout=30))


asyncio.run(main())
print(json.dumps(result))
