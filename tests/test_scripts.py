"""The scripts run, and say what they are for; what they measure is not judged here."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import sys
import time
import types
from pathlib import Path

import pytest

from tests.support.confined import skip_where_forbidden
from tests.support.run import PROGRAMS, run

SCRIPTS = Path(__file__).parent.parent / "scripts"
CI = SCRIPTS.parent / ".ci" / "run"
SHELL = ("check", "debian", "demo", "test", "venv")


@pytest.mark.parametrize("script", [*(SCRIPTS / name for name in SHELL), CI], ids=lambda path: path.name)
def test_shell_script_can_be_run(script):
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/bin/sh\n# ")
    run("sh", "-n", script)


def test_ratios_of_a_start():
    ran = run(sys.executable, SCRIPTS / "bench-startup", "--quick")
    assert re.search(r"^pass +\d+\.\d\d +\d+\.\d\d ", ran.out, re.M), ran
    assert re.search(r"^import socket +\d+\.\d\d +\d+\.\d\d ", ran.out, re.M), ran


def test_lines_of_a_log_are_whole():
    ran = run(sys.executable, SCRIPTS / "bench-log", "--quick")
    assert re.search(r"^a line of a connection .* \d+\.\d µs of CPU", ran.out, re.M), ran
    assert ran.out.endswith(" 0 that are none, 0 missing\n"), ran


def test_ratios_of_a_tunnel():
    ran = run(sys.executable, SCRIPTS / "bench-tunnel", "--quick")
    assert len(re.findall(r"^  by hand +1\.00 +1\.00 ", ran.out, re.M)) == 2, ran
    assert len(re.findall(r"^  pysocksify +\d+\.\d\d +\d+\.\d\d ", ran.out, re.M)) == 2, ran


def test_ratios_of_a_connect():
    ran = run(sys.executable, SCRIPTS / "bench-connect", "--quick", "--json")
    rows = json.loads(ran.out)["rows"]
    assert list(rows) == ["blocking", "asyncio", "many", "name", "chain"]
    for row in rows.values():
        assert {"pysocksify", row["base"]} <= set(row["figures"])
        assert all(each["cpu"] > 0 and each["peak"] > 0 for each in row["figures"].values())
    assert rows["many"]["figures"]["pysocksify"]["late"] > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="measures two users, for which it needs root")
def test_ratios_of_a_child():
    ran = run(sys.executable, SCRIPTS / "bench-children", "--quick", status=None)
    if ran.status:
        skip_where_forbidden(ran.err)
    for name, count in (("subprocess", 2), ("os.posix_spawn", 2), ("preexec_fn=", 2), ("user=", 1)):
        assert len(re.findall(rf"^  {name} +(\d+\.\d\d +){{2}}-?\d+\.\d\d ", ran.out, re.M)) == count, ran


def test_one_script_runs_all_benchmarks():
    text = (SCRIPTS / "bench").read_text()
    named = set(re.findall(r'"(bench-\w+)": (?:True|False)', text))
    assert named == {path.name for path in SCRIPTS.glob("bench-*")}
    assert os.access(SCRIPTS / "bench", os.X_OK)


def test_the_picture_has_every_ratio(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    plot = importlib.import_module("bench_plot")
    cpu = {"by hand": {"cpu": 2.0}, "pysocksify": {"cpu": 3.0}, "PySocks": {"cpu": 5.0}}
    start = {"bare": {"cpu": 10.0}, "within": {"cpu": 11.0}, "launched": {"cpu": 24.0}}
    found = {
        "machine": {"processor": "CPU", "cores": 2, "kernel": "6.1.0-x", "python": "3.11", "commit": "abc"},
        "bench-startup": {"milliseconds": {"pass": start}},
        "bench-connect": {"rows": {"blocking": {"title": "blocking", "base": "by hand", "figures": cpu}}},
    }
    plot.draw(found, str(tmp_path / "figures.svg"))
    drawn = (tmp_path / "figures.svg").read_text()
    for text in "1.10 in its target", "2.40 pysocksify", "1.50 pysocksify", "2.50 PySocks", "start: pass":
        assert text in drawn
    plot.draw(found, str(tmp_path / "again.svg"))
    assert (tmp_path / "again.svg").read_text() == drawn


def test_ratios_of_datagrams():
    ran = run(sys.executable, SCRIPTS / "bench-udp", "--quick")
    assert len(re.findall(r"^  direct +1\.00 +1\.00 ", ran.out, re.M)) == 8, ran
    for name in "by hand", "pysocksify", "PySocks":
        assert len(re.findall(rf"^  {name} +\d+\.\d\d +\d+\.\d\d ", ran.out, re.M)) == 8, ran


@pytest.mark.skipif(
    os.geteuid() != 0 or not os.path.exists("/dev/net/tun"), reason="needs root and /dev/net/tun"
)
def test_round_trips_of_a_connect():
    ran = run(sys.executable, SCRIPTS / "bench-latency", "--quick")
    # No figure is judged here: a busy machine adds to one, and to the round trip that it is divided by.
    assert len(re.findall(r"^ours.* +\d+\.\d\d +\d+\.\d\d +\d+\.\d\d$", ran.out, re.M)) == 4, ran
    assert re.search(r"^PySocks +\d+\.\d\d +\d+\.\d\d +-$", ran.out, re.M), ran


def test_demo_shows_both_ends_and_leaves_nothing_behind(demo_environment, tmp_path):
    ran = run(SCRIPTS / "demo", env=demo_environment)
    assert ran.out.count("the program got: Hello from the web page\n") == 4, ran
    assert len(re.findall(r"the proxy saw: .* SOCKS5 CONNECT 127\.0\.0\.1:\d+: connected\n", ran.out)) == 2
    assert ran.out.endswith("All four went through a proxy.\n")
    assert list(tmp_path.iterdir()) == []
    # A process of it has this folder in its environment. The embedded server notices the end of its program
    # by itself.
    patience = time.monotonic() + 10
    while (left := processes_with(f"TMPDIR={tmp_path}")) and time.monotonic() < patience:
        time.sleep(0.05)
    assert left == []


def processes_with(variable: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if variable.encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text())
        except OSError:
            # Somebody else's, or gone.
            continue
    return found


@pytest.fixture
def demo_environment(tmp_path):
    if not (SCRIPTS.parent / ".venv" / "bin" / "pysocksify").exists():
        pytest.skip("no .venv: the demo would download things to make a venv of its own")
    return {"TMPDIR": str(tmp_path)}


def test_interpreter_that_is_too_old_is_an_error(tmp_path):
    bin_directory = tools(tmp_path, python3="exit 1")
    ran = run(SCRIPTS / "venv", tmp_path / "new", env={"PATH": str(bin_directory)}, status=1)
    assert ran.err == (
        "scripts/venv: error: no CPython 3.11 or later: "
        + "tried python3, python3.11, python3.12 and python3.13\n"
    )
    assert not (tmp_path / "new").exists()


def test_missing_venv_module_is_an_error_for_users(tmp_path):
    # It can do everything, except `import ensurepip`.
    python = 'case "$2" in *ensurepip*) exit 1;; *print*) echo python3.11-venv;; esac'
    bin_directory = tools(tmp_path, python3=python, id="echo 1000")
    ran = run(SCRIPTS / "venv", tmp_path / "new", env={"PATH": str(bin_directory)}, status=1)
    assert ran.err == (
        "scripts/venv: error: python3 cannot make a venv; on Debian: apt-get install python3.11-venv\n"
    )


def test_missing_programs_are_named(tmp_path):
    # Nobody's root here, so that nothing is installed.
    bin_directory = tools(tmp_path, id="echo 1000")
    script = (SCRIPTS / "debian").read_text().replace("PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin\n", "")
    ran = run(bin_directory / "sh", "-c", script, env={"PATH": str(bin_directory)})
    assert ran.out.startswith(
        "not installed: dante-server dante-client microsocks openssh-server openssh-client tinyproxy curl "
    )
    assert ran.out.endswith("; the tests that need them will be skipped\n")


def tools(directory: Path, **scripts: str) -> Path:
    """A directory for PATH with the few programs that every system has, and ``scripts``."""
    path = directory / "bin"
    path.mkdir()
    for name in ("sh", "dirname", "cksum", "cat", "id"):
        if name not in scripts:
            (path / name).symlink_to(shutil.which(name) or name)
    for name, script in scripts.items():
        (path / name).write_text(f"#!/bin/sh\n{script}\n")
        (path / name).chmod(0o755)
    return path


SUITES = SCRIPTS / "cpython-suites"


@pytest.mark.skipif(
    importlib.util.find_spec("test.test_epoll") is None, reason="this interpreter has no package `test`"
)
def test_cpythons_own_tests_lose_what_is_accepted_alone():
    ran = run(sys.executable, SUITES, "--python", sys.executable, "test_epoll")
    assert re.search(r"^test_epoll: \d+ pass; under pysocksify \d+, \d+ lost$", ran.out, re.M), ran


@pytest.fixture
def compare_suites(tmp_path):
    """Compare tests of our own, one of which fails under pysocksify, one hangs there, and one ends it."""
    package = tmp_path / "test"
    (package / "test_many").mkdir(parents=True)
    for empty in ("__init__.py", "support.py", "test_socket.py", "test_many/__init__.py"):
        (package / empty).write_text("")
    for module in ("test_mine.py", "test_many/test_one.py"):
        (package / module).write_text((PROGRAMS / "suite.py").read_text())
    accepted = tmp_path / "accepted"
    accepted.write_text("# some\ntest.test_m*.Mine.test_d* = it dies\n")

    def compare(*words):
        return run(
            *(sys.executable, SUITES, "--python", sys.executable, "--accepted", accepted, *words),
            env={"PYTHONPATH": str(tmp_path)},
            status=1,
        )

    return compare


def test_cpythons_tests_are_compared_one_by_one(compare_suites):
    ran = compare_suites("--seconds", "3", "-v", "test_mine", "test_many", "test_absent")
    for module in ("test_mine", "test_many.test_one"):
        told = re.findall(rf"^  (.*): test\.{module}\.Mine\.(\w+): ", ran.out, re.M)
        assert f"{module}: 4 pass; under pysocksify 1, 3 lost" in ran.out, ran
        assert told == [("accepted, hung", "test_dies"), ("failure", "test_fails"), ("hung", "test_hangs")]
    lines = [line for line in ran.out.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[1] for line in lines[1:]] == ["1 of 4, 3 lost |", "1 of 4, 3 lost |", "– |"]


def test_a_comparison_goes_on_where_it_was_stopped(compare_suites, tmp_path):
    results = tmp_path / "results"
    first = compare_suites("--results", results, "--minutes", "0.1", "test_mine")
    assert "test_mine: 4 pass; under pysocksify 0, 2 lost; stopped before its end, 2 not reached" in first.out
    assert re.search(r"^\| test_mine \| 0 of 4, 2 lost, stopped \|$", first.out, re.M)
    noted = results.read_text().splitlines()
    assert not any("test_hangs" in line and "ours" in line for line in noted)
    second = compare_suites("--results", results, "--seconds", "3", "test_mine")
    assert "test_mine: 4 pass; under pysocksify 1, 3 lost\n" in second.out
    # What was there has not been run again.
    assert results.read_text().splitlines()[: len(noted)] == noted
    assert results.read_text().count('test_mine plain", "test.test_mine.Mine.test_passes"') == 1


def test_the_document_has_what_is_accepted():
    page = (SCRIPTS.parent / "docs" / "test-coverage.md").read_text()
    lines = (SCRIPTS / "cpython-suites.accepted").read_text().splitlines()
    accepted = [line.split(" = ", 1) for line in lines if line and not line.startswith("#")]
    rows = [f"| `{pattern.removeprefix('test.')}` | {reason} |" for pattern, reason in accepted]
    assert re.findall(r"^\| `.*_.*\..*` \| .* \|$", page.split("CPython's own suites")[1], re.M) == rows
    assert 0 < len(accepted) < 25


def test_an_accepted_difference_has_a_reason(tmp_path):
    (tmp_path / "accepted").write_text("test.test_epoll.*\n")
    ran = run(sys.executable, SUITES, "--accepted", tmp_path / "accepted", status=1)
    assert "no reason for test.test_epoll.*" in ran.err
    assert run(sys.executable, SUITES, "--python", "no-such-python", status=2).out == ""


# What the other end may say: methods and replies of SOCKS5, a request, SOCKS4, HTTP, a datagram, DNS, GSSAPI.
SAID = (
    *(b"", b"\x00", b"\x00\x05\x00" + b"\x05\x00\x00\x01" + bytes(6) + b"more", b"\x01\x05\x02\x01\x00"),
    *(b"\x00\x05\x01\x00" + b"\x05\x01\x00\x03\x01a\x00\x50", b"\x00\x04\x01\x00\x50\x7f\x00\x00\x01\x00"),
    *(b"\x00\x5a" + bytes(6), b"HTTP/1.1 200 OK\r\n\r\n", b"\x00\x00\x00\x01" + bytes(6) + b"data"),
    *(b"\x00\x00\x00\x0c" + bytes(12), b"\x00\x01\x01\x00\x01t", b"socks5://user@host:1080"),
)


def test_what_is_fuzzed_can_be_called(monkeypatch):
    """Without the fuzzer, which not every machine has: a target that is broken would find nothing."""
    atheris = types.ModuleType("atheris")
    atheris.instrument_imports = lambda **kw: contextlib.nullcontext()
    monkeypatch.setitem(sys.modules, "atheris", atheris)
    monkeypatch.setattr(sys, "path", [*sys.path])
    loader = importlib.machinery.SourceFileLoader("fuzz", str(SCRIPTS / "fuzz"))
    fuzz = importlib.util.module_from_spec(importlib.util.spec_from_loader("fuzz", loader))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader.exec_module(fuzz)
    for target in fuzz.TARGETS.values():
        for data in SAID:
            target(data)


def test_what_scripts_import_of_this_repository_is_there():
    """Some of it only where it is used, far from a start that would fail."""
    missing = []
    for path in SCRIPTS.iterdir():
        if not path.is_file() or not path.read_text().startswith("#!/usr/bin/env python3"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            if module and module.partition(".")[0] in ("pywrap", "tests"):
                if importlib.util.find_spec(module) is None:
                    missing.append((path.name, module))
    assert missing == []
