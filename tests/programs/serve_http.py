"""Serves itself: http.server in a thread, and a server of asyncio."""

import asyncio
import http.client
import http.server
import json
import threading

PATIENCE = 30


async def serve_with_asyncio():
    async def serve(reader, writer):
        writer.write(await reader.readexactly(5))
        writer.close()

    server = await asyncio.start_server(serve, "0.0.0.0", 0)
    reader, writer = await asyncio.open_connection(*("127.0.0.1", server.sockets[0].getsockname()[1]))
    writer.write(b"hello")
    said = await reader.read()
    writer.close()
    server.close()
    return said.decode()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


with http.server.ThreadingHTTPServer(("0.0.0.0", 0), Quiet) as server:
    threading.Thread(target=server.serve_forever).start()
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=PATIENCE)
    connection.request("GET", "/")
    status = connection.getresponse().status
    connection.close()
    host = server.server_address[0]
    server.shutdown()
print(json.dumps({"status": status, "host": host, "asyncio": asyncio.run(serve_with_asyncio())}))
