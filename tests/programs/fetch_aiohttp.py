"""aiohttp, ten at once: fetch_aiohttp.py URL [CA]"""

import asyncio
import json
import ssl
import sys

import aiohttp


async def fetch(session, url):
    async with session.get(url) as response:
        return response.status, await response.text()


async def main(url, ca=None):
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca) if ca else True)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(30)) as session:
        answers = await asyncio.gather(*(fetch(session, url) for _ in range(10)))
    assert len(set(answers)) == 1
    print(json.dumps({"status": answers[0][0], "body": answers[0][1]}))


asyncio.run(main(*sys.argv[1:]))
