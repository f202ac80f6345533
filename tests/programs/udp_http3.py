"""aioquic's client, HTTP/3, or that of another library: udp_http3.py HOST PORT SERVER_NAME CA BYTES [LIBRARY]

Two requests on one connection: a greeting, and as many BYTES.
"""

import asyncio
import importlib
import json
import sys

host, port, server_name, ca, size = sys.argv[1], int(sys.argv[2]), *sys.argv[3:5], int(sys.argv[5])
library = sys.argv[6] if len(sys.argv) > 6 else "aioquic"


def load(module, *names):
    found = importlib.import_module(f"{library}.{module}")
    return [getattr(found, name) for name in names]


(connect,) = load("asyncio.client", "connect")
(QuicConnectionProtocol,) = load("asyncio.protocol", "QuicConnectionProtocol")
H3_ALPN, H3Connection = load("h3.connection", "H3_ALPN", "H3Connection")
DataReceived, HeadersReceived = load("h3.events", "DataReceived", "HeadersReceived")
(QuicConfiguration,) = load("quic.configuration", "QuicConfiguration")


class Client(QuicConnectionProtocol):  # type: ignore[valid-type]
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.http = H3Connection(self._quic)
        self.answers = {}

    async def get(self, path):
        stream = self._quic.get_next_available_stream_id()
        answer = asyncio.get_running_loop().create_future()
        self.answers[stream] = {"body": b"", "done": answer}
        authority = f"{server_name}:{port}".encode()
        self.http.send_headers(
            stream,
            [
                (b":method", b"GET"),
                (b":scheme", b"https"),
                (b":authority", authority),
                (b":path", path.encode()),
            ],
            end_stream=True,
        )
        self.transmit()
        return await answer

    def quic_event_received(self, event):
        for part in self.http.handle_event(event):
            answer = self.answers[part.stream_id]
            if isinstance(part, HeadersReceived):
                answer["status"] = int(dict(part.headers)[b":status"])
            elif isinstance(part, DataReceived):
                answer["body"] += part.data
            if part.stream_ended:
                answer["done"].set_result((answer["status"], answer["body"]))


async def main():
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, server_name=server_name)
    configuration.load_verify_locations(cafile=ca)
    async with connect(host, port, configuration=configuration, create_protocol=Client) as client:
        async with asyncio.timeout(60):
            status, body = await client.get("/")
            _, many = await client.get(f"/{size}")
    return {"status": status, "body": body.decode(), "bytes": len(many)}


print(json.dumps(asyncio.run(main())))
