"""What datagrams are sent to: a name server and HTTP/3, with the libraries whose clients are tested too.

And what the small ones speak: an answer for each request, or ``heard`` for what wants none.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import trustme
from aioquic.asyncio import QuicConnectionProtocol, serve  # type: ignore[attr-defined]
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration

from tests.support.destinations import HELLO

HOST = "127.0.0.1"


class Answering(threading.Thread):
    """``answer`` maps each datagram, and where it came from, to what is sent back; None for nothing.

    ``heard``: the datagrams and their sources.
    """

    def __init__(self, answer: Callable[[bytes, tuple[str, int]], bytes | None]) -> None:
        super().__init__(name="answering datagrams")
        self.heard: list[bytes] = []
        self.sources: list[tuple[str, int]] = []
        self._answer = answer
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((HOST, 0))
        self.host, self.port = self._sock.getsockname()
        self._changed = threading.Condition()
        self._over = False

    def run(self) -> None:
        while True:
            data, source = self._sock.recvfrom(1 << 16)
            if self._over:
                return
            with self._changed:
                self.heard.append(data)
                self.sources.append(source)
                self._changed.notify_all()
            if (answer := self._answer(data, source)) is not None:
                self._sock.sendto(answer, source)

    def wait_for_heard(self, count: int) -> list[bytes]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.heard) >= count, 30), self.heard
            return list(self.heard)

    def close(self) -> None:
        self._over = True
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", (self.host, self.port))
        self.join()
        self._sock.close()


@contextlib.contextmanager
def answering(answer: Callable[[bytes, tuple[str, int]], bytes | None]) -> Iterator[Answering]:
    server = Answering(answer)
    server.start()
    try:
        yield server
    finally:
        server.close()


def nothing(data: bytes, source: tuple[str, int]) -> None:
    """A destination that only listens."""


# 2036-02-07, where the seconds of NTP begin anew, less one.
NTP_TIME = 0xFFFFFFFF


def ntp(data: bytes, source: tuple[str, int]) -> bytes:
    """RFC 5905: the mode of a server, and the time it sends at."""
    assert data == b"\x23" + bytes(47)
    return b"\x24\x01" + bytes(38) + struct.pack("!II", NTP_TIME, 0)


def stun(data: bytes, source: tuple[str, int]) -> bytes:
    """RFC 8489: a success with one XOR-MAPPED-ADDRESS."""
    kind, length, cookie = struct.unpack_from("!HHI", data)
    assert (kind, length, cookie) == (1, 0, 0x2112A442)
    address = int.from_bytes(socket.inet_aton(source[0]), "big") ^ cookie
    attribute = struct.pack("!HHBBHI", 0x0020, 8, 0, 1, source[1] ^ (cookie >> 16), address)
    return struct.pack("!HHI", 0x0101, len(attribute), cookie) + data[8:20] + attribute


class Zone:
    """A name server that knows ``name``: an address, and a text of 2000 characters."""

    name = "example.test."
    address = "192.0.2.53"
    text = ["x" * 250] * 8

    def __call__(self, data: bytes, source: tuple[str, int]) -> bytes:
        query = dns.message.from_wire(data)
        (question,) = query.question
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA
        if question.name.to_text() != self.name:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif question.rdtype.name == "A":
            answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", self.address))
        else:
            text = " ".join(f'"{part}"' for part in self.text)
            answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", "TXT", text))
        return answer.to_wire(max_size=query.payload)


# ---------------------------------------------------------------- HTTP/3


class Http3(NamedTuple):
    """``/`` is ``HELLO``, and ``/N`` as many bytes. ``sources``: where datagrams came from."""

    host: str
    port: int
    ca_pem: str
    sources: list[tuple[str, int]]


class _Http3Protocol(QuicConnectionProtocol):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._http = H3Connection(self._quic)

    def quic_event_received(self, event: Any) -> None:
        for part in self._http.handle_event(event):
            if isinstance(part, HeadersReceived):
                path = dict(part.headers)[b":path"][1:]
                self._http.send_headers(part.stream_id, [(b":status", b"200")])
                self._http.send_data(part.stream_id, bytes(int(path)) if path else HELLO, end_stream=True)
                self.transmit()


@contextlib.contextmanager
def http3_server(*names: str) -> Iterator[Http3]:
    """An HTTP/3 server on a free port, certified for localhost and ``names``."""
    with tempfile.TemporaryDirectory(prefix="pysocksify-http3-") as name:
        directory = Path(name)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(directory / "ca.pem")
        certificate = authority.issue_cert("localhost", *names)
        chain, key = directory / "chain.pem", directory / "key.pem"
        certificate.cert_chain_pems[0].write_to_path(chain)
        certificate.private_key_pem.write_to_path(key)
        configuration = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN)
        configuration.load_cert_chain(chain, key)

        loop = asyncio.new_event_loop()
        sources: list[tuple[str, int]] = []

        serving = serve(HOST, 0, configuration=configuration, create_protocol=_Http3Protocol)
        server = loop.run_until_complete(serving)
        received = server.datagram_received

        def datagram_received(data: Any, source: tuple[str, int]) -> None:
            sources.append(source)
            received(data, source)

        server.datagram_received = datagram_received
        thread = threading.Thread(target=loop.run_forever, name="HTTP/3")
        thread.start()
        try:
            port = server._transport.get_extra_info("sockname")[1]
            yield Http3(HOST, port, str(directory / "ca.pem"), sources)
        finally:
            loop.call_soon_threadsafe(server.close)
            loop.call_soon_threadsafe(loop.call_soon, loop.stop)
            thread.join()
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
