"""Servers for programs to connect to: small, deterministic, on a loopback port of their own.

Each is a context manager. Except for the ports that do not answer, what it yields is a
``Destination``: ``host``, ``port``, and ``seen``, the addresses that connected.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import json
import random
import re
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import paramiko
import trustme

from tests.support.closing import Closing

# A name without an address, for tests in which the proxy alone knows one. RFC 6761 keeps it unused.
ONLY_THE_PROXY_KNOWS = "only-the-proxy-knows.test"
CERTIFIED = ("localhost", "127.0.0.1", "::1", ONLY_THE_PROXY_KNOWS)

HELLO = b"hello from the destination\n"
BANNER = b"220 destination.test ESMTP ready\r\n"

_STOP_POLL = 0.02
_MIB = 1 << 20


class Destination(Closing):
    allow_reuse_address = True
    # 200 threads arrive at once.
    request_queue_size = 1024
    # Joined in server_close(): a thread that outlives its test leaves warnings in the next one.
    daemon_threads = False
    block_on_close = True

    def __init__(
        self, handler: type[socketserver.BaseRequestHandler], host: str, tls: ssl.SSLContext | None = None
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.seen: list[tuple[str, int]] = []
        self.ca_pem = ""
        self._tls = tls
        super().__init__((host, 0), handler)

    @property
    def host(self) -> str:
        return str(self.server_address[0])

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def url(self, path: str = "/", host: str | None = None) -> str:
        """The URL of ``path``, or of the same on ``host``."""
        host = self.host if host is None else host
        scheme = "https" if self._tls else "http"
        return (
            f"{scheme}://[{host}]:{self.port}{path}"
            if ":" in host
            else f"{scheme}://{host}:{self.port}{path}"
        )

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self.seen.append(client_address[:2])
            self._open.add(request)
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self._tls is None:
            super().finish_request(request, client_address)
            return
        # Here and not in get_request(): a client that does not go on would keep all others waiting.
        with self._tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False) as wrapped:
            # wrap_socket() has detached the file from ``request``: server_close() must know this one.
            with self._lock:
                self._open = (self._open - {request}) | {wrapped}
            try:
                wrapped.do_handshake()
                super().finish_request(wrapped, client_address)
            finally:
                with self._lock:
                    self._open.discard(wrapped)
                # Say goodbye, and do not wait for an answer: not every client gives one.
                wrapped.settimeout(0)
                with contextlib.suppress(OSError, ValueError):
                    wrapped.unwrap()

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Programs go away when they have what they wanted, and tests let TLS fail.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@contextlib.contextmanager
def _serving(
    handler: type[socketserver.BaseRequestHandler], host: str, tls: ssl.SSLContext | None = None
) -> Iterator[Destination]:
    with Destination(handler, host, tls) as destination:
        thread = threading.Thread(target=destination.serve_forever, args=(_STOP_POLL,), name=handler.__name__)
        thread.start()
        try:
            yield destination
        finally:
            destination.shutdown()
            thread.join()


# ---------------------------------------------------------------- known bytes


def known_bytes(size: int) -> Iterator[bytes]:
    """``size`` bytes that are always the same, in pieces; a lost, doubled or swapped piece changes them."""
    block = random.Random("pysocksify").randbytes(_MIB - 8)
    for number in range(0, (size + _MIB - 1) // _MIB):
        yield (number.to_bytes(8, "big") + block)[: size - number * _MIB]


@functools.cache
def known_digest(size: int) -> str:
    """The SHA-256 of ``known_bytes(size)``, in hexadecimal."""
    digest = hashlib.sha256()
    for piece in known_bytes(size):
        digest.update(piece)
    return digest.hexdigest()


# ---------------------------------------------------------------- HTTP


@contextlib.contextmanager
def http_server(host: str = "127.0.0.1") -> Iterator[Destination]:
    """``/`` is ``HELLO``, ``/bytes/N`` N known bytes; POST and PUT answer with size and SHA-256 as JSON."""
    with _serving(_Http, host) as destination:
        yield destination


@contextlib.contextmanager
def https_server(host: str = "127.0.0.1", names: tuple[str, ...] = CERTIFIED) -> Iterator[Destination]:
    """The same with TLS, for ``names``. Its authority is in the file ``ca_pem``."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    with tempfile.TemporaryDirectory(prefix="pysocksify-ca-") as directory:
        ca_pem = Path(directory, "ca.pem")
        authority.cert_pem.write_to_path(str(ca_pem))
        with _serving(_Http, host, context) as destination:
            destination.ca_pem = str(ca_pem)
            yield destination


