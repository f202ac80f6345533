"""Tests whether the proxy can be reached and speaks its protocol, and which methods it takes."""

from __future__ import annotations

import socket
from time import monotonic

from pywrap.errors import ProxyClosed, SocksError
from pywrap.launch.check.destination import destinations
from pywrap.launch.check.hop_requests import ABSENCES, offer
from pywrap.launch.check.report import ABSENT, METHODS, NO, UNKNOWN, YES_INDEED, Finding
from pywrap.launch.check.verdicts import words
from pywrap.socks import v5
from pywrap.socks.wire import Send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.launch.check.proxy_under_test import ProxyUnderTest
    from pywrap.socks.wire import Dialogue

# The method of RFC 1961 (RFC 1928 section 3). The test only asks whether the server has it.
GSSAPI = 0x01
METHOD_NUMBERS = dict(zip(METHODS, (v5.NO_AUTHENTICATION, v5.USERNAME_PASSWORD, GSSAPI), strict=True))


def reach(proxy: ProxyUnderTest) -> None:
    """Connect to the proxy and greet it; note the times, in seconds, and the features that its scheme lacks.

    Raises:
        SocksError: the proxy cannot be reached, so that no other test is of use.
    """
    report = proxy.report

    def greeting() -> Dialogue[None]:
        report.connect_time = monotonic() - proxy.dialer.started
        if not proxy.is_socks5:
            # This scheme has no greeting, but a dialogue has to yield a step.
            yield Send()
            return
        methods = [v5.NO_AUTHENTICATION]
        if proxy.hop.username is not None:
            methods.append(v5.USERNAME_PASSWORD)
        sent = monotonic()
        proxy.method = yield from offer(bytes(methods))
        report.reply_time = monotonic() - sent

    try:
        with proxy.dialer.talk(greeting()) as (sock, _):
            proxy.here, proxy.there = _ends_of(sock)
    except SocksError as err:
        unreached = report.connect_time is None
        proxy.note("reachable", Finding(NO, words(err)) if unreached else YES_INDEED)
        raise
    proxy.note("reachable", YES_INDEED)
    if len(proxy.path) == 1:
        # The name of the proxy is resolved now.
        proxy.destinations = destinations(proxy.path, proxy.there, proxy.target, proxy.listener)
    for subject, why in ABSENCES.get(proxy.hop.scheme, {}).items():
        proxy.note(subject, Finding(ABSENT, why))


def ask_for_methods(proxy: ProxyUnderTest) -> None:
    """Offer each method alone (RFC 1928 section 3)."""
    for name, number in METHOD_NUMBERS.items():
        proxy.note(f"method_{name}", _whether_it_picks(proxy, number))


def _whether_it_picks(proxy: ProxyUnderTest, method: int) -> Finding:
    try:
        picked = proxy.dialer.ask(offer(bytes([method])))
    except ProxyClosed:
        # The proxy closed the connection, but it answered the greeting before.
        return Finding(NO, "it hangs up on that offer")
    except SocksError as err:
        return Finding(UNKNOWN, str(err))
    if picked in (method, v5.NO_ACCEPTABLE_METHODS):
        return YES_INDEED if picked == method else Finding(NO)
    return Finding(UNKNOWN, f"it picks method {picked}, never offered")


def _ends_of(sock: socket.socket) -> tuple[str, str]:
    """The addresses of a connection: our end, and the other end."""
    try:
        return sock.getsockname()[0], sock.getpeername()[0]
    except OSError as err:
        # The proxy has reset the connection, after its answer.
        raise ProxyClosed("the proxy hung up after its answer") from err
