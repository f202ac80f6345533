"""Lines for descriptors that are read, that are not, and that nothing reads any more."""

import contextlib
import fcntl
import os
import pty
import socket

import pytest

from pywrap.server import lines
from pywrap.server.lines import Lines


def told(count):
    return b"%d lost\n" % count


def open_pipe():
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    return read, write


def open_terminal():
    read, write = pty.openpty()
    return read, write


def open_sockets():
    return tuple(each.detach() for each in socket.socketpair())


@pytest.fixture(params=[open_pipe, open_terminal, open_sockets, "without /proc"])
def ends(request, monkeypatch):
    make = request.param
    if make == "without /proc":
        make = open_pipe

        def denied(*args):
            raise PermissionError

        monkeypatch.setattr(lines.os, "open", denied)
    read, write = make()
    yield read, write
    for fd in read, write:
        if os.path.exists(f"/proc/self/fd/{fd}"):
            os.close(fd)


class Later:
    """What a loop would call when the descriptor takes something again."""

    def __init__(self):
        self.calls = []

    def __call__(self, fd, call):
        self.calls.append(call)

    def run(self):
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def fill(out):
    """Write until something is lost; return how many lines were written."""
    count = 0
    while not out.lost:
        out.write(b"%0200d\n" % count)
        count += 1
    return count - 1


@pytest.fixture
def lines_for():
    made = []

    def make(fd):
        made.append(Lines(fd, told))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_what_finds_no_room_is_dropped_counted_and_told(ends, lines_for):
    read, write = ends
    out = lines_for(write)
    later = out.when_writable = Later()
    count = fill(out)
    for number in range(count + 1, count + 10):
        out.write(b"%0200d\n" % number)
    assert out.lost
    assert len(later.calls) == 1
    data = b""
    os.set_blocking(read, False)
    while later.calls:
        try:
            data += os.read(read, 1 << 20)
        except BlockingIOError:
            later.run()
    with contextlib.suppress(BlockingIOError):
        data += os.read(read, 1 << 20)
    out.write(b"after\n")
    data += os.read(read, 1 << 20)
    got = data.replace(b"\r", b"").decode().splitlines()
    assert got.pop() == "after"
    # None is cut, also where a terminal or a socket took the beginning of one: its end has come later.
    written = [int(line) for line in got if len(line) == 200]
    lost = sum(int(line.split()[0]) for line in got if line.endswith(" lost"))
    assert written == sorted(written)
    assert len(written) + lost == count + 10
    assert {len(line) for line in got if not line.endswith(" lost")} == {200}


def test_the_descriptor_itself_keeps_its_mode(ends, lines_for):
    _, write = ends
    out = lines_for(write)
    fill(out)
    assert os.get_blocking(write)


def test_the_next_line_tells_it_where_there_is_no_loop(ends, lines_for):
    read, write = ends
    out = lines_for(write)
    fill(out)
    lost = out.lost
    os.set_blocking(read, False)
    try:
        while os.read(read, 1 << 20):
            pass
    except BlockingIOError:
        pass
    out.write(b"next\n")
    os.set_blocking(read, True)
    got = os.read(read, 1 << 20).replace(b"\r", b"").split()
    # Without a descriptor of its own it takes a pipe of one page for full as soon as something is in it.
    assert got in ([b"%d" % lost, b"lost", b"next"], [b"%d" % lost, b"lost"])


def test_a_reader_that_is_gone_is_not_waited_for(ends, lines_for):
    read, write = ends
    out = lines_for(write)
    os.close(read)
    for _ in range(10_000):
        out.write(b"%0200d\n" % 0)
    assert out.lost == 0


def test_a_file_is_appended_to(tmp_path):
    path = tmp_path / "log"
    path.write_text("before\n")
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    Lines(fd, told).write(b"after\n")
    os.close(fd)
    assert path.read_text() == "before\nafter\n"
