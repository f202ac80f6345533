"""Sessions on a terminal, and a debugger that attaches to a process: as without us."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time

import pytest

from tests.support.run import environment, interpreters, program, pysocksify, run
from tests.support.servers import PATIENCE, reference_server


@pytest.fixture(params=["3.14", "3.15"])
def python(request):
    if request.param not in interpreters():
        pytest.skip(f"no CPython {request.param} on this machine")
    return interpreters()[request.param]


@pytest.fixture
def proxy():
    with reference_server() as server:
        yield server


def session(command, lines):
    """What a terminal shows of ``command``, which gets each of ``lines`` when the one before was answered.

    ``lines``: pairs of a line and of what its answer has in it.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [str(word) for word in command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment({"TERM": "xterm", "PYTHON_HISTORY": os.devnull}),
        start_new_session=True,
    )
    os.close(theirs)
    try:
        shown = wait_for(ours, b">>> ")
        for line, answer in lines:
            os.write(ours, line.encode() + b"\r")
            shown += wait_for(ours, answer.encode())
        os.write(ours, b"exit()\r")
        shown += wait_for(ours, None)
        assert process.wait(PATIENCE) == 0, shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return shown


def wait_for(terminal, wanted):
    """What is shown until ``wanted`` is a part of it, or until the program has closed it (None)."""
    shown, end = b"", time.monotonic() + PATIENCE
    while wanted is None or wanted not in shown:
        assert select.select([terminal], [], [], max(0, end - time.monotonic()))[0], shown
        try:
            shown += os.read(terminal, 65536)
        except OSError:
            # EIO: the last process that had the other end open has closed it.
            assert wanted is None, shown
            break
    return shown


# What it shows is drawn anew with each key: these answers are nowhere in what is typed.
LINES = {
    "": [
        ("import socket; sock = socket.create_connection(('127.0.0.1', {port}))", ">>> "),
        ("'<%s>' % sock.getpeername()[0]", "'<127.0.0.1>'"),
        ("__name__.upper()", "'__MAIN__'"),
    ],
    "asyncio": [
        ("_, w = await asyncio.open_connection('127.0.0.1', {port})", ">>> "),
        ("'<%s>' % w.get_extra_info('peername')[0]", "'<127.0.0.1>'"),
        ("w.close()", ">>> "),
    ],
}
PYREPL = b"\x1b[?2004h"


@pytest.mark.parametrize(
    "options", [(), ("-I",), ("-X", "lazy_imports=all"), ("-m", "asyncio")], ids=" ".join
)
def test_a_session_is_of_the_new_repl_and_tunnelled(python, proxy, sink_server, options):
    lines = [
        (line.format(port=sink_server.port), answer)
        for line, answer in LINES["asyncio" if "asyncio" in options else ""]
    ]
    through = pysocksify("-x", proxy.url(), "--loopback", "proxy")
    shown = session([*through, python, *options], lines)
    assert proxy.asked == [("CONNECT", "127.0.0.1", sink_server.port)]
    assert PYREPL in shown
    assert b"pysocksify" not in shown and b"pywrap" not in shown
    # As without us: its first lines, too.
    bare = session([python, *options], lines)
    assert PYREPL in bare
    assert shown.partition(b">>> ")[0].splitlines()[:2] == bare.partition(b">>> ")[0].splitlines()[:2]


def test_pdb_attaches_to_a_process(python, proxy):
    through = pysocksify("-x", proxy.url())
    target = subprocess.Popen(
        [*through, python, program("wait_for_a_debugger.py")[1]],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert target.stdout.readline() == '"started"\n'
        attach = (*through, python, "-m", "pdb", "-p", target.pid)
        ran = run(*attach, input="p 'it is', wanted\nwanted = 18\nc\n")
        assert "('it is', 17)" in ran.out, ran
        assert target.communicate(timeout=PATIENCE) == ("18\n", "")
    finally:
        target.kill()
        target.communicate()