class _Http(http.server.BaseHTTPRequestHandler):
    # Keeps connections, which is what the libraries' pools are about.
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/":
            self._answer(200, "text/plain", HELLO)
        elif self.path.startswith("/bytes/"):
            size = int(self.path.removeprefix("/bytes/"))
            self._start(200, "application/octet-stream", size)
            for piece in known_bytes(size):
                self.wfile.write(piece)
        else:
            self._answer(404, "text/plain", b"nothing here\n")

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        digest = hashlib.sha256()
        left = size
        while left and (data := self.rfile.read(min(left, _MIB))):
            digest.update(data)
            left -= len(data)
        answer = {"bytes": size - left, "sha256": digest.hexdigest()}
        self._answer(200, "application/json", json.dumps(answer).encode())

    do_PUT = do_POST

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self._start(status, kind, len(body))
        self.wfile.write(body)

    def _start(self, status: int, kind: str, size: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


# ---------------------------------------------------------------- plain TCP


@contextlib.contextmanager
def echo_server(host: str = "127.0.0.1") -> Iterator[Destination]:
    """Sends back what it gets, and ends when the client does."""
    with _serving(_Echo, host) as destination:
        yield destination


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(1 << 16):
            self.request.sendall(data)


@contextlib.contextmanager
def sink_server(host: str = "127.0.0.1") -> Iterator[Destination]:
    """Reads to the end of what the client sends, and then answers with its SHA-256 in hexadecimal."""
    with _serving(_Sink, host) as destination:
        yield destination


class _Sink(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        digest = hashlib.sha256()
        while data := self.request.recv(_MIB):
            digest.update(data)
        self.request.sendall(digest.hexdigest().encode())


@contextlib.contextmanager
def greeting_server(host: str = "127.0.0.1") -> Iterator[Destination]:
    """Speaks first (``BANNER``), and then as much SMTP as smtplib needs to hand in a mail."""
    with _serving(_Smtp, host) as destination:
        yield destination


class _Smtp(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        self.wfile.write(BANNER)
        while line := self.rfile.readline():
            match line.split()[0].upper() if line.split() else b"":
                case b"QUIT":
                    self.wfile.write(b"221 bye\r\n")
                    return
                case b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    size = 0
                    while (line := self.rfile.readline()) not in (b".\r\n", b""):
                        size += len(line)
                    self.wfile.write(b"250 taken: %d bytes\r\n" % size)
                case b"EHLO" | b"HELO" | b"NOOP" | b"RSET" | b"MAIL" | b"RCPT":
                    self.wfile.write(b"250 fine\r\n")
                case _:
                    self.wfile.write(b"502 unknown\r\n")


# ---------------------------------------------------------------- SSH


@contextlib.contextmanager
def ssh_server(host: str = "127.0.0.1") -> Iterator[Destination]:
    """Lets any user in with the password ``secret``, and knows one command: ``echo``."""
    with _serving(_Ssh, host) as destination:
        yield destination


@functools.cache
def _host_key() -> paramiko.PKey:
    return paramiko.ECDSAKey.generate()


class _Ssh(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        transport = paramiko.Transport(self.request)
        try:
            transport.add_server_key(_host_key())
            with contextlib.suppress(paramiko.SSHException, EOFError):
                transport.start_server(server=_SshSession())
                # Until the client goes, or the test ends and takes the socket away.
                transport.join()
        finally:
            transport.close()
            transport.join()


class _SshSession(paramiko.ServerInterface):
    def check_auth_password(self, username: str, password: str) -> int:
        return paramiko.AUTH_SUCCESSFUL if password == "secret" else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED if kind == "session" else paramiko.OPEN_FAILED_UNKNOWN_CHANNEL_TYPE

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        # The client learns that the request was granted when this returns, and expects output after that.
        threading.Thread(target=self._execute, args=(channel, command), name="ssh command").start()
        return True

    def _execute(self, channel: paramiko.Channel, command: bytes) -> None:
        with contextlib.suppress(OSError, EOFError), channel:
            known = command.startswith(b"echo ")
            channel.sendall(command.removeprefix(b"echo ") + b"\n" if known else b"unknown command\n")
            channel.send_exit_status(0 if known else 127)
            channel.shutdown_write()
            # Nothing comes, until the client closes. If we did, it could hear that before the answer to its
            # request, which another thread sends, and would take it for a refusal.
            channel.recv(1)


# ---------------------------------------------------------------- FTP


class Ftp(NamedTuple):
    host: str
    port: int
    user: str = "alice"
    password: str = "secret"


@contextlib.contextmanager
def ftp_server(directory: Path, host: str = "127.0.0.1") -> Iterator[Ftp]:
    """pyftpdlib, which may read and write in ``directory``, and opens data connections either way."""
    login = ["-u", Ftp._field_defaults["user"], "-P", Ftp._field_defaults["password"]]
    command = ["-m", "pyftpdlib", "-i", host, "-p", "0", "-w", "-d", str(directory), *login]
    # A process, since it stands on asyncore, of which importing it warns.
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", *command], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if found := re.search(r"starting FTP server on \S+:(\d+),", line):
                    break
            else:
                raise AssertionError("pyftpdlib does not start")
            yield Ftp(host, int(found[1]))
        finally:
            process.kill()


# ---------------------------------------------------------------- no answer


class Blackhole:
    """Accepts, and does nothing else: ``host``, ``port``, and how many connections came."""

    def __init__(self, listener: socket.socket) -> None:
        self.host, self.port = listener.getsockname()[:2]
        self._connections: list[socket.socket] = []
        self._arrived = threading.Condition()
        self._listener = listener

    @property
    def accepted(self) -> int:
        return len(self._connections)

    def wait_for(self, count: int, timeout: float = 30) -> bool:
        """Wait until ``count`` connections came; say whether they did."""
        with self._arrived:
            return self._arrived.wait_for(lambda: self.accepted >= count, timeout)

    def serve(self) -> None:
        # shutdown() of the listener ends it.
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with self._arrived:
                    self._connections.append(connection)
                    self._arrived.notify_all()

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


@contextlib.contextmanager
def blackhole_proxy(host: str = "127.0.0.1") -> Iterator[Blackhole]:
    """A proxy that takes every connection and never says a word."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family, backlog=1024) as listener:
        blackhole = Blackhole(listener)
        thread = threading.Thread(target=blackhole.serve, name="blackhole")
        thread.start()
        try:
            yield blackhole
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            blackhole.close()


@contextlib.contextmanager
def refusing_port(host: str = "127.0.0.1") -> Iterator[int]:
    """A port that refuses connections as long as the context lasts: bound, so no other process gets it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        yield sock.getsockname()[1]
