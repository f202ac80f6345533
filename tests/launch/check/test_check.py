"""The command ``pysocksify --check``: what it prints where, and its status."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess
import sys

import pytest

from pywrap import cli
from tests.support.run import environment, run
from tests.support.servers import PATIENCE, reference_server


def check(*words, **how):
    return run(sys.executable, "-m", "pywrap", *words, **how)


def test_status_0_when_a_connection_was_seen_through_each():
    with reference_server() as one, reference_server() as two:
        ran = check("--check", one.url(), two.url())
    assert ran.err == ""
    assert ran.out.endswith("\nall 2 work\n")


def test_status_1_when_not_through_each(refusing_port):
    with reference_server() as server:
        ran = check("--check", server.url(), f"socks5h://127.0.0.1:{refusing_port}", status=1)
    assert ran.err == ""
    assert ran.out.endswith("\n1 of 2 work, not seen to work: 2\n")


def test_status_0_besides_what_cannot_be_asked(refusing_port):
    raw = f"raw://127.0.0.1:{refusing_port}"
    with reference_server() as server:
        ran = check("--check", server.url(), raw)
    assert "2  error: raw hops cannot be checked\n" in ran.out
    assert ran.out.endswith("\nworks; not seen to work, which is no harm: 2\n")
    ran = check("--check", raw, status=1)
    assert ran.out.endswith("\nnot seen to work\n")


def test_the_chain_of_the_configuration_file(tmp_path, refusing_port):
    file = tmp_path / "some.conf"
    with reference_server() as server:
        file.write_text(
            f"[ProxyList]\nsocks5 127.0.0.1 {server.port}\nsocks5 127.0.0.1 {refusing_port} alice secret\n"
        )
        ran = check("-f", file, "--check", "--json", status=1)
    told = json.loads(ran.out)
    assert [(each["proxy"], each["through"], each["works"]) for each in told["proxies"]] == [
        (f"socks5://127.0.0.1:{server.port}", [], True),
        (f"socks5://alice:***@127.0.0.1:{refusing_port}", [], False),
        (f"socks5://alice:***@127.0.0.1:{refusing_port}", [f"socks5://127.0.0.1:{server.port}"], False),
    ]


def test_a_configuration_that_leaves_nothing_to_a_proxy(tmp_path, capsys):
    path = tmp_path / "pysocksify.conf"
    path.write_text("route * block\n")
    assert cli.main(["-f", str(path), "--check"]) == 125
    assert capsys.readouterr().err.startswith("pysocksify: error: nothing to check: ")


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_the_password_is_in_no_output(microsocks_with_password, form):
    # Not a part of any other word.
    url = f"socks5h://alice:hunter2@{microsocks_with_password.host}:{microsocks_with_password.port}"
    ran = check("-v", "-x", url, "-x", url, "--check", *form, status=1)
    assert "alice:***@" in ran.out
    assert "hunter2" not in ran.out + ran.err


def on_a_terminal(*words):
    """Run with stderr on a terminal; return what it showed, and the status."""
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "pywrap", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            env=environment(),
        )
        os.close(theirs)
        shown = b""
        # EIO: the last process that had the other end open has closed it.
        with contextlib.suppress(OSError):
            while piece := os.read(ours, 1 << 16):
                shown += piece
        return shown.decode(), process.wait(PATIENCE)
    finally:
        os.close(ours)


def test_progress_on_a_terminal_is_one_line_that_goes_away():
    with reference_server() as server:
        shown, status = on_a_terminal("--check", server.url())
        place = f"{server.host}:{server.port}"
    assert status == 0
    assert f"checked 0 of 1; waiting for {place} (CONNECT)" in shown
    assert "\n" not in shown
    assert shown.endswith("\r\x1b[K")


def test_no_progress_with_q():
    with reference_server() as server:
        assert on_a_terminal("-q", "--check", server.url()) == ("", 0)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--check", "sock5://h"], "unknown proxy scheme: `sock5`"),
        (["--check", "socks5h://h", "--json"], "an option behind the URLs: `--json`"),
        (["-x", "socks5h://h", "--check", "socks5h://u:p@g"], "a URL besides -x or -f: `socks5h://u:***@g`"),
        (["-x", "embedded", "--check"], "nothing to check: `-x embedded` starts together with PROGRAM"),
        (["--check", "--check-target", "h", "socks5h://h"], "not a destination: `h`"),
        (["-x", "socks5h://h", "--json", "app.py"], "`--json` without `--check`"),
        (["-x", "socks5h://h", "--check-target", "h:1", "app.py"], "`--check-target` without `--check`"),
        (["-f", "/no/such/file", "--check"], "cannot read the configuration file /no/such/file: "),
    ],
)
def test_wrong_usage(words, message):
    ran = check(*words, status=125)
    assert ran.out == ""
    assert ran.err.startswith(f"pysocksify: error: {message}")
