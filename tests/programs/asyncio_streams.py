"""asyncio's streams: asyncio_streams.py HOST PORT [CA]

Speaks HTTP, in pieces that fill the writer's buffer, and reads to the end.
"""

import asyncio
import hashlib
import json
import ssl
import sys

SIZE = 3_000_000


async def main(host, port, ca=None):
    context = ssl.create_default_context(cafile=ca) if ca else None
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    writer.write(f"POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {SIZE}\r\n".encode())
    writer.write(b"Connection: close\r\n\r\n")
    digest = hashlib.sha256()
    for start in range(0, SIZE, 50_000):
        piece = bytes([start % 251]) * min(50_000, SIZE - start)
        digest.update(piece)
        writer.write(piece)
        await writer.drain()
    head = await reader.readuntil(b"\r\n\r\n")
    answer = json.loads(await reader.read())
    peer = writer.get_extra_info("peername")
    cipher = writer.get_extra_info("cipher")
    writer.close()
    await writer.wait_closed()
    result = {
        "status": int(head.split()[1]),
        "right": answer == {"bytes": SIZE, "sha256": digest.hexdigest()},
        "peer": peer[:2],
        "tls": cipher is not None,
    }
    print(json.dumps(result))


asyncio.run(main(*sys.argv[1:]))
