"""uvicorn serves one page on port 0, and this program fetches it."""

import http.client
import json
import threading

import uvicorn

PATIENCE = 30


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})


class Announced(uvicorn.Server):
    """Tells when it listens, and where."""

    def __init__(self, config):
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets=None):
        await super().startup(sockets)
        self.listening.set()


server = Announced(uvicorn.Config(app, port=0, lifespan="off", log_level="error"))
thread = threading.Thread(target=server.run)
thread.start()
assert server.listening.wait(PATIENCE), "does not listen"
host, port = server.servers[0].sockets[0].getsockname()[:2]
connection = http.client.HTTPConnection(host, port, timeout=PATIENCE)
connection.request("GET", "/")
answer = connection.getresponse()
print(json.dumps({"status": answer.status, "body": answer.read().decode(), "host": host}))
connection.close()
server.should_exit = True
thread.join()
