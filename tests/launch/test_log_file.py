"""Where a log can be: a file, stdout, a descriptor; and what is refused before the program starts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.child import source_of
from tests.support.log import of, valid
from tests.support.logged import logged
from tests.support.run import environment, run
from tests.support.servers import reference_server

CONNECT = "import socket, sys; print('out'); socket.create_connection((sys.argv[1], int(sys.argv[2])))"


def test_stdout_can_be_the_log_and_a_file_of_the_program_too(tmp_path, echo_server):
    with reference_server() as proxy:
        words = *logged("-", proxy.url()), sys.executable, "-uc", CONNECT, echo_server.host, echo_server.port
        lines = run(*words).out.splitlines()
        assert [line for line in lines if line == "out"] == ["out"]
        assert len(valid("\n".join(line for line in lines if line != "out"))) == 2
        # Without O_APPEND: what the program prints would overwrite the first line.
        with open(tmp_path / "out", "w") as out:
            subprocess.run([str(word) for word in words], stdout=out, check=True, env=environment())
    lines = (tmp_path / "out").read_text().splitlines()
    assert sorted(line == "out" for line in lines) == [False, False, True]


def test_a_descriptor_can_be_the_log_also_of_children_that_do_not_have_it(echo_server):
    child = f"import socket; socket.create_connection(({echo_server.host!r}, {echo_server.port}))"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    read_end, write_end = os.pipe()
    with reference_server() as proxy:
        words = *logged(f"fd:{write_end}", proxy.url()), sys.executable, "-c", code
        subprocess.run([str(word) for word in words], pass_fds=[write_end], check=True, env=environment())
    os.close(write_end)
    with open(read_end) as reader:
        lines = valid(reader.read())
    assert [line["event"] for line in lines] == ["run", "connection"]


@pytest.mark.parametrize("confine", ["off", "on"])
def test_a_pipe_is_found_by_processes_whose_own_stdout_is_another(confine, echo_server):
    def program(connect):
        import os
        import subprocess
        import sys

        subprocess.run([sys.executable, "-c", connect], check=True, stdout=subprocess.DEVNULL)
        # A number that is another file by now is not written to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        exec(connect)

    connect = f"import socket; socket.create_connection(({echo_server.host!r}, {echo_server.port}))"
    code = source_of(program, connect)
    with reference_server() as proxy:
        ran = run(*logged("-", proxy.url(), "--confine", confine), sys.executable, "-c", code, status=None)
    lines = [line for line in of("connection", valid(ran.out)) if line["by"] == "patch"]
    # The second has none left to ask for the pipe but pysocksify itself, which confined programs cannot.
    assert len(lines) == 1
    assert "loses lines" in ran.err


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("/nowhere/log", "cannot open the log /nowhere/log: No such file or directory"),
        ("/", "cannot open the log /: Is a directory"),
        ("fd:77", "cannot open the log descriptor 77: Bad file descriptor"),
        ("fd:0", "cannot open the log descriptor 0: it is not open for writing"),
        ("fd:x", "not a descriptor: `fd:x`"),
    ],
)
def test_a_log_that_cannot_be_opened_is_one_error_and_nothing_starts(log, words):
    ran = run(*logged(log, "socks5h://127.0.0.1:1"), sys.executable, "-c", "print('started')", status=125)
    assert ran.out == ""
    assert ran.err.splitlines()[0] == f"pysocksify: error: {words}"
