"""Tests whether the proxy relays datagrams, to an address and to a name, there and back."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from select import select

from pywrap.errors import ProtocolError, SocksError
from pywrap.launch.check.destination import SECRET_SIZE
from pywrap.launch.check.report import NO, UNKNOWN, YES_INDEED, Finding
from pywrap.launch.check.verdicts import weigh, words
from pywrap.socks import v5
from pywrap.socks.datagram import pack_header, unpack_header
from pywrap.socks.wire import Endpoint, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.launch.check.proxy_under_test import ProxyUnderTest

# How many datagrams are sent, since UDP may lose some.
DATAGRAMS = 3


def associate(proxy: ProxyUnderTest) -> Finding:
    """Open an association, and send a datagram through it and one back (RFC 1928 section 7)."""
    unspecified = Endpoint("::" if ":" in proxy.here else "0.0.0.0", 0)
    try:
        with proxy.dialer.talk(proxy.request(v5.UDP_ASSOCIATE, unspecified)) as (_, relay):
            if len(proxy.path) > 1:
                return Finding(UNKNOWN, "granted; datagrams are tried only without other hops")
            return _relayed(proxy, proxy.seen_from_here(relay))
    except SocksError as err:
        return Finding(weigh(err, certain=True), words(err))


def _relayed(proxy: ProxyUnderTest, relay: Endpoint) -> Finding:
    """Send a datagram through ``relay`` to a socket of our own, and one back."""
    if relay.port == 0:
        return Finding(NO, "granted, but with a relay at port 0")
    if packed(relay.host) is None:
        return Finding(UNKNOWN, f"granted, with a relay that is a name: {relay}")
    near_family = socket.AF_INET6 if ":" in relay.host else socket.AF_INET
    far_family = socket.AF_INET6 if ":" in proxy.here else socket.AF_INET
    secret = os.urandom(SECRET_SIZE)
    with (
        socket.socket(far_family, socket.SOCK_DGRAM) as far,
        socket.socket(near_family, socket.SOCK_DGRAM) as near,
    ):
        try:
            # Bound only to the address at which the proxy sees us, and only until the secret arrives.
            far.bind((proxy.here, 0))
            near.connect((relay.host, relay.port))
            destination = Endpoint(*far.getsockname()[:2])
            heard = _there_and_back(proxy.dialer.patience, near, [far], destination, secret)
            if heard == "":
                proxy.note("udp_names", _relayed_by_name(proxy, near, far, destination.port))
        except OSError as err:
            return Finding(UNKNOWN, f"granted, but its relay {relay}: {err.strerror or err}")
        own = Endpoint(*near.getsockname()[:2])
    if heard == "":
        return YES_INDEED
    return Finding(NO if proxy.exits_here else UNKNOWN, f"granted, but {heard}{_with_port(proxy, own)}")


def _relayed_by_name(proxy: ProxyUnderTest, near: socket.socket, far: socket.socket, port: int) -> Finding:
    """The same to the name "localhost": this machine has no other name that a proxy surely knows."""
    if not proxy.exits_here:
        return Finding(UNKNOWN, "this machine has no name that it could be asked for")
    with ExitStack() as stack:
        fars = [far]
        try:
            # A proxy may resolve "localhost" to an address of either family.
            other = socket.AF_INET if far.family == socket.AF_INET6 else socket.AF_INET6
            fars.append(stack.enter_context(socket.socket(other, socket.SOCK_DGRAM)))
            fars[-1].bind(("127.0.0.1" if other == socket.AF_INET else "::1", port))
        except OSError:
            # The other family is missing on this machine, or the port is in use there: use one socket.
            fars[1:] = []
        heard = _there_and_back(
            proxy.dialer.patience, near, fars, Endpoint("localhost", port), os.urandom(SECRET_SIZE)
        )
    return Finding(NO, heard) if heard else YES_INDEED


def _with_port(proxy: ProxyUnderTest, own: Endpoint) -> str:
    """A remark if the proxy relays when the request has our port, as RFC 1928 says (hpsockd); else "".

    The port was that of a socket closed just now, which the kernel gives to no other socket so soon.
    """
    secret = os.urandom(SECRET_SIZE)
    family = socket.AF_INET6 if ":" in own.host else socket.AF_INET
    far_family = socket.AF_INET6 if ":" in proxy.here else socket.AF_INET
    try:
        with (
            socket.socket(far_family, socket.SOCK_DGRAM) as far,
            socket.socket(family, socket.SOCK_DGRAM) as near,
        ):
            far.bind((proxy.here, 0))
            near.bind((own.host, own.port))
            dialogue = proxy.request(v5.UDP_ASSOCIATE, own)
            with proxy.dialer.talk(dialogue) as (_, bound):
                relay = proxy.seen_from_here(bound)
                near.connect((relay.host, relay.port))
                destination = Endpoint(*far.getsockname()[:2])
                if _there_and_back(proxy.dialer.patience, near, [far], destination, secret) == "":
                    return "; it does when the request tells the port that they come from"
    except (SocksError, OSError):
        # Then there is nothing to remark.
        pass
    return ""


def _there_and_back(
    patience: float, near: socket.socket, fars: list[socket.socket], destination: Endpoint, secret: bytes
) -> str:
    """Send and receive; return the reason for a failure, or "". ``patience``: seconds for all datagrams."""
    patience /= DATAGRAMS
    near.settimeout(patience)
    for _ in range(DATAGRAMS):
        near.send(pack_header(destination) + secret)
        try:
            ready, _, _ = select(fars, (), (), patience)
            if not ready:
                continue
            data, relay = ready[0].recvfrom(1 << 16)
            if data != secret:
                continue
            ready[0].sendto(secret, relay)
            answer = near.recv(1 << 16)
            if answer[unpack_header(answer).size :] == secret:
                return ""
        except TimeoutError:
            continue
        except ProtocolError as err:
            return f"what came back is {err}"
    return f"no datagram came through its relay to {destination} and back"
