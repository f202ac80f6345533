"""Subinterpreters are covered: under the command, after install(), and where the environment was cleaned."""

from __future__ import annotations

import pytest

from tests.support.child import source_of
from tests.support.run import PROGRAMS, pysocksify, run
from tests.support.servers import reference_server

PROGRAM = PROGRAMS / "make_interpreters.py"
ROOT = str(PROGRAMS.parent.parent)


@pytest.fixture
def proxy():
    with reference_server() as server:
        yield server


@pytest.mark.parametrize("clean", ["", "yes", "all"])
def test_under_the_command(interpreter, proxy, sink_server, clean):
    through = pysocksify("-x", proxy.url(), "--loopback", "proxy")
    ran = run(*through, interpreter, PROGRAM, "127.0.0.1", sink_server.port, env={"CLEAN": clean})
    connections, *names = ran.json
    assert proxy.asked == [("CONNECT", "127.0.0.1", sink_server.port)] * connections
    assert names == [True, True]


def test_after_install(interpreter, proxy, sink_server):
    words = (PROGRAM, "127.0.0.1", sink_server.port, proxy.url())
    connections, *names = run(interpreter, *words, env={"PYTHONPATH": ROOT}).json
    assert proxy.asked == [("CONNECT", "127.0.0.1", sink_server.port)] * connections
    assert names == [True, True]


def create():

    import pywrap

    try:
        import _interpreters as made
    except ModuleNotFoundError:
        import _xxsubinterpreters as made
    before = made.create
    pywrap.install("socks5h://127.0.0.1:1")
    assert made.create is not before
    pywrap.uninstall()
    assert made.create is before


def test_uninstall_takes_it_back(interpreter):
    run(interpreter, "-W", "ignore", "-c", source_of(create), env={"PYTHONPATH": ROOT})
