"""A program's tests replace functions of os and time for the program's own code, and ours do not notice."""

from __future__ import annotations

import socket

import pytest

from tests.support.child import kernel
from tests.support.datagrams import udp_echo
from tests.support.inside import PATIENCE, echo, say, udp, wait_writable
from tests.support.servers import reference_server

FUNCTIONS = ("fstat", "stat", "read", "write", "close", "dup", "dup2", "open", "listdir", "eventfd")


def _connect_in_each_way(host, port, relay_port):
    """Blocking, non-blocking, and by datagrams."""
    said = []
    with socket.create_connection((host, port), PATIENCE) as sock:
        said.append(echo(sock))
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex((host, port))
        said += [wait_writable(sock), echo(sock)]
    with udp() as sock:
        sock.sendto(b"hello", (host, relay_port))
        said.append(sock.recv(9).decode())
    return said


@pytest.fixture
def relay():
    with reference_server() as proxy:
        yield proxy


@pytest.fixture
def echo_port():
    """Of datagrams, at 127.0.0.1."""
    with udp_echo() as echo:
        yield echo.port


EXPECTED = ["hello", 0, "hello", "hello"]


@pytest.mark.parametrize("warm", [True, False])
def test_mocks_of_os_are_for_the_program_alone(warm, relay, echo_server, echo_port):
    def program(host, port, relay_port):
        import sys
        import unittest.mock

        if sys.argv[4] == "True":
            _connect_in_each_way(host, port, relay_port)
        results = {}
        for name in FUNCTIONS:
            with unittest.mock.patch(f"os.{name}", side_effect=OSError("not for sockets")):
                results[name] = _connect_in_each_way(host, port, relay_port)
        say(**results)

    words = echo_server.host, echo_server.port, echo_port, warm
    assert kernel(relay.url(), program, *words) == dict.fromkeys(FUNCTIONS, EXPECTED)


def test_what_looks_through_all_modules_for_os_finds_nothing_of_ours(relay, echo_server, echo_port):
    # As pyfakefs does, which replaces the module by its name and C's functions by theirs.
    def program(host, port, relay_port):
        import os
        import sys
        import types

        def refuse(*args, **kwargs):
            raise OSError("not for sockets")

        class Fake(types.ModuleType):
            def __getattr__(self, name):
                return refuse

        def replace():
            for module in [module for name, module in sys.modules.items() if name.startswith("pywrap")]:
                for name, value in list(vars(module).items()):
                    if isinstance(value, types.ModuleType) and value.__name__ in ("os", "posix"):
                        setattr(module, name, Fake("os"))
                    elif isinstance(value, types.BuiltinFunctionType) and value.__module__ == os.name:
                        setattr(module, name, refuse)

        _connect_in_each_way(host, port, relay_port)
        replace()
        say(connected=_connect_in_each_way(host, port, relay_port))

    words = echo_server.host, echo_server.port, echo_port
    assert kernel(relay.url(), program, *words)["connected"] == EXPECTED


@pytest.mark.parametrize("way", ["attribute", "identity"])
def test_timeouts_come_when_the_program_has_stopped_its_clocks(way, hanging):
    def program():
        import sys
        import time

        def stop():
            real = time.monotonic
            time.monotonic = lambda: 0.0
            if sys.argv[1] == "identity":
                # As freezegun does.
                for module in list(sys.modules.values()):
                    for name, value in list(getattr(module, "__dict__", {}).items()):
                        if value is real and module is not time:
                            setattr(module, name, time.monotonic)

        def fail():
            with socket.socket() as sock:
                sock.settimeout(0.05)
                try:
                    sock.connect(("192.0.2.1", 80))
                except OSError as err:
                    return type(err).__name__

        if sys.argv[1] == "identity":
            fail()
        stop()
        say(first=fail(), second=fail())

    assert kernel(hanging, program, way) == {"first": "TimeoutError", "second": "TimeoutError"}
