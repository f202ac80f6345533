"""The time of day may jump: all times are measured by a clock that does not."""

import ast
import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

import pywrap
from tests.support.pysocksd import PYSOCKSD, request
from tests.support.raw_sockets import receive
from tests.support.servers import PATIENCE

# Of Debian's libfaketime, for programs with threads. It leaves the monotonic clock alone when it is told so.
LIBRARIES = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))

# They write it down, and compute nothing from it: the lines of a log, the number of a run.
WRITTEN_DOWN = {"log/events.py", "server/stderr_log.py", "config/settings.py"}

OF_THE_DAY = {"time", "time_ns", "gmtime", "localtime", "strftime", "ctime", "CLOCK_REALTIME"}


def test_only_what_is_written_down_has_the_time_of_day():
    root = Path(pywrap.__file__).parent
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = {alias.name for alias in getattr(node, "names", []) if isinstance(alias, ast.alias)}
            of_time = isinstance(node, ast.ImportFrom) and node.module == "time" and names & OF_THE_DAY
            whole = isinstance(node, ast.Import) and names & {"time", "datetime"}
            if of_time or whole or isinstance(node, ast.ImportFrom) and node.module == "datetime":
                found.add(str(path.relative_to(root)))
    assert found == WRITTEN_DOWN


class Clock:
    """The time of day of a program: what it is ahead, which may be changed at any time."""

    def __init__(self, folder):
        self._file = folder / "clock"
        self.step("+0d")

    def step(self, ahead):
        new = self._file.with_suffix(".new")
        new.write_text(ahead)
        new.rename(self._file)

    @property
    def environ(self):
        return {
            **os.environ,
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@pytest.mark.skipif(not LIBRARIES, reason="libfaketime is not installed: scripts/debian installs it")
def test_steps_of_the_clock_change_nothing(tmp_path, target):
    clock = Clock(tmp_path)
    options = ("--handshake-timeout", "60", "--idle-timeout", "600", "--rate", "1000000")
    command = [*PYSOCKSD, "-l", "127.0.0.1:0", "--log-format", "json", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=clock.environ) as server:
        try:

            def line():
                return json.loads(server.stderr.readline())

            address = ("127.0.0.1", int(line()["message"].rpartition(":")[2]))
            tunnel = request(target, address)
            end = target.accept()
            half_open = socket.create_connection(address, PATIENCE)
            half_open.sendall(b"\x05\x01\x00" + b"\x05\x01")
            assert receive(half_open, 2) == b"\x05\x00"
            years = [line()["time"][:4]]
            for ahead in "+7300d", "-7300d", "+0d":
                clock.step(ahead)
                # The loop has had a turn, and its timers as well, when this one is served.
                request(target, address).close()
                target.accept().close()
                years.append(line()["time"][:4])
                tunnel.sendall(b"ping")
                assert receive(end, 4) == b"ping"
                end.sendall(b"pong")
                assert receive(tunnel, 4) == b"pong"
            half_open.sendall(b"\x00\x01" + target.address)
            assert receive(half_open, 4) == b"\x05\x00\x00\x01"
            now = int(years[0])
            assert [int(year) - now for year in years] == [0, 20, -20, 0]
        finally:
            server.kill()
            for sock in (tunnel, half_open):
                sock.close()
