"""A name server for DNS over TCP, whose messages are dnspython's, and which records what it was asked.

It knows a few records, and behaves badly when told to. ``asked``: (name, kind) of each question, in order;
``connections``: how many there were.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from tests.support.closing import Closing

# Gets a question and the answer to it, and returns the bytes to send; without any it hangs up.
Spoil = Callable[[dns.message.Message, dns.message.Message], bytes]


class NameServer(Closing):
    """``host``, ``port``, and ``setting``, which is what ``--dns`` takes."""

    allow_reuse_address = True
    request_queue_size = 1024
    daemon_threads = False
    block_on_close = True

    def __init__(self, records: tuple[str, ...], spoil: Spoil) -> None:
        self.asked: list[tuple[str, str]] = []
        self.connections = 0
        self._spoil = spoil
        self._records: dict[tuple[str, str], dns.rrset.RRset] = {}
        for line in records:
            name, seconds, kind, value = line.split()
            key = name.lower(), kind
            new = dns.rrset.from_text(f"{name}.", int(seconds), "IN", kind, value)
            self._records.setdefault(key, new).union_update(new)
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self.host, self.port = self.server_address[:2]
        self.setting = f"tcp://{self.host}:{self.port}"  # type: ignore[str-bytes-safe]

    def finish_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self.connections += 1
            self._open.add(request)
        with contextlib.suppress(OSError):
            while data := self._message(request):
                query = dns.message.from_wire(data)
                answer = self._spoil(query, self._answer(query))
                if not answer:
                    return
                request.sendall(len(answer).to_bytes(2, "big") + answer)

    def _message(self, client: socket.socket) -> bytes:
        size = int.from_bytes(client.recv(2, socket.MSG_WAITALL), "big")
        return client.recv(size, socket.MSG_WAITALL)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        (question,) = query.question
        kind = dns.rdatatype.to_text(question.rdtype)
        name = question.name.to_text(omit_final_dot=True)
        with self._lock:
            self.asked.append((name, kind))
        answer = dns.message.make_response(query, recursion_available=True)
        name = name.lower()
        while (name, "CNAME") in self._records:
            alias = self._records[name, "CNAME"]
            answer.answer.append(alias)
            name = alias[0].target.to_text(omit_final_dot=True).lower()
        if (name, kind) in self._records:
            answer.answer.append(self._records[name, kind])
        elif not any(known == name for known, _ in self._records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer


def faithful(query: dns.message.Message, answer: dns.message.Message) -> bytes:
    """The answer as it is."""
    return answer.to_wire()


@contextlib.contextmanager
def name_server(*records: str, spoil: Spoil = faithful) -> Iterator[NameServer]:
    """``records``: ``NAME SECONDS TYPE VALUE``, without final dots in the name.

    A name that has none at all does not exist.
    """
    with NameServer(records, spoil) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="name server")
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
