"""Finalizers that run while Python shuts down, when nothing can be imported any more.

Programs that do this there close a pool or a session properly: they have used the network before.
"""

from __future__ import annotations

import pytest

from tests.support.run import pysocksify, run
from tests.support.servers import reference_server

# ``before`` and ``last`` are put in.
PROGRAM = """
import encodings.idna, socket, subprocess, sys

class Last:
    def connect(self):
        socket.create_connection(("127.0.0.1", int(sys_argv[1]))).close()

    def spawn(self):
        subprocess.run([sys_executable, "-c", CHILD + "pass"], check=True)

    def spawn_prepared(self):
        subprocess.run(["true"], preexec_fn=len)

    def __del__(self):
        try:
            self.{last}()
            write(1, b'"done"')
        except Exception as err:
            write(1, (chr(34) + type(err).__name__ + chr(58) + str(err) + chr(34)).encode())

from os import write
sys_argv, sys_executable = sys.argv, sys.executable
CHILD = "import socket; socket.create_connection(('127.0.0.1', " + sys.argv[1] + ")).close();"
last = Last()
{before}
"""


@pytest.fixture
def ending(interpreter, sink_server):
    """``ending(before, last)``: what comes of ``last`` in a finalizer, and what the proxy was asked."""

    def ending(before, last):
        with reference_server() as proxy:
            words = pysocksify("-x", proxy.url(), "--loopback", "proxy")
            text = PROGRAM.format(before=before, last=last)
            ran = run(*words, interpreter, "-c", text, str(sink_server.port))
            assert ran.err == "", ran
            assert set(proxy.asked) <= {("CONNECT", "127.0.0.1", sink_server.port)}
            return ran.json, len(proxy.asked)

    return ending


@pytest.mark.parametrize("what", ["connect", "spawn"])
def test_what_was_used_before_works_on(ending, what):
    assert ending(f"last.{what}()", what) == ("done", 2)


@pytest.mark.parametrize("what", ["connect", "spawn"])
def test_what_was_not_is_refused_in_clear_words(ending, what):
    said, asked = ending("", what)
    assert asked == 0
    assert said.startswith("OSError:[Errno 125] Python is shutting down, and pywrap."), said


def test_what_python_refuses_is_refused_in_its_words(interpreter, ending, sink_server):
    # 3.11 does not refuse it.
    bare = run(
        interpreter, "-c", PROGRAM.format(before="", last="spawn_prepared"), str(sink_server.port)
    ).json
    if bare != "done":
        assert ending("", "spawn_prepared") == (bare, 0)
