"""Programs that patch sockets themselves see what they would see without us."""

from __future__ import annotations

import contextlib
import sys

import pytest

from tests.support import destinations
from tests.support.child import talk
from tests.support.datagrams import udp_echo
from tests.support.inside import say
from tests.support.run import PROGRAMS, ROOT, pysocksify, run
from tests.support.servers import reference_server

PROGRAM = PROGRAMS / "patch_sockets.py"
PORTS = 20


@pytest.fixture
def proxy():
    with reference_server() as server:
        yield server


@pytest.fixture
def port():
    """Of an echo server of each protocol, on 127.0.0.1."""
    for _ in range(PORTS):
        with destinations.echo_server() as server, contextlib.ExitStack() as stack:
            try:
                stack.enter_context(udp_echo(port=server.port))
            except OSError:
                # Another program's datagram socket has the port of this number.
                continue
            yield server.port
            return
    raise AssertionError(f"none of {PORTS} ports is free for both protocols")


@pytest.mark.parametrize(
    ("how", "connections"),
    [
        *(("mocks", 1), ("subclasses", 4), ("guard", 2), ("own_getaddrinfo", 1)),
        *(("replaced_by_pysocks", 1), ("green", 1)),
    ],
)
def test_it_sees_what_it_would_see_without_us(proxy, port, how, connections):
    command = (sys.executable, PROGRAM, how, "127.0.0.1", port)
    plain = run(*command).json
    ours = run(*pysocksify("-x", proxy.url(), "--loopback", "proxy"), *command).json
    assert ours == plain
    assert len(proxy.asked) == connections


@pytest.mark.parametrize("how", ["replaced_by_pysocks", "green"])
def test_patched_before_us_it_sees_the_same(proxy, port, how):
    command = (sys.executable, PROGRAM, how, "127.0.0.1", port)
    plain = run(*command).json
    assert run(*command, proxy.url(), env={"PYTHONPATH": str(ROOT)}).json == plain
    assert proxy.asked == [("CONNECT", "127.0.0.1", port)]


def test_a_suite_that_pytest_socket_guards_passes(proxy, port, tmp_path):
    options = ("-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--disable-socket", "--allow-unix-socket")
    command = (sys.executable, "-m", "pytest", *options, PROGRAMS / "suite_with_guards.py")
    env = {"HOST": "127.0.0.1", "PORT": str(port)}
    plain = run(*command, env=env, cwd=tmp_path)
    ours = run(*pysocksify("-x", proxy.url(), "--loopback", "proxy"), *command, env=env, cwd=tmp_path)
    assert "6 passed" in plain.out and "6 passed" in ours.out
    assert proxy.asked == [("CONNECT", "127.0.0.1", port)] * 5


def test_cassettes_of_vcrpy_are_recorded_and_played(proxy, http_server, tmp_path):
    found = []
    for name, words in (("plain", ()), ("ours", pysocksify("-x", proxy.url(), "--loopback", "proxy"))):
        (tmp_path / name).mkdir()
        command = (sys.executable, PROGRAMS / "replay.py", http_server.url(), tmp_path / name)
        found.append(run(*words, *command).json)
    assert found[0] == found[1]
    assert found[1]["requests"][2] == 1
    # What is played connects to nothing.
    assert len(proxy.asked) == 2 * 3


def test_functions_of_socket_are_sent_to_a_pool_of_processes_and_kept_by_classes_as_those_of_c(proxy):
    def program():
        import concurrent.futures
        import multiprocessing
        import pickle
        import socket

        names = ("gethostbyname", "gethostbyaddr", "gethostbyname_ex", "getnameinfo", "dup")
        kept = {name: getattr(socket, name) for name in names}

        class Resolver:
            resolve = socket.gethostbyname

        context = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
            found = pool.submit(socket.gethostbyname, "svc.test").result()
        say(
            same=[pickle.loads(pickle.dumps(each)) is each for each in kept.values()],
            method=pickle.loads(pickle.dumps(socket.socket.connect)) is socket.socket.connect,
            pool=found,
            attribute=Resolver().resolve("svc.test"),
            shown=[repr(each) for each in kept.values()] == [f"<built-in function {name}>" for name in names],
            modules={each.__module__ for each in kept.values()} == {"_socket"},
        )

    assert talk(proxy, program) == {
        "same": [True] * 5,
        "method": True,
        "pool": "198.18.0.1",
        "attribute": "198.18.0.1",
        "shown": True,
        "modules": True,
    }
