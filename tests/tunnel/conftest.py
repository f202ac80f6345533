"""``Hops`` without a resolver, and what they say to the user."""

from __future__ import annotations

import pytest

from pywrap.tunnel.hops import Hops


@pytest.fixture
def said():
    return []


@pytest.fixture
def hops(said):
    return Hops(lambda *_: [], said.append)
