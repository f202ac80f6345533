"""A system without proxies."""

from __future__ import annotations

import pytest


@pytest.fixture
def no_ports(monkeypatch):
    """What listens on this machine at Tor's port and such is not a part of the tests."""
    monkeypatch.setattr("pywrap.launch.init.candidates.PORTS", ())


@pytest.fixture
def root(tmp_path):
    (tmp_path / "etc/tor").mkdir(parents=True)
    return tmp_path
