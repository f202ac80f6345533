"""Datagrams of asyncio programs on uvloop and rloop."""

from __future__ import annotations

import pytest

from tests.support.datagrams import udp_echo
from tests.support.loops import on, through
from tests.support.servers import reference_server


@pytest.mark.parametrize("connected", [[], ["connected"]], ids=["with addresses", "connected"])
def test_datagrams_go_through_the_proxy(loop, connected, trace):
    with reference_server() as proxy, udp_echo() as echo:
        ran, seen = trace(*through(proxy), *on(loop, "udp_asyncio.py", echo.host, echo.port, 500, *connected))
        assert ran.json["received"] == 500, str(ran)
        assert ran.json["sources"] == [[echo.host, echo.port]]
        assert ran.json["peer"] == ([echo.host, echo.port] if connected else None)
        assert {command for command, _, _ in proxy.asked} == {"UDP ASSOCIATE"}
    # And to the relay, which is at another port of the proxy.
    assert {host for host, _ in seen.destinations} == {proxy.host}
    assert (echo.host, echo.port) not in seen.destinations
