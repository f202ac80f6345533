"""--watch on real runs of another process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from tests.support.child import source_of
from tests.support.run import environment, program, pysocksify, run
from tests.support.servers import reference_server

WATCH = sys.executable, "-m", "pywrap", "--watch"


# Connects, says so, and waits for the end of stdin.
HOLD = program("hold_connection.py")


@pytest.fixture
def proxy():
    with reference_server() as running:
        yield running


@contextlib.contextmanager
def running(*words):
    """A run that has printed its first line: the process, and that line."""
    process = subprocess.Popen(
        [str(word) for word in words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    try:
        yield process, process.stdout.readline()
    finally:
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()


def watched(pid, status):
    return json.loads(run(*WATCH, "--json", pid, status=status).out)


def test_a_patched_program_goes_to_its_hop_and_is_no_alarm(proxy, echo_server):
    words = *pysocksify("-x", proxy.url(), "--loopback", "proxy", "--confine", "off"), *HOLD
    with running(*words, echo_server.host, echo_server.port) as (process, said):
        assert said == "up\n"
        seen = watched(process.pid, 0)
    (only,) = seen["processes"]
    assert (only["pid"], only["states"]) == (process.pid, ["patched"])
    (connection,) = only["connections"]
    assert (connection["goes"], connection["remote"]) == ("hop", f"127.0.0.1:{proxy.port}")
    assert (seen["unprotected"], seen["neither"]) == ([], 0)


def test_settings_with_a_password_are_read_from_their_file_and_shown_without(echo_server):
    with reference_server(users={b"alice": b"s3cret"}) as proxy:
        options = "--loopback", "proxy", "--confine", "off"
        words = *pysocksify("-x", proxy.url("alice", "s3cret"), *options), *HOLD
        with running(*words, echo_server.host, echo_server.port) as (process, _):
            seen = watched(process.pid, 0)
            # Without a number: the latest run, which is this or one of another test.
            latest = json.loads(run(*WATCH, "--json", status=None).out)
    assert seen["processes"][0]["connections"][0]["goes"] == "hop" and "s3cret" not in json.dumps(seen)
    assert latest["run"] >= seen["run"]


def test_children_that_slipped_away_are_marked_each_with_the_reason(proxy, echo_server):
    if shutil.which("ncat") is None:
        pytest.skip("no ncat")
    options = "--loopback", "proxy", "--confine", "off"
    words = *pysocksify("-x", proxy.url(), *options), *program("stray_children.py")
    with running(*words, echo_server.host, echo_server.port) as (process, said):
        clean, silent, ncat = map(int, said.split())
        seen = watched(process.pid, 3)
        text = run(*WATCH, "--json", clean, status=3).out
    processes = {each["pid"]: each for each in seen["processes"]}
    assert processes[process.pid]["states"] == ["patched"]
    assert processes[clean]["why"] == "a Python that was started without the settings of pysocksify"
    assert processes[silent]["why"] == "a Python whose sockets are not patched"
    assert processes[ncat]["why"] == "not a Python, and not confined"
    for pid in (clean, silent, ncat):
        assert processes[pid]["states"] == ["unprotected"] and processes[pid]["parent"] == process.pid
        (connection,) = processes[pid]["connections"]
        assert connection["goes"] == "neither"
        assert connection["remote"] == f"{echo_server.host}:{echo_server.port}"
    assert seen["unprotected"] == sorted((clean, silent, ncat)) and seen["neither"] == 3
    # The child itself names the run as well.
    assert json.loads(text)["run"] == seen["run"]


def test_in_a_confinement_everything_is_protected_and_the_broker_is_seen(proxy, echo_server):
    words = *pysocksify("-x", proxy.url(), "--loopback", "proxy", "--confine", "on"), "sh", "-c"
    arguments = 'exec "$0" -S "$@"', *HOLD, echo_server.host, echo_server.port
    with running(*words, *arguments) as (process, said):
        assert said == "up\n"
        inside = int(run("pgrep", "-P", process.pid).out)
        seen = watched(inside, 0)
    processes = {each["pid"]: each for each in seen["processes"]}
    assert processes[inside]["states"] == ["confined"]
    assert [each["goes"] for each in processes[inside]["connections"]] == ["broker"]
    assert processes[process.pid]["states"] == ["broker"]
    assert "hop" in {each["goes"] for each in processes[process.pid]["connections"]}


def test_what_is_direct_names_its_rule(proxy, echo_server):
    options = "--loopback", "proxy", "--direct", "127.0.0.0/8", "--confine", "off"
    words = *pysocksify("-x", proxy.url(), *options), *HOLD
    with running(*words, echo_server.host, echo_server.port) as (process, _):
        seen = watched(process.pid, 0)
    (connection,) = seen["processes"][0]["connections"]
    assert (connection["goes"], connection["why"]) == ("direct", "route 127.0.0.0/8 direct")


def test_a_server_and_its_clients_are_no_alarm(proxy):
    def program():
        import socket
        import sys

        server = socket.create_server(("127.0.0.1", 0))
        print(server.getsockname()[1], flush=True)
        with server.accept()[0]:
            print("up", flush=True)
            sys.stdin.read()

    words = *pysocksify("-x", proxy.url(), "--loopback", "proxy", "--confine", "off"), sys.executable, "-c"
    with running(*words, source_of(program)) as (process, said):
        import socket

        with socket.create_connection(("127.0.0.1", int(said))):
            assert process.stdout.readline() == "up\n"
            seen = watched(process.pid, 0)
    assert {each["goes"] for each in seen["processes"][0]["connections"]} == {"listens", "accepted"}


def test_watching_ends_with_the_run_and_says_what_was_seen(proxy, echo_server):
    words = *pysocksify("-x", proxy.url(), "--loopback", "proxy", "--confine", "off"), *HOLD
    with running(*words, echo_server.host, echo_server.port) as (process, _):
        watching = subprocess.Popen(
            [*WATCH, str(process.pid)], stdout=subprocess.PIPE, text=True, env=environment()
        )
        first = watching.stdout.readline()
        process.stdin.close()
        out, _ = watching.communicate(timeout=30)
    assert first.startswith("run ") and "1 process" in first
    assert out.splitlines()[-1] == "seen: nothing unprotected" and watching.returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("x",), "`--watch` takes one process: `x`"),
        (("1", "2"), "`--watch` takes one process: `1 2`"),
        (("999999999",), "no process 999999999"),
        (("1",), "process 1 is of no run that can be seen"),
    ],
)
def test_what_cannot_be_watched_is_an_error(words, message):
    ran = run(*WATCH, *words, status=125)
    assert ran.err.splitlines()[0] == f"pysocksify: error: {message}"


# ---------------------------------------------------------------- what is shown
