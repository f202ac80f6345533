"""The tests of one proxy, each on a connection of its own, so that none disturbs the next.

First the greeting, the methods and a connection: if one of these gets no sensible answer, no other test
follows. After them all other tests are made.
"""

from __future__ import annotations

from pywrap.errors import SocksError
from pywrap.launch.check import (
    probe_bind,
    probe_connect,
    probe_greeting,
    probe_half_close,
    probe_pipelining,
    probe_resolve,
    probe_udp,
)
from pywrap.launch.check.hop_requests import speaks
from pywrap.launch.check.other_clients import ask_other_clients
from pywrap.launch.check.proxy_under_test import ProxyUnderTest
from pywrap.launch.check.report import ABSENT, SUBJECTS, Report
from pywrap.launch.check.verdicts import words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.config.settings import Proxy
    from pywrap.launch.check.destination import Listener
    from pywrap.launch.check.report import Finding
    from pywrap.socks.wire import Endpoint

# The other tests, by the keys of ``report.SUBJECTS``.
_MORE: dict[str, Callable[[ProxyUnderTest], Finding]] = {
    "names": probe_connect.by_name,
    "ipv6": probe_connect.by_ipv6,
    "udp": probe_udp.associate,
    "bind": probe_bind.bind,
    "pipelining": probe_pipelining.pipeline,
    "resolve": probe_resolve.resolve,
    "half_close": probe_half_close.half_close,
}


def probe_proxy(
    path: tuple[Proxy, ...],
    patience: float,
    target: Endpoint | None,
    listener: Listener,
    say: Callable[[str], None],
) -> Report:
    """Test the last proxy of ``path``; ``say`` is called with the name of each test as it begins.

    The other parameters are those of ``ProxyUnderTest``.
    """
    if not speaks(path[-1]):
        report = Report(path)
        report.error = f"{path[-1].scheme} hops cannot be checked"
        return report
    proxy = ProxyUnderTest(path, patience, target, listener)
    report = proxy.report
    try:
        say("greeting")
        probe_greeting.reach(proxy)
        if proxy.is_socks5:
            say("methods")
            probe_greeting.ask_for_methods(proxy)
        say("CONNECT")
        probe_connect.connect(proxy)
    except SocksError as err:
        report.error = report.error or words(err)
    else:
        for subject, probe in _MORE.items():
            if report.findings[subject].verdict != ABSENT:
                say(SUBJECTS[subject])
                proxy.note(subject, probe(proxy))
    if not report.works and not proxy.granted_in_vain:
        say("second opinions")
        report.other_clients = ask_other_clients(path, proxy.destinations.plain.endpoint, patience)
    return report
