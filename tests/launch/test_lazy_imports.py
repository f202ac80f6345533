"""Python 3.15 imports lazily, if it is told to: programs are covered, and our modules are not put off."""

from __future__ import annotations

import pytest

from tests.support.run import interpreters, pysocksify, run
from tests.support.servers import reference_server

ALL = ("-X", "lazy_imports=all")
STRICT = ("-W", "error", "-X", "dev")

PROGRAMS = {
    "lazy import": "lazy import socket\nsocket.create_connection(('127.0.0.1', {port})).close()",
    "lazy from": "lazy from socket import create_connection as c\nc(('127.0.0.1', {port})).close()",
    "import": "import socket\nsocket.create_connection(('127.0.0.1', {port})).close()",
    "function": "def f():\n import socket\n socket.create_connection(('127.0.0.1', {port})).close()\nf()",
    "urllib": "from urllib import request\ntry: request.urlopen('http://127.0.0.1:{port}', timeout=1)\n"
    "except OSError: pass",
    "asyncio": "import asyncio\nasync def f():\n"
    " (await asyncio.open_connection('127.0.0.1', {port}))[1].close()\nasyncio.run(f())",
    "child": "import subprocess, sys\nsubprocess.run([sys.executable, '-c', "
    "'import socket; socket.create_connection((\"127.0.0.1\", {port})).close()'], check=True)",
}


@pytest.fixture
def python():
    if "3.15" not in interpreters():
        pytest.skip("no CPython 3.15 on this machine")
    return interpreters()["3.15"]


@pytest.mark.parametrize("options", [(), ALL, STRICT, ALL + STRICT], ids=" ".join)
@pytest.mark.parametrize("code", PROGRAMS)
def test_programs_are_tunnelled(python, sink_server, code, options):
    with reference_server() as proxy:
        words = pysocksify("-x", proxy.url(), "--loopback", "proxy")
        ran = run(*words, python, *options, "-c", PROGRAMS[code].format(port=sink_server.port))
        assert proxy.asked == [("CONNECT", "127.0.0.1", sink_server.port)]
        assert (ran.out, ran.err) == ("", "")


# A socket of the program's, and then whatever of ours is in sys.modules.
LOADED = """
import socket, sys
with socket.socket() as sock:
    sock.connect(("127.0.0.1", {port}))
ours = {{name for name in sys.modules if name.startswith("pywrap")}}
values = [(name, value) for name in ours for value in vars(sys.modules[name]).values()]
put_off = [name for name, value in values if "lazy" in type(value).__name__]
import json
print(json.dumps([sorted(ours), put_off]))
"""


def test_our_modules_are_imported_at_once(python, sink_server):
    # One that is imported at its first use may be needed when no descriptor is left, or in a signal handler.
    code = LOADED.format(port=sink_server.port)
    with reference_server() as proxy:
        words = pysocksify("-x", proxy.url(), "--loopback", "proxy")
        usual = run(*words, python, "-c", code).json
        assert run(*words, python, *ALL, "-c", code).json == usual
        assert usual[1] == []
        assert len(usual[0]) > 30
