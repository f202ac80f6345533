"""tornado's AsyncHTTPClient, ten at once: fetch_tornado.py URL [CA]"""

import asyncio
import json
import sys

from tornado.httpclient import AsyncHTTPClient


async def main(url, ca=None):
    client = AsyncHTTPClient()
    responses = await asyncio.gather(*(client.fetch(url, ca_certs=ca) for _ in range(10)))
    client.close()
    assert len({response.body for response in responses}) == 1
    print(json.dumps({"status": responses[0].code, "body": responses[0].body.decode()}))


asyncio.run(main(*sys.argv[1:]))
