"""The newest releases of uvloop and rloop, under a proxy that alone knows a name."""

from __future__ import annotations

import pytest

from tests.support.destinations import ONLY_THE_PROXY_KNOWS
from tests.support.naming_proxy import naming_proxy


@pytest.fixture
def proxy():
    with naming_proxy({ONLY_THE_PROXY_KNOWS: "127.0.0.1"}) as proxy:
        yield proxy


@pytest.fixture(params=["uvloop", "rloop"])
def loop(request):
    """Each loop in turn that is installed; rloop has no wheel for every interpreter."""
    if request.param == "rloop":
        pytest.importorskip("rloop")
    return request.param
