"""The report on a terminal: it fits, says what is wrong and what helps, and has colour where it helps."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from pywrap.config.settings import PLACEHOLDERS
from pywrap.config.url import parse_proxy
from pywrap.launch.check.report import NO, UNKNOWN, YES, Finding, Report, in_words
from pywrap.launch.check.terminal_report import on_terminal, wants_colour
from tests.support.run import environment
from tests.support.servers import PATIENCE, reference_server

SGR = re.compile("\x1b\\[[0-9;]*m")


def report(url, **findings):
    made = Report((parse_proxy(url),))
    for subject in ("reachable", "connect", "method_none", "method_password"):
        made.findings[subject] = Finding(YES)
    made.findings.update({subject: Finding(*each) for subject, each in findings.items()})
    made.connect_time, made.reply_time = 0.1234, 0.0052
    return made


def broken(url, error):
    made = report(url, reachable=(NO,), connect=(UNKNOWN,))
    made.connect_time, made.error = None, error
    return made


WORKS = report("socks5h://127.0.0.1:9050", udp=(NO, "command not supported by the proxy"), names=(YES,))
FAILS = broken("socks5h://alice:secret@proxy.example:1080", "cannot reach the proxy: Connection refused")


@pytest.mark.parametrize("width", [200, 120, 100, 80, 60, 40])
def test_no_line_is_wider_than_the_terminal(width):
    text = on_terminal([WORKS, FAILS], PLACEHOLDERS, width, colour=True)
    lines = [SGR.sub("", line) for line in text.splitlines()]
    # A URL is not broken, so that it can be copied.
    assert max(len(line) for line in lines if "://" not in line) <= width
    assert "secret" not in text


def test_the_table_has_the_same_cells_in_every_form():
    plain = in_words([WORKS, FAILS])
    for width in (200, 80, 40):
        text = on_terminal([WORKS, FAILS], PLACEHOLDERS, width, colour=False)
        assert "\x1b" not in text
        for word in ("123/5.2 ms", "none pass", "reachable", "half"):
            assert word in text and word in plain
        assert text.splitlines()[-1] == plain.splitlines()[-1]


def test_wide_ones_have_the_proxies_in_the_table_and_narrow_ones_above_it():
    wide = on_terminal([WORKS], PLACEHOLDERS, 160, colour=False).splitlines()
    assert wide[2].startswith("1  socks5h://127.0.0.1:9050  yes")
    middle = on_terminal([WORKS], PLACEHOLDERS, 80, colour=False).splitlines()
    assert middle[0] == "1  socks5h://127.0.0.1:9050" and middle[4].split()[:2] == ["1", "yes"]
    narrow = on_terminal([WORKS], PLACEHOLDERS, 40, colour=False).splitlines()
    assert narrow[0] == "1  socks5h://127.0.0.1:9050" and narrow[1].split()[:2] == ["reachable", "yes"]


def test_a_hint_stands_under_what_is_wrong():
    lines = on_terminal([WORKS, FAILS], PLACEHOLDERS, 160, colour=False).splitlines()
    at = lines.index("   UDP: command not supported by the proxy")
    assert lines[at + 1].startswith("     hint: datagrams fail with EOPNOTSUPP; `--udp direct`")
    at = lines.index("   error: cannot reach the proxy: Connection refused")
    assert lines[at + 1] == "     hint: is the proxy running, and the port right?"


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        ("the proxy refused the username or the password", "USER:PASSWORD@"),
        ("the proxy asks for authentication, and no username was given", "it wants a user"),
        ("not a SOCKS5 proxy: it answers like an HTTP server", "http://HOST:PORT"),
        ("probably not a SOCKS5 proxy: its answer starts with b'x'", "is that the right port?"),
        ("no answer in time", "--timeout"),
    ],
)
def test_errors_have_advice(error, hint):
    assert hint in on_terminal([broken("socks5h://h", error)], PLACEHOLDERS, 160, colour=False)


def test_yes_is_green_and_no_is_red():
    text = on_terminal([WORKS, FAILS], PLACEHOLDERS, 160, colour=True)
    assert "\x1b[32myes\x1b[0m" in text and "\x1b[31mno\x1b[0m" in text


def test_colour_is_off_on_demand_and_on_a_dumb_terminal():
    assert wants_colour({"TERM": "xterm"})
    for environ in ({"TERM": "xterm", "NO_COLOR": "1"}, {"TERM": "dumb"}, {}):
        assert not wants_colour(environ)


def test_the_command_asks_the_terminal_how_wide_it_is():
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 60, 0, 0))
    with reference_server() as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "pywrap", "-q", "--check", server.url()],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.DEVNULL,
            env=environment({"TERM": "xterm"}),
        )
        os.close(theirs)
        shown = b""
        # EIO: the command has ended.
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 1 << 16):
                shown += piece
        assert process.wait(PATIENCE) == 0
    os.close(ours)
    text = shown.decode()
    assert "\x1b[32myes\x1b[0m" in text
    assert max(len(SGR.sub("", line)) for line in text.splitlines()) <= 60
