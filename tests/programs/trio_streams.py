"""trio, ten at once, plain or with TLS: trio_streams.py HOST PORT [CA]

Speaks HTTP.
"""

import json
import ssl
import sys

import trio


async def fetch(host, port, ca, answers):
    if ca:
        context = ssl.create_default_context(cafile=ca)
        # Servers that close without TLS's goodbye are the rule for HTTP.
        stream = await trio.open_ssl_over_tcp_stream(host, port, ssl_context=context, https_compatible=True)
    else:
        stream = await trio.open_tcp_stream(host, port)
    async with stream:
        await stream.send_all(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join([chunk async for chunk in stream])
    answers.append(answer.partition(b"\r\n\r\n")[2].decode())


async def main(host, port, ca=None):
    answers = []
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(fetch, host, int(port), ca, answers)
    assert len(answers) == 10 and len(set(answers)) == 1
    print(json.dumps({"body": answers[0]}))


trio.run(main, *sys.argv[1:])
