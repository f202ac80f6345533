"""gevent and eventlet, imported before install(): as under the command, where ours come first."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.support.datagrams import udp_echo
from tests.support.run import PROGRAMS, ROOT, run

LIBRARIES = ("gevent", "eventlet")


def installed(library, proxy, name, *words, status=0):
    program = (sys.executable, "-W", "ignore", PROGRAMS / "install_after_green.py", library, proxy)
    # eventlet's own look-ups need trio, where that is installed, which its sockets break.
    env = {"PYTHONPATH": str(ROOT), "EVENTLET_NO_GREENDNS": "yes"}
    ran = run(*program, PROGRAMS / name, *map(str, words), env=env, status=status)
    assert "left: " not in ran.err
    return ran


@pytest.mark.parametrize("library", LIBRARIES)
def test_streams_are_tunnelled(proxy, http_server, library):
    said = installed(library, proxy.url(), f"fetch_{library}.py", http_server.url("/")).json
    assert said["bodies"] == ["hello from the destination\n"]
    assert said["socket"].startswith(library)
    assert proxy.asked == [("CONNECT", http_server.host, http_server.port)] * 10


@pytest.mark.parametrize("library", LIBRARIES)
def test_names_go_to_the_proxy(proxy, library):
    ran = installed(library, proxy.url(), f"fetch_{library}.py", "http://nowhere.invalid/", status=1)
    assert "[Errno 113]" in ran.err
    assert set(proxy.asked) == {("CONNECT", "nowhere.invalid", 80)}


@pytest.mark.parametrize("library", LIBRARIES)
def test_datagrams_are_tunnelled(proxy, library):
    with udp_echo() as echo:
        said = installed(library, proxy.url(), "udp_green.py", echo.host, echo.port, library).json
    assert said["right"] == [True] * 10
    assert {each[0] for each in proxy.asked} == {"UDP ASSOCIATE"}


def test_a_hanging_connection_does_not_block_gevent(hanging):
    said = installed("gevent", hanging, "tick_gevent.py", "192.0.2.1", 80, 1).json
    assert said["outcome"] == "TimeoutError"
    assert said["longest"] < 0.5 * said["took"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_children_are_covered(proxy, library):
    assert installed(library, proxy.url(), "children_green.py").json == ["True", "True"]


@pytest.mark.parametrize("order", ["before", "after"])
def test_eventlet_asks_no_name_server(proxy, order, tmp_path):
    # A place without trio, which would end the import of its resolver.
    for name in ("eventlet", "greenlet", "dns"):
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        (tmp_path / name).symlink_to(Path(spec.origin).parent)
    env = {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    program = (sys.executable, "-S", "-W", "ignore", PROGRAMS / "resolve_green.py", proxy.url(), order)
    said = run(*program, env=env).json
    assert said["own"]
    (address, port), *others = said["found"]
    assert address.startswith("198.18.") and port == 80
    assert others[0].startswith("198.18.") and others[1][0].startswith("198.18.")
    assert others[2] == ["localhost", "80"]
    assert proxy.asked == []
