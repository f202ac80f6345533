"""A SOCKS server that alone knows some names, and answers everything else as it is told.

For what no test may do otherwise: have a program ask for a name or an address of the wide world. Nothing is
resolved here, and nothing but loopback is dialled. It records what it was asked for, as ``servers`` does.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from pywrap.errors import SocksError
from pywrap.socks import v5
from pywrap.socks.serve import COMMANDS, receive_request
from pywrap.socks.wire import Endpoint
from tests.support.closing import Closing
from tests.support.play import hold

LOOPBACK = ("127.0.0.1", "::1")


class NamingProxy(Closing):
    """``host``, ``port``, ``url()``, and ``asked``: (command, host, port) of each request.

    With ``takes_any_login``, clients have to log in, and ``logins`` has their usernames and passwords.
    """

    allow_reuse_address = True
    request_queue_size = 1024
    daemon_threads = False
    block_on_close = True

    def __init__(
        self, hosts: Mapping[str, str], replies: Mapping[str, int | None], takes_any_login: bool
    ) -> None:
        self.asked: list[tuple[str, str, int]] = []
        self.logins: list[tuple[bytes, bytes]] = []
        self._check = self._take_login if takes_any_login else None
        self._hosts = hosts
        self._replies = replies
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)

    @property
    def host(self) -> str:
        return str(self.server_address[0])

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def url(self, scheme: str = "socks5h") -> str:
        return f"{scheme}://{self.host}:{self.port}"

    def finish_request(self, request: Any, client_address: Any) -> None:
        # A program may hang up in the middle of anything.
        with contextlib.suppress(SocksError, OSError):
            self._serve(self._noted(request))

    def _serve(self, client: socket.socket) -> None:
        request = hold(receive_request(self._check), client)
        host, port = request.destination.host, request.destination.port
        with self._lock:
            self.asked.append((COMMANDS[request.command], host, port))
        address = self._hosts.get(host, host)
        looked_up = request.command in (v5.RESOLVE, v5.RESOLVE_PTR)
        known = host in self._hosts if looked_up else address in LOOPBACK
        code = self._replies.get(host, v5.SUCCEEDED if known else v5.HOST_UNREACHABLE)
        if code is None:
            client.recv(1)
            return
        if code != v5.SUCCEEDED:
            client.sendall(request.reply(code))
            return
        if looked_up:
            client.sendall(request.reply(code, Endpoint(address, 0)))
            return
        try:
            server = self._noted(socket.create_connection((address, port)))
        except ConnectionRefusedError:
            client.sendall(request.reply(v5.CONNECTION_REFUSED))
            return
        with server:
            client.sendall(request.reply(v5.SUCCEEDED))
            back = threading.Thread(target=carry, args=(server, client), name="naming proxy")
            back.start()
            carry(client, server)
            back.join()

    def _take_login(self, username: bytes, password: bytes) -> bool:
        with self._lock:
            self.logins.append((username, password))
        return True

    def _noted(self, sock: socket.socket) -> socket.socket:
        with self._lock:
            self._open.add(sock)
        return sock


@contextlib.contextmanager
def naming_proxy(
    hosts: Mapping[str, str] | None = None,
    replies: Mapping[str, int | None] | None = None,
    takes_any_login: bool = False,
) -> Iterator[NamingProxy]:
    """``hosts``: name to loopback address. ``replies``: host to reply code of SOCKS5, None for no reply.

    Whatever is neither in these nor loopback is answered with "host unreachable". RESOLVE and RESOLVE_PTR are
    answered from ``hosts`` as well, which has any addresses for them, and names of addresses.
    """
    with NamingProxy(hosts or {}, replies or {}, takes_any_login) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,), name="naming proxy")
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


def carry(source: socket.socket, sink: socket.socket) -> None:
    """Everything from one to the other, and the end as well."""
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
