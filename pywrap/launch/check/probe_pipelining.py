"""Tests pipelining: whether the proxy takes greeting, request and data at once, without waits."""

from __future__ import annotations

from pywrap.errors import ProxyTimeout, Rejected, SocksError
from pywrap.launch.check.hop_requests import exchange
from pywrap.launch.check.report import NO, UNKNOWN, YES, YES_INDEED, Finding
from pywrap.launch.check.verdicts import words
from pywrap.socks import http, v4, v5
from pywrap.socks.wire import IMPOSSIBLE, Recv, Send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.launch.check.destination import Destination
    from pywrap.launch.check.proxy_under_test import ProxyUnderTest
    from pywrap.socks.wire import Dialogue

# Seconds by which an answer to pipelined messages may take longer than step by step, before these messages
# are taken for lost.
PIPELINING_SECONDS = 2.0
PIPELINING_FACTOR = 20


def pipeline(proxy: ProxyUnderTest) -> Finding:
    """Send at once the messages that were sent step by step before, and see whether the answers are the same.

    The messages are those of a connection. The impossible command is used only where no connection succeeds:
    `ssh -D` closes the connection at it in either case.
    """
    destination = proxy.destinations.plain
    if proxy.report.works:
        command = v5.CONNECT
    elif proxy.is_socks5:
        command = IMPOSSIBLE
    else:
        return Finding(UNKNOWN, "no connection to try it with")
    data = b"" if command == IMPOSSIBLE else destination.says
    found = _all_at_once(proxy, command, destination, data)
    if found.verdict == YES:
        if data:
            proxy.note("data_behind", YES_INDEED)
    elif data and _all_at_once(proxy, command, destination).verdict == YES:
        proxy.note("data_behind", Finding(NO, f"{found.why}; not when the data wait for its answer"))
        return YES_INDEED
    return found


def _all_at_once(proxy: ProxyUnderTest, command: int, destination: Destination, data: bytes = b"") -> Finding:
    """The finding for the messages sent at once; ``data``: sent with them, or else after the answer."""
    try:
        heard = proxy.dialer.ask(_pipelined(proxy, command, destination, data), soon(proxy))
    except Rejected as err:
        return YES_INDEED if command == IMPOSSIBLE else Finding(NO, f"{err}, only when said at once")
    except ProxyTimeout:
        return Finding(NO, "no answer when all comes at once")
    except SocksError as err:
        if command == IMPOSSIBLE:
            return Finding(UNKNOWN, f"{words(err)}, with an impossible request")
        return Finding(NO, f"{words(err)}, only when said at once")
    return YES_INDEED if heard.startswith(destination.hears) else Finding(NO, "the data got lost")


def _pipelined(proxy: ProxyUnderTest, command: int, destination: Destination, data: bytes) -> Dialogue[bytes]:
    hop = proxy.hop
    if hop.scheme == "http":
        yield Send(http.pack_request(destination.endpoint, hop.username, hop.password) + data)
        yield from http.read_answer(hop.username is not None)
    elif not proxy.is_socks5:
        names = hop.scheme == "socks4a"
        request = v4.pack_request(command, destination.endpoint, hop.username or b"", names)
        yield Send(request + data)
        yield from v4.read_reply()
    else:
        greeting = bytes([v5.VERSION, 1, proxy.method])
        credentials = b""
        if proxy.method == v5.USERNAME_PASSWORD:
            credentials = v5.pack_credentials(hop.username or b"", hop.password or b"")
        yield Send(greeting + credentials + v5.pack_request(command, destination.endpoint) + data)
        yield Recv(2)
        if credentials:
            yield Recv(2)
        yield from v5.read_reply()
    if command == v5.CONNECT and not data:
        return (yield from exchange(destination))
    return (yield Recv(destination.size)) if data and destination.size else b""


def soon(proxy: ProxyUnderTest) -> float:
    """Seconds after which an answer counts as lost, by the time that it took step by step."""
    slow = PIPELINING_FACTOR * ((proxy.report.connect_time or 0.0) + (proxy.report.reply_time or 0.0))
    return min(proxy.dialer.patience, max(PIPELINING_SECONDS, slow))
