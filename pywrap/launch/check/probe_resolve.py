"""Tests whether the proxy answers Tor's command RESOLVE, which ``--dns tor`` uses."""

from __future__ import annotations

from pywrap.errors import ProxyClosed, Rejected, SocksError
from pywrap.launch.check.report import NO, UNKNOWN, YES_INDEED, Finding
from pywrap.launch.check.verdicts import weigh, words
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.launch.check.proxy_under_test import ProxyUnderTest

# An address of 127.0.0.0/8, so that a proxy that takes RESOLVE for CONNECT reaches no third party.
RESOLVED = "127.79.67.75"


def resolve(proxy: ProxyUnderTest) -> Finding:
    """Send RESOLVE for an address: Tor answers that by itself, so that nothing is looked up."""
    asked = Endpoint(RESOLVED, 0)
    try:
        said = proxy.dialer.ask(proxy.request(v5.RESOLVE, asked))
    except (Rejected, ProxyClosed):
        # Hardly any proxy but Tor has RESOLVE, so the report gives no reason.
        return Finding(NO)
    except SocksError as err:
        return Finding(weigh(err, certain=True), words(err))
    if said.host != asked.host:
        return Finding(NO, f"it answers {said} for {asked.host}: --dns tor would be led astray")
    if said.port:
        return Finding(UNKNOWN, f"suspicious: its answer has the port {said.port}, and Tor's has none")
    return YES_INDEED
