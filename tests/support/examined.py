"""What ``--check`` says about proxies, and proxies that promise more or less than they do."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import socketserver
import threading

from pywrap.config.url import parse_proxy
from pywrap.launch import check
from pywrap.launch.check import Role
from pywrap.launch.check.report import NO, UNKNOWN, YES, Finding, Report
from pywrap.socks import serve
from pywrap.socks.datagram import pack_header, unpack_header
from pywrap.socks.wire import Endpoint
from tests.support.play import hold

# For a question that is answered, on a busy machine; and for one that never is.
PATIENT = 30.0
IMPATIENT = 0.3
NOTHING_ELSE = dict.fromkeys(
    ("method_none", "method_password", "method_gssapi", "connect", "names")
    + ("ipv6", "udp", "udp_names", "bind", "pipelining", "data_behind", "half_close", "resolve"),
    UNKNOWN,
)
METHOD_NONE = {"method_none": YES, "method_password": NO, "method_gssapi": NO}
METHOD_PASSWORD = {"method_none": NO, "method_password": YES, "method_gssapi": NO}
# Ours takes a password that it does not need.
METHODS_OF_OURS = {"method_none": YES, "method_password": YES, "method_gssapi": NO}
TCP = {"reachable": YES, "connect": YES, "names": YES, "ipv6": YES}
UDP = {"udp": YES, "udp_names": YES}
NO_UDP = {"udp": NO, "udp_names": UNKNOWN}
PIPELINING = {"pipelining": YES, "data_behind": YES}
MICROSOCKS = {
    **NO_UDP,
    "bind": NO,
    "pipelining": NO,
    "data_behind": UNKNOWN,
    "half_close": NO,
    "resolve": NO,
}


def examined(*paths, patience=PATIENT, **how):
    """What the JSON says about each of ``paths``, which are tuples of URLs, or a single URL."""
    hops = [(path,) if isinstance(path, str) else path for path in paths]
    proxies = [tuple(parse_proxy(url) for url in path) for path in hops]
    text, status = check.check(dict.fromkeys(proxies, Role()), patience, json=True, **how)
    told = json.loads(text)
    assert status == (0 if told["works"] else 1)
    return told["proxies"] if len(paths) > 1 else told["proxies"][0]


def verdicts(told):
    return {
        subject: value["verdict"]
        for subject, value in told.items()
        if type(value) is dict and "verdict" in value
    }


def url_of(peer, scheme="socks5h", login=""):
    return f"{scheme}://{login}{peer.host}:{peer.port}"


class Promising(socketserver.ThreadingTCPServer):
    """Relays a connection's first answer; grants UDP and BIND as well, and does nothing about them."""

    def __init__(self):
        self.idle = contextlib.ExitStack()
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.host, self.port = self.server_address

    def server_close(self):
        super().server_close()
        self.idle.close()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError, ValueError):
                request = hold(serve.receive_request(), self.request)
                if request.command == 1:
                    there = (request.destination.host, request.destination.port)
                    with socket.create_connection(there) as onward:
                        self.request.sendall(request.reply(0))
                        onward.sendall(self.request.recv(100))
                        self.request.sendall(onward.recv(100))
                    return
                sock = socket.socket(type=socket.SOCK_STREAM if request.command == 2 else socket.SOCK_DGRAM)
                self.server.idle.enter_context(sock).bind(("127.0.0.1", 0))
                if request.command == 2:
                    sock.listen()
                # 0.0.0.0 is the address that we were asked at.
                self.request.sendall(request.reply(0, Endpoint("0.0.0.0", sock.getsockname()[1])))
                self.request.recv(1)


class Relaying(socketserver.ThreadingTCPServer):
    """Relays a connection's first answer, datagrams, and what the peer of a BIND says first.

    ``names``: also datagrams to names? ``wants_port``: only those from the port that the request tells?
    ``at_peer``: for a BIND, does it listen at the peer's address? ``relay``: what it calls its relay.
    """

    def __init__(self, names=True, wants_port=False, at_peer=False, relay=None):
        self.names, self.wants_port, self.at_peer, self.relay = names, wants_port, at_peer, relay
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.host, self.port = self.server_address

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError, ValueError):
                request = hold(serve.receive_request(), self.request)
                (self.connect, self.bind, self.associate)[request.command - 1](request)

        def connect(self, request):
            with socket.create_connection((request.destination.host, request.destination.port)) as onward:
                self.request.sendall(request.reply(0))
                onward.sendall(self.request.recv(100))
                self.request.sendall(onward.recv(100))

        def bind(self, request):
            host = request.destination.host if self.server.at_peer else "127.0.0.1"
            with socket.create_server((host, 0)) as listener:
                listener.settimeout(PATIENT)
                self.request.sendall(request.reply(0, Endpoint(*listener.getsockname())))
                if self.server.at_peer:
                    self.request.recv(1)
                    return
                peer, address = listener.accept()
                with peer:
                    self.request.sendall(request.reply(0, Endpoint(*address)))
                    self.request.sendall(peer.recv(100))

        def associate(self, request):
            with (
                socket.socket(type=socket.SOCK_DGRAM) as near,
                socket.socket(type=socket.SOCK_DGRAM) as far,
            ):
                near.bind(("127.0.0.1", 0))
                relay = self.server.relay or Endpoint(*near.getsockname())
                self.request.sendall(request.reply(0, relay))
                client = None
                while True:
                    ready, _, _ = select.select((self.request, near, far), (), ())
                    if self.request in ready:
                        return
                    if far in ready:
                        data, source = far.recvfrom(1 << 16)
                        near.sendto(pack_header(Endpoint(*source)) + data, client)
                        continue
                    data, client = near.recvfrom(1 << 16)
                    header = unpack_header(data)
                    host = header.endpoint.host
                    if self.server.wants_port and client[1] != request.destination.port:
                        continue
                    if host == "localhost" and self.server.names:
                        host = "127.0.0.1"
                    if host == "127.0.0.1":
                        far.sendto(data[header.size :], (host, header.endpoint.port))


class Echoing(socketserver.ThreadingTCPServer):
    """Grants everything, connects to nothing, and sends back what it gets, to the end of it."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.host, self.port = self.server_address

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError, ValueError):
                self.request.sendall(hold(serve.receive_request(), self.request).reply(0))
                while data := self.request.recv(100):
                    self.request.sendall(data)


@contextlib.contextmanager
def relaying(**how):
    with serving(Relaying(**how)) as proxy:
        yield proxy


@contextlib.contextmanager
def serving(server):
    with server as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


def reported(url, verdicts="", through=(), **attributes):
    """A ``Report`` whose findings are the words of ``verdicts``, in the order of the subjects."""
    report = Report((*map(parse_proxy, through), parse_proxy(url)))
    for subject, verdict in zip(report.findings, verdicts.split(), strict=False):
        report.findings[subject] = Finding(verdict)
    for name, value in attributes.items():
        setattr(report, name, value)
    return report
