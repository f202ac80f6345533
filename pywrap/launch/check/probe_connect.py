"""Tests connections through the proxy: to a listener of ours, by name, and over IPv6."""

from __future__ import annotations

import socket
from select import POLLIN, poll

from pywrap.errors import AuthenticationFailed, ProtocolError, ProxyTimeout, Rejected, SocksError
from pywrap.frozen import replace
from pywrap.launch.check.hop_requests import exchange, speaks
from pywrap.launch.check.report import NO, UNKNOWN, YES, YES_INDEED, Finding
from pywrap.launch.check.verdicts import weigh, words
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.launch.check.destination import Destination
    from pywrap.launch.check.proxy_under_test import ProxyUnderTest
    from pywrap.socks.wire import Dialogue

# Seconds that a connection to the user's destination, whose answer is not known, must last: some proxies
# grant every request, and close the connection when they find that they cannot connect.
SETTLED_SECONDS = 0.5

# Destinations that no proxy can reach: a name that does not exist (RFC 6761 section 6.4); for SOCKS4, a port
# without a service on the proxy's own machine (TCPMUX, RFC 1078, which no machine runs today).
NO_NAME = Endpoint("nowhere.invalid", 443)
NO_PORT = Endpoint("127.0.0.1", 1)

HINT_TARGET = "name a destination that it can reach with --check-target HOST:PORT"


def connect(proxy: ProxyUnderTest) -> None:
    """Connect to a listener of ours, or to the user's destination.

    Raises:
        SocksError: the connection failed, so that no other test is of use.
    """
    destination = proxy.destinations.plain
    finding, err = _try(proxy, destination)
    if finding.verdict == UNKNOWN and not isinstance(err, ProxyTimeout) and _reach_us(proxy):
        finding, err = YES_INDEED, None
    proxy.note("connect", finding)
    if finding.verdict != YES:
        proxy.granted_in_vain = err is None
        proxy.report.error = finding.why
        if finding.verdict == UNKNOWN and not destination.certain:
            proxy.report.error += f"; {HINT_TARGET}"
    if isinstance(err, AuthenticationFailed | ProtocolError | ProxyTimeout):
        raise err


def by_name(proxy: ProxyUnderTest) -> Finding:
    """Connect by a name."""
    return _try(proxy, proxy.destinations.name)[0]


def by_ipv6(proxy: ProxyUnderTest) -> Finding:
    """Connect by an IPv6 address."""
    ipv6 = proxy.destinations.ipv6
    if ipv6 is None:
        return Finding(UNKNOWN, "this machine has no ::1 to ask for")
    return _try(proxy, ipv6)[0]


def _reach_us(proxy: ProxyUnderTest) -> bool:
    """Whether the proxy reaches a listener at our address as the proxy sees it; if so, tests use that."""
    found = proxy.destinations
    if found.plain.certain or found.here or any(map(speaks, proxy.path[:-1])):
        return False
    try:
        ours = proxy.listener.also_at(proxy.here)
    except OSError:
        # Our address is a link-local one, which needs a scope.
        return False
    reached = _try(proxy, ours)[0].verdict == YES
    if reached:
        proxy.destinations = replace(found, plain=ours)
    return reached


def _try(proxy: ProxyUnderTest, destination: Destination) -> tuple[Finding, SocksError | None]:
    """Connect to ``destination``; return the finding, and the error if the proxy granted nothing."""
    granted = False

    def tunnel() -> Dialogue[bytes]:
        nonlocal granted
        yield from proxy.request(v5.CONNECT, destination.endpoint)
        granted = True
        return (yield from exchange(destination))

    where = f"asked for {destination.endpoint}"
    certain = destination.certain or proxy.exits_here
    try:
        with proxy.dialer.talk(tunnel()) as (sock, heard):
            if not destination.size:
                outcome = _what_comes(sock)
                if outcome == "":
                    return Finding(NO, f"granted, but then it hung up ({where})"), None
                if outcome is None and _grants_the_impossible(proxy):
                    why = "granted, but so is what is impossible: name a destination that speaks first"
                    return Finding(UNKNOWN, f"{why} ({where})"), None
    except SocksError as err:
        if granted:
            return Finding(NO if certain else UNKNOWN, f"granted, but then: {err} ({where})"), None
        why = f"{err} ({where})" if isinstance(err, Rejected) else words(err)
        return Finding(weigh(err, certain), why), err
    if not heard.startswith(destination.hears):
        return Finding(UNKNOWN, f"granted, but another server answered ({where})"), None
    return YES_INDEED, None


def _grants_the_impossible(proxy: ProxyUnderTest) -> bool:
    """Whether the proxy grants a connection that is impossible: it then grants before it connects."""
    nowhere = NO_PORT if proxy.hop.scheme == "socks4" else NO_NAME
    try:
        proxy.dialer.ask(proxy.request(v5.CONNECT, nowhere))
    except SocksError:
        return False
    return True


def _what_comes(sock: socket.socket) -> str | None:
    """What comes from the other end soon: "data", which stays in the socket; "": its end; None: nothing."""
    poller = poll()
    poller.register(sock, POLLIN)
    if not poller.poll(int(SETTLED_SECONDS * 1000)):
        return None
    try:
        return "data" if sock.recv(1, socket.MSG_PEEK) else ""
    except ConnectionError:
        return ""
