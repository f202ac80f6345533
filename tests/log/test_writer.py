from __future__ import annotations

import errno
import os
import pty
import resource
import sys
from select import PIPE_BUF

import pytest

from pywrap.log.writer import LineWriter, descriptor
from tests.support.child import source_of
from tests.support.run import program, run


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "log"
    path.touch()
    return path


def test_lines_are_appended(file):
    file.write_bytes(b"before\n")
    writer = LineWriter(str(file))
    assert writer.write(b"one\n") and writer.write(b"two\n")
    writer.close()
    assert file.read_bytes() == b"before\none\ntwo\n"


def test_lines_of_many_processes_never_mix_and_none_is_lost(file):
    # Each line has a size of its own, up to more than a page.
    run(*program("log_lines.py"), file, 20, 300)
    lines = file.read_text().splitlines()
    assert len(lines) == 20 * 300
    said = [line.split() for line in lines]
    assert all(len(padding) == int(size) for _, _, size, padding in said)
    for worker in range(20):
        assert [int(number) for who, number, _, _ in said if int(who) == worker] == list(range(300))


def test_a_pipe_whose_reader_sleeps_loses_lines_and_never_waits():
    read, write = os.pipe()
    losses = []
    writer = LineWriter(f"/proc/self/fd/{write}", losses.append)
    line = b"x" * 1023 + b"\n"
    written = 0
    while writer.write(line):
        written += 1
    assert writer.lost == 1 and not writer.write(line) and writer.lost == 2
    assert len(losses) == 1 and writer.longest == PIPE_BUF
    # The program's own end is as it was, and waits.
    assert os.get_blocking(write)
    assert os.read(read, 1 << 20) == line * written
    assert writer.write(line)
    for fd in (read, write):
        os.close(fd)
    writer.close()


def test_a_pipe_without_a_reader_ends_no_program(tmp_path):
    def program():
        import os
        import signal

        from pywrap.log.writer import LineWriter

        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        read, write = os.pipe()
        writer = LineWriter(f"/proc/self/fd/{write}")
        writer.open()
        os.close(read)
        print(writer.write(b"x\n"), writer.lost, signal.sigpending())

    assert run(sys.executable, "-c", source_of(program)).out == "False 1 set()\n"


def test_a_line_that_was_torn_ends_before_the_next(file):
    def program():
        import resource
        import sys

        from pywrap.log.writer import LineWriter

        writer = LineWriter(sys.argv[1])
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, -1))
        print(writer.write(b"first\n"), writer.write(b"second\n"), writer.lost)
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        print(writer.write(b"third\n"))

    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    assert run(sys.executable, "-c", source_of(program), file).out == "True False 1\nTrue\n"
    assert file.read_text() == "first\nseco\nthird\n"


def test_a_descriptor_that_the_program_has_closed_is_not_written_to(file, tmp_path):
    writer = LineWriter(str(file))
    writer.write(b"one\n")
    fd = writer._fd
    assert fd >= 64
    os.close(fd)
    # The program gets the number for a file of its own.
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    os.dup2(other, fd)
    writer.write(b"two\n")
    os.close(other)
    os.close(fd)
    writer.close()
    assert file.read_text() == "one\ntwo\n"
    assert (tmp_path / "other").read_bytes() == b""


def test_a_terminal_takes_lines():
    ours, theirs = pty.openpty()
    writer = LineWriter(os.ttyname(theirs))
    assert writer.write(b"one\n")
    assert os.read(ours, 100) == b"one\r\n"
    for fd in (ours, theirs):
        os.close(fd)
    writer.close()


def test_a_file_that_is_gone_is_a_loss(tmp_path):
    losses = []
    writer = LineWriter(str(tmp_path / "none"), losses.append)
    assert not writer.write(b"x\n")
    assert writer.lost == 1 and "No such file" in str(losses[0])


def test_a_forked_child_appends_to_the_same_file(file):
    writer = LineWriter(str(file))
    writer.write(b"parent\n")
    pid = os.fork()
    if pid == 0:
        os._exit(not writer.write(b"child\n"))
    assert os.waitpid(pid, 0)[1] == 0
    writer.write(b"parent\n")
    writer.close()
    assert file.read_text() == "parent\nchild\nparent\n"


def test_a_descriptor_that_is_another_file_by_now_is_not_written_to(tmp_path):
    reader, writer = os.pipe()
    name = descriptor(writer)
    log = LineWriter(name)
    assert log.write(b"one\n") and os.read(reader, 100) == b"one\n"
    log.close()
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    os.dup2(other, writer)
    losses = []
    assert not LineWriter(name, losses.append).write(b"two\n")
    assert losses[0].errno == errno.ENOENT and (tmp_path / "other").read_bytes() == b""
    for fd in (reader, writer, other):
        os.close(fd)


def test_a_pipe_of_a_parent_is_found_by_a_child_that_has_closed_it():
    code = (
        "import sys; from pywrap.log.writer import LineWriter; print(LineWriter(sys.argv[1]).write(b'x\\n'))"
    )
    reader, writer = os.pipe()
    assert run(sys.executable, "-c", code, descriptor(writer)).out == "True\n"
    assert os.read(reader, 100) == b"x\n"
    for fd in (reader, writer):
        os.close(fd)
