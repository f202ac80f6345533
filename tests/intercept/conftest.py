from __future__ import annotations

import pytest

from tests.servers import reference_server


@pytest.fixture
def proxy():
    with reference_server() as server:
        yield server


@pytest.fixture
def hanging(blackhole_proxy):
    """The URL of a proxy that takes a connection and never answers."""
    return f"socks5h://{blackhole_proxy.host}:{blackhole_proxy.port}"
