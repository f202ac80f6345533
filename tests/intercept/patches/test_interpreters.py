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


@pytest.mark.parametrize("clean", ["", "file"])
def test_with_a_password(interpreter, sink_server, clean):
    # Its file goes with the process, and not with an interpreter: each but the first needs it after another's
    # end.
    with reference_server(users={b"alice": b"right"}) as proxy:
        through = pysocksify("-x", proxy.url("alice", "right"), "--loopback", "proxy")
        ran = run(*through, interpreter, PROGRAM, "127.0.0.1", sink_server.port, env={"CLEAN": clean})
        connections, *names = ran.json
        assert proxy.asked == [("CONNECT", "127.0.0.1", sink_server.port)] * connections
        assert (names, ran.err) == ([True, True], "")


def test_the_file_with_the_password_outlives_an_interpreter(interpreter, sink_server):
    def program(folder, port):
        import os
        import subprocess
        import sys

        sys.path.insert(0, folder)
        sys.argv[1:] = ["127.0.0.1", str(port)]
        import make_interpreters

        make_interpreters.by_hand(make_interpreters.CODE)
        subprocess.run([sys.executable, "-c", make_interpreters.CODE, *sys.argv[1:]], check=True)
        print(os.path.exists(os.environ["PYSOCKSIFY_SETTINGS"].removeprefix("file=")) and 1)

    with reference_server(users={b"alice": b"right"}) as proxy:
        through = pysocksify("-x", proxy.url("alice", "right"), "--loopback", "proxy")
        ran = run(*through, interpreter, "-c", source_of(program, str(PROGRAMS), sink_server.port))
        assert (ran.json, ran.err) == (1, "")
        assert proxy.asked == [("CONNECT", "127.0.0.1", sink_server.port)] * 2


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


def uninstall_twice(url, port):
    import pywrap

    try:
        import _interpreters as module
    except ModuleNotFoundError:
        import _xxsubinterpreters as module

    run = getattr(module, "exec", None) or module.run_string
    connect = f"import socket; socket.create_connection(('127.0.0.1', {port})).close()"
    nest = f"import {module.__name__} as module; below = module.create(); run = module.{run.__name__}"
    early = module.create()
    pywrap.install(url, loopback="proxy")
    made, outer, ended = module.create(), module.create(), module.create()
    module.destroy(ended)
    run(outer, nest)
    below = f"run(below, {connect!r})"
    for _ in range(2):
        for each, code in (early, connect), (made, connect), (outer, below):
            failed = run(each, code)
            assert failed is None, failed
        pywrap.uninstall()
    assert run(made, "assert not [name for name in globals() if 'pysocksify' in name]") is None


def test_uninstall_takes_back_those_that_were_made(interpreter, proxy, sink_server):
    code = source_of(uninstall_twice, proxy.url(), sink_server.port)
    run(interpreter, "-W", "ignore", "-c", code, env={"PYTHONPATH": ROOT})
    # Before that: by the one that was made, and by the one that another of them has made; not by the one that
    # is older than the patches.
    assert proxy.asked == [("CONNECT", "127.0.0.1", sink_server.port)] * 2
