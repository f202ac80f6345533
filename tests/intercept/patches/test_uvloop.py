"""Every way to choose uvloop leads to a loop whose sockets are ours."""

from __future__ import annotations

import pytest

from tests.support.destinations import ONLY_THE_PROXY_KNOWS
from tests.support.loops import check_clean, on, through
from tests.support.naming_proxy import naming_proxy


@pytest.fixture
def proxy():
    with naming_proxy({ONLY_THE_PROXY_KNOWS: "127.0.0.1"}) as proxy:
        yield proxy


UVLOOP = [f"uvloop:{how}" for how in ("run", "factory", "policy", "install")]


@pytest.mark.parametrize("how", UVLOOP)
def test_every_way_to_choose_uvloop_goes_through_the_proxy(how, trace, proxy, https_server):
    words = ONLY_THE_PROXY_KNOWS, https_server.port, https_server.ca_pem
    ran, seen = trace(*through(proxy), *on(how, "asyncio_streams.py", *words))
    assert ran.json["right"] and ran.json["tls"], str(ran)
    assert proxy.asked == [("CONNECT", ONLY_THE_PROXY_KNOWS, https_server.port)]
    check_clean(seen, proxy)
