"""A SOCKS5 server whose relays mind which port the request has named, in one of several ways."""

from __future__ import annotations

import contextlib
import select
import socket

from pywrap.socks.datagram import pack_header, unpack_header
from pywrap.socks.wire import Endpoint
from tests.support.examined import Relaying, serving

# ``LATE``: its answers wait until a second association has been asked for.
RELAYS, DROPS, REFUSES, HANGS_UP, LATE = "relays", "drops", "refuses", "hangs up", "late"


class Minding(Relaying):
    """``with_port``, ``without_port``: what it does after a request that has named a port, or none.

    ``named``: the addresses that the requests for UDP have named. ``one_relay``: all associations have that.
    """

    def __init__(self, with_port=RELAYS, without_port=DROPS, one_relay=False):
        super().__init__()
        self.behaviours = {True: with_port, False: without_port}
        self.named: list[tuple[str, int]] = []
        self.relay_for_all = None
        if one_relay:
            self.relay_for_all = socket.socket(type=socket.SOCK_DGRAM)
            self.relay_for_all.bind(("127.0.0.1", 0))

    def server_close(self):
        super().server_close()
        if self.relay_for_all is not None:
            self.relay_for_all.close()

    @property
    def with_ports(self):
        """For each request, whether it has named a port."""
        return [port != 0 for _, port in self.named]

    def url(self):
        return f"socks5h://{self.host}:{self.port}"

    class Handler(Relaying.Handler):
        def associate(self, request):
            server, named = self.server, request.destination
            server.named.append((named.host, named.port))
            behaviour = server.behaviours[named.port != 0]
            if behaviour == REFUSES:
                self.request.sendall(request.reply(1))
                return
            with contextlib.ExitStack() as stack:
                far = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
                near = server.relay_for_all
                if near is None:
                    near = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
                    near.bind(("127.0.0.1", 0))
                self.request.sendall(request.reply(0, Endpoint(*near.getsockname())))
                if behaviour == HANGS_UP:
                    # With the first datagram: the association has been there for a moment.
                    near.recv(1 << 16)
                    return
                self.relay(near, far, -1 if behaviour == DROPS else named.port, behaviour == LATE)

        def relay(self, near, far, port, is_late):
            """Relay datagrams from ``port``; 0 for any, -1 for none."""
            client = None
            while True:
                waits = is_late and len(self.server.named) < 2
                ready, _, _ = select.select((self.request, near, *([] if waits else [far])), (), (), 0.05)
                if self.request in ready:
                    return
                if far in ready:
                    data, source = far.recvfrom(1 << 16)
                    near.sendto(pack_header(Endpoint(*source)) + data, client)
                if near in ready:
                    try:
                        data, sender = near.recvfrom(1 << 16, socket.MSG_DONTWAIT)
                    except BlockingIOError:
                        # The relay is that of another association too, which has taken it.
                        continue
                    if port in (0, sender[1]):
                        client = sender
                        header = unpack_header(data)
                        there = header.endpoint
                        far.sendto(data[header.size :], (there.host, there.port))


@contextlib.contextmanager
def minding(*how, **named):
    with serving(Minding(*how, **named)) as proxy:
        yield proxy
