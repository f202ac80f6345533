"""httpx under asyncio, ten at once: fetch_httpx_async.py URL [CA]"""

import asyncio
import json
import ssl
import sys

import httpx


async def main(url, ca=None):
    verify = ssl.create_default_context(cafile=ca) if ca else True
    async with httpx.AsyncClient(verify=verify, timeout=30) as client:
        responses = await asyncio.gather(*(client.get(url) for _ in range(10)))
    assert len({response.text for response in responses}) == 1
    print(json.dumps({"status": responses[0].status_code, "body": responses[0].text}))


asyncio.run(main(*sys.argv[1:]))
