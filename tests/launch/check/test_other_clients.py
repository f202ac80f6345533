"""The second opinion of --check: PySocks and python-socks, and what is shown of their errors."""

from __future__ import annotations

import sys
import types

import pytest

from pywrap.config.url import parse_proxy
from pywrap.launch.check import other_clients
from pywrap.launch.check.report import YES, Finding
from pywrap.socks.wire import Endpoint
from tests.support.examined import (
    PATIENT,
    examined,
)
from tests.support.servers import reference_server


def test_both_libraries_are_asked_as_their_users_would():
    with reference_server() as server:
        path, there = (parse_proxy(server.url()),), Endpoint(server.host, server.port)
        assert other_clients.ask_other_clients(path, there, PATIENT) == {
            "python-socks": Finding(YES),
            "PySocks": Finding(YES),
        }


def test_what_is_not_installed_is_not_needed(monkeypatch, refusing_port):
    for name in ("python_socks", "socks"):
        monkeypatch.setitem(sys.modules, name, None)
    told = examined(f"socks5h://127.0.0.1:{refusing_port}")
    assert {opinion["why"] for opinion in told["other_clients"].values()} == {"not installed"}


@pytest.mark.parametrize("login", ["alice:s%20cret", "alice:it's", "alice:s%5Ccret", "alice:%FFcret"])
@pytest.mark.parametrize("form", ["cannot log in with {}", "{!r} is wrong", "socks5://alice:{url}@h: no"])
def test_a_library_that_tells_the_password_is_not_quoted(monkeypatch, refusing_port, login, form):
    def create_connection(address, proxy_password, **_):
        raise ValueError(form.format(proxy_password, url=login.partition(":")[2]))

    fake = types.SimpleNamespace(SOCKS4=1, SOCKS5=2, create_connection=create_connection)
    monkeypatch.setitem(sys.modules, "socks", fake)
    told = examined(f"socks5h://{login}@127.0.0.1:{refusing_port}")
    assert told["other_clients"]["PySocks"]["why"] == "ValueError"


@pytest.mark.parametrize("password", ["o", "111", "connect"])
def test_a_password_that_is_in_the_text_by_chance_leaves_no_gap_in_it(refusing_port, password):
    told = examined(f"socks5h://u:{password}@127.0.0.1:{refusing_port}")
    assert {name: opinion["why"] for name, opinion in told["other_clients"].items()} == {
        "python-socks": "ProxyConnectionError: Connection refused",
        "PySocks": "ProxyConnectionError: Connection refused",
    }


def test_other_texts_are_quoted_beside_a_password(refusing_port):
    told = examined(f"socks5h://alice:hunter2@127.0.0.1:{refusing_port}")
    assert told["other_clients"]["python-socks"]["why"].startswith("[Errno 111] Could not connect to proxy")
