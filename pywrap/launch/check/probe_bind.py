"""Tests whether a connection comes through a BIND of the proxy."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack

from pywrap.errors import SocksError
from pywrap.launch.check.destination import SECRET_SIZE
from pywrap.launch.check.dialer import Dialer
from pywrap.launch.check.hop_requests import request, speaks
from pywrap.launch.check.report import NO, UNKNOWN, YES_INDEED, Finding
from pywrap.launch.check.verdicts import weigh, words
from pywrap.socks import v4, v5
from pywrap.socks.wire import Endpoint, Recv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.launch.check.proxy_under_test import ProxyUnderTest
    from pywrap.socks.wire import Dialogue

# The address of the peer of a BIND on this machine. It differs from the proxy's, to find proxies that listen
# at the address of the peer instead of their own.
PEER = "127.0.0.2"


def bind(proxy: ProxyUnderTest) -> Finding:
    """Have the proxy listen, connect there as the peer, and send by the connection (RFC 1928 section 4)."""
    # The peer that the request names: this machine; or any, where another hop connects.
    unspecified = Endpoint("0.0.0.0", 0)
    caller = Endpoint(PEER if proxy.here == "127.0.0.1" else proxy.here, 0)
    if len(proxy.path) > 1:
        caller = unspecified
    secret = os.urandom(SECRET_SIZE)
    bound = unspecified
    trouble = ""

    def listening() -> Dialogue[bytes]:
        nonlocal bound, trouble
        bound = proxy.seen_from_here((yield from proxy.request(v5.BIND, caller)))
        trouble = f"granted, but no connection to {bound} came through"
        if bound.host == PEER:
            trouble = "granted, but"
            raise SocksError("it listens at the address of the peer, where that is another machine")
        with ExitStack() as stack:
            peer = _call(proxy, bound, caller, stack)
            trouble = f"granted, but the connection to {bound} did not come through"
            yield from v5.read_reply() if proxy.is_socks5 else v4.read_reply()
            _send(peer, secret)
            return (yield Recv(SECRET_SIZE))

    try:
        heard = proxy.dialer.ask(listening())
    except SocksError as err:
        if not trouble:
            return Finding(weigh(err, certain=True), words(err))
        return Finding(NO if proxy.exits_here else UNKNOWN, f"{trouble}: {err}")
    return YES_INDEED if heard == secret else Finding(UNKNOWN, f"{trouble}: it was another peer's")


def _call(proxy: ProxyUnderTest, bound: Endpoint, caller: Endpoint, stack: ExitStack) -> socket.socket:
    """Connect to ``bound`` as the peer ``caller`` would, or through the hops before the proxy."""
    if len(proxy.path) > 1:
        line = Dialer(proxy.path[:-1], proxy.dialer.patience)
        hop = proxy.path[-2]
        if not speaks(hop):
            raise SocksError(f"{hop.scheme} hops lead to one place alone")
        sock, _ = stack.enter_context(line.talk(request(hop, v5.CONNECT, bound)))
        sock.settimeout(proxy.dialer.patience)
        return sock
    try:
        # Bound to the address that the request names: the kernel might choose another one, from which the
        # proxy takes no connection (Dante, with an external address).
        source = (caller.host, 0) if (":" in caller.host) == (":" in bound.host) else None
        sock = socket.create_connection((bound.host, bound.port), proxy.dialer.patience, source)
    except OSError as err:
        raise SocksError(err.strerror or str(err)) from err
    return stack.enter_context(sock)


def _send(sock: socket.socket, data: bytes) -> None:
    try:
        sock.sendall(data)
    except OSError as err:
        raise SocksError(err.strerror or str(err)) from err
