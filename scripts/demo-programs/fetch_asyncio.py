"""Print a web page, with asyncio."""

import asyncio
import sys
from urllib.parse import urlsplit


async def main(url: str) -> None:
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(f"GET {where.path} HTTP/1.0\r\nHost: {where.netloc}\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    print(answer.partition(b"\r\n\r\n")[2].decode(), end="")


asyncio.run(main(sys.argv[1]))
