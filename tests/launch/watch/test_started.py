"""--watch PROGRAM: it is started, and what is unprotected is told on stderr."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.support.child import source_of
from tests.support.run import environment, program, pysocksify, run
from tests.support.servers import reference_server


@pytest.fixture
def proxy():
    with reference_server() as running:
        yield running


def test_a_program_is_started_and_watched_and_keeps_its_terminal(proxy, echo_server):
    if shutil.which("ncat") is None:
        pytest.skip("no ncat")
    options = "--watch", "-x", proxy.url(), "--loopback", "proxy", "--confine", "off"
    command = *pysocksify(*options), *program("stray_children.py"), echo_server.host, echo_server.port
    process = subprocess.Popen(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    with process:
        strays = process.stdout.readline().split()
        told = set()
        # A process and its connection have a line each.
        while len(told) < 6:
            line = process.stderr.readline()
            assert line, told
            if "seen unprotected: " in line:
                told.add(line)
        out, err = process.communicate(timeout=60)
    assert {pid for pid in strays if sum(f" ({pid}): " in line for line in told) == 2} == {*strays}
    assert err.splitlines()[-1].startswith("pysocksify: seen: 3 unprotected processes: ") and out == ""
    assert process.returncode == 3


@pytest.mark.parametrize(
    ("code", "status"), [("import sys; sys.exit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137), ("", 0)]
)
def test_the_status_is_that_of_the_program_that_was_watched(code, status, proxy):
    run(*pysocksify("--watch", "-x", proxy.url()), sys.executable, "-c", code, status=status)


def test_signals_are_passed_on_to_the_program(proxy):
    def program():
        import signal
        import sys

        signal.signal(15, lambda *_: sys.exit(5))
        print("up", flush=True)
        signal.pause()

    code = source_of(program)
    command = *pysocksify("--watch", "-x", proxy.url()), sys.executable, "-c", code
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    with process:
        assert process.stdout.readline() == "up\n"
        process.terminate()
        assert process.wait(30) == 5
