"""Accepts a peer with gevent, which is one of its own greenlets."""

import gevent.monkey

gevent.monkey.patch_all()

import json  # noqa: E402
import socket  # noqa: E402

import gevent  # noqa: E402

PATIENCE = 30

served = []
listener = socket.socket()
listener.bind(("", 0))
listener.listen()


def serve():
    conn, _ = listener.accept()
    with conn:
        served.append(conn.recv(5).decode())
        conn.sendall(b"hello")


server = gevent.spawn(serve)
gevent.sleep(0)
with socket.create_connection(("127.0.0.1", listener.getsockname()[1]), PATIENCE) as other:
    other.sendall(b"hello")
    other.recv(5)
server.join()
print(json.dumps({"served": served}))
