"""Tests half-close: whether the proxy still passes on answers when the client has ended its direction."""

from __future__ import annotations

import socket

from pywrap.errors import SocksError
from pywrap.launch.check.destination import SECRET_SIZE
from pywrap.launch.check.probe_pipelining import soon
from pywrap.launch.check.report import NO, UNKNOWN, YES_INDEED, Finding
from pywrap.launch.check.verdicts import words
from pywrap.socks import v5

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.launch.check.proxy_under_test import ProxyUnderTest


def half_close(proxy: ProxyUnderTest) -> Finding:
    """End our direction (``shutdown(SHUT_WR)``), and see whether the answer to that comes back."""
    destination = proxy.destinations.plain
    if not proxy.report.works or destination.says != proxy.listener.secret:
        return Finding(UNKNOWN, "no server at the other end that answers to the end of what it is sent")
    try:
        with proxy.dialer.talk(proxy.request(v5.CONNECT, destination.endpoint)) as (sock, _):
            sock.settimeout(soon(proxy))
            sock.sendall(proxy.listener.closing_secret)
            sock.shutdown(socket.SHUT_WR)
            heard = sock.recv(SECRET_SIZE, socket.MSG_WAITALL)
    except TimeoutError:
        return Finding(NO, "no answer after the end of what was sent")
    except OSError as err:
        return Finding(NO, f"after the end of what was sent: {err.strerror or err}")
    except SocksError as err:
        return Finding(UNKNOWN, words(err))
    if heard != proxy.listener.closing_answer:
        return Finding(NO, "the answer to the end of what was sent is lost")
    return YES_INDEED
