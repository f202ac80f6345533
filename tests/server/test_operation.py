"""The server as a service: draining, reloading, what systemd hands over and hears, counters, workers."""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from pywrap.server.chosen_options import Options
from pywrap.server.command_line import parse
from tests.support.pysocksd import PYSOCKSD, failure, request, told
from tests.support.raw_sockets import receive

ETC = Path(__file__).parent.parent.parent / "etc"


def line_with(pysocksd, text):
    while text not in (line := pysocksd.line()):
        assert line, f"no line with {text!r}"
    return line


# ---------------------------------------------------------------- draining


def test_sigterm_lets_tunnels_end(program, target):  # noqa: F811
    pysocksd = program("-l", "127.0.0.1:0", "--drain", "30")
    address = pysocksd.listening()
    near = request(target, address)
    far = target.accept()
    with socket.create_connection(address, 30) as waiting:
        waiting.sendall(b"\x05\x01\x00")
        assert receive(waiting, 2) == b"\x05\x00"
        pysocksd.process.send_signal(signal.SIGTERM)
        assert line_with(pysocksd, "SIGTERM") == "pysocksd: SIGTERM: 1 tunnel may end within 30 s"
        # A client without a request has nothing to end.
        assert waiting.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    near.sendall(b"x")
    assert receive(far, 1) == b"x"
    near.close()
    far.close()
    assert pysocksd.process.wait() == 0


@pytest.mark.parametrize("end", ["patience", "SIGTERM", "SIGINT"])
def test_draining_has_a_limit(program, target, end):  # noqa: F811
    pysocksd = program("-l", "127.0.0.1:0", "--drain", "0.05" if end == "patience" else "30")
    near = request(target, pysocksd.listening())
    pysocksd.process.send_signal(signal.SIGTERM)
    if end != "patience":
        line_with(pysocksd, "SIGTERM")
        pysocksd.process.send_signal(signal.Signals[end])
    assert pysocksd.process.wait() == 0
    with pytest.raises(ConnectionResetError):
        near.recv(1)
    near.close()


def test_the_time_for_draining_is_read_again(program, target, tmp_path):  # noqa: F811
    path = tmp_path / "pysocksd.conf"
    path.write_text("listen 127.0.0.1:0\ndrain 30\n")
    pysocksd = program("-f", str(path))
    near = request(target, pysocksd.listening())
    path.write_text("listen 127.0.0.1:0\ndrain 0.05\n")
    pysocksd.process.send_signal(signal.SIGHUP)
    told(pysocksd)
    pysocksd.process.send_signal(signal.SIGTERM)
    assert line_with(pysocksd, "SIGTERM").endswith(" within 0.05 s")
    assert pysocksd.process.wait() == 0
    near.close()


def test_draining_nothing_ends_at_once(program):  # noqa: F811
    pysocksd = program("-l", "127.0.0.1:0", "--drain", "30")
    pysocksd.listening()
    assert pysocksd.stop() == (0, [])


# ---------------------------------------------------------------- SIGHUP, SIGUSR1


def test_sighup_reads_the_file_again_and_no_tunnel_is_lost(program, target, tmp_path):  # noqa: F811
    path = tmp_path / "pysocksd.conf"
    path.write_text("listen 127.0.0.1:0\n")
    pysocksd = program("-f", str(path))
    address = pysocksd.listening()
    near = request(target, address)
    far = target.accept()
    path.write_text(f"listen 127.0.0.1:0\nlisten 127.0.0.2:0\ndeny *:{target.port}\nno-udp\n")
    pysocksd.process.send_signal(signal.SIGHUP)
    assert told(pysocksd) == "pysocksd: warning: SIGHUP: needs a restart: listen, udp"
    assert told(pysocksd) == "pysocksd: SIGHUP: read again: 1 rule, no users"
    with socket.create_connection(address, 30) as sock:
        sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x01" + target.address)
        assert receive(sock, 4)[2:] == b"\x05\x02"
    assert line_with(pysocksd, "not allowed").endswith(f"not allowed: {path}:3: deny *:{target.port}")
    near.sendall(b"x")
    assert receive(far, 1) == b"x"
    path.write_text("denny *\n")
    pysocksd.process.send_signal(signal.SIGHUP)
    assert told(pysocksd) == (
        f"pysocksd: warning: SIGHUP: all stays as it was: {path}:1: unknown option: `denny`"
    )
    near.close()


def test_sigusr1_tells_what_is_connected(program, target):  # noqa: F811
    pysocksd = program("-l", "127.0.0.1:0")
    address = pysocksd.listening()
    near = request(target, address)
    near.sendall(b"12345")
    receive(target.accept(), 5)
    with socket.create_connection(address, 30) as waiting:
        waiting.sendall(b"\x05\x01\x00")
        assert receive(waiting, 2) == b"\x05\x00"
        pysocksd.process.send_signal(signal.SIGUSR1)
        assert line_with(pysocksd, " now") == "pysocksd: 2 connections now"
        lines = sorted(pysocksd.line() for _ in range(2))
        clients = ["{}:{}".format(*sock.getsockname()) for sock in (near, waiting)]
        tunnel = rf"pysocksd:   {clients[0]} SOCKS5 CONNECT 127\.0\.0\.1:{target.port}: \d+ s, 5 bytes"
        assert any(re.fullmatch(tunnel, line) for line in lines)
        assert f"pysocksd:   {clients[1]}: no complete request yet" in lines
    near.close()


# ---------------------------------------------------------------- the log as JSON


def test_a_line_is_an_object(program, target):  # noqa: F811
    pysocksd = program("-l", "127.0.0.1:0", "--log-format", "json", "-v")
    line = json.loads(pysocksd.line())
    assert (line["event"], line["host"]) == ("listening", "127.0.0.1")
    near = request(target, ("127.0.0.1", line["port"]))
    client = "{}:{}".format(*near.getsockname())
    near.close()
    target.accept().close()
    line = json.loads(pysocksd.line())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line.pop("message").endswith(": connected")
    about = {
        "client": client,
        "user": "",
        "version": 5,
        "command": "CONNECT",
        "host": "127.0.0.1",
        "port": target.port,
        "outcome": "succeeded",
        "answer": None,
    }
    assert line == {"event": "request", **about}
    line = json.loads(pysocksd.line())
    assert line.items() >= {"event": "closed", "bytes_up": 0, "bytes_down": 0, **about}.items()


# ---------------------------------------------------------------- --add-user, --explain


def add(path, name, password):
    command = [*PYSOCKSD, "-u", str(path), "--add-user", name]
    done = subprocess.run(command, input=password, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_users_are_added(program, tmp_path):  # noqa: F811
    path = tmp_path / "users"
    assert add(path, "alice", "first\n") == (0, "alice: added; SIGHUP tells a running server\n", "")
    assert add(path, "alice", "secret\n")[1].startswith("alice: changed")
    assert path.read_text().startswith("alice:$scrypt$ln=14,r=8,p=1$")
    pysocksd = program("-l", "127.0.0.1:0", "-u", str(path))
    with socket.create_connection(pysocksd.listening(), 30) as sock:
        sock.sendall(b"\x05\x01\x02" + b"\x01\x05alice\x06secret")
        assert receive(sock, 4) == b"\x05\x02" + b"\x01\x00"
    assert add(path, "a:b", "x")[0] == 1
    assert add(path, "bob", "\n")[2] == "pysocksd: error: a password has 1 to 255 bytes, not 0\n"
    status, stderr = failure("--add-user", "alice")
    assert (status, stderr.splitlines()[0]) == (
        2,
        "pysocksd: error: --add-user needs the file to write to",
    )


@pytest.mark.parametrize(
    "args, words, status",
    [
        (["--deny", "*:25"], "example.org:25: refused: deny *:25", 3),
        (["--deny", "*:25"], "example.org:26: allowed: no rule is against it", 0),
        (["--allow", "user alice", "--deny", "*"], "example.org:26: allowed: allow user alice", 0),
        (["--deny", "127.0.0.0/8"], "127.0.0.1:80: refused: deny 127.0.0.0/8", 3),
        (
            ["-l", "0.0.0.0:1080"],
            "127.0.0.1:80: refused: a private, loopback or link-local address, and clients are anonymous",
            3,
        ),
        (["-l", "0.0.0.0:1080", "--allow", "127.0.0.1:80"], "127.0.0.1:80: allowed: allow 127.0.0.1:80", 0),
        (["--deny", "127.0.0.0/8"], "localhost:80 at 127.0.0.1: refused: deny 127.0.0.0/8", None),
        ([], "0.0.0.0:80: refused: an unspecified address is no destination", 3),
        ([], "[::]:80: refused: an unspecified address is no destination", 3),
        (["-x", "socks5h://127.0.0.1:9"], "0.0.0.0:80: allowed: no rule is against it", 0),
        (["-x", "socks5h://127.0.0.1:9", "--deny", "127.0.0.0/8"], "127.1:80: refused: deny 127.0.0.0/8", 3),
        (["--route", "*:25 block"], "192.0.2.1:25: refused: route *:25 block", 3),
        (["--route", "*:25 block"], "192.0.2.1:26: allowed: no rule is against it", 0),
        (["--route", "*:25 block", "--deny", "*:25"], "192.0.2.1:25: refused: deny *:25", 3),
        (
            ["-x", "socks5h://127.0.0.1:9", "--deny", "127.0.0.0/8"],
            "unknown.test:80: allowed: no rule is against the name, which the last proxy looks up",
            0,
        ),
    ],
)
def test_a_decision_is_explained(args, words, status):
    destination = words.split(" ")[0].removesuffix(":")
    command = [*PYSOCKSD, *args, "--explain", "192.0.2.7", "alice", "connect", destination]
    done = subprocess.run(command, capture_output=True, text=True)
    assert words in done.stdout.splitlines()
    assert done.returncode == status or status is None


@pytest.mark.parametrize(
    "words, message",
    [
        (("nobody", "-", "connect", "x:1"), "not an address: `nobody`"),
        (("::1", "-", "conect", "x:1"), "unknown value of `--explain`: `conect`"),
        (("::1", "-", "connect", "x:y"), "not HOST:PORT: `x:y`"),
        (("::1", "-", "connect", "x:65536"), "not HOST:PORT: `x:65536`"),
        (("::1", "-", "udp", "x"), "not HOST:PORT: `x`"),
        (("::1", "-", "bind", "[::1"), "not HOST:PORT: `[::1`"),
    ],
)
def test_what_cannot_be_explained(words, message):
    status, stderr = failure("--explain", *words)
    assert (status, stderr.splitlines()[0]) == (2, f"pysocksd: error: {message}")


# ---------------------------------------------------------------- systemd


@pytest.fixture
def manager(tmp_path):
    """What systemd listens on for states."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(30)
        yield sock


def start(manager, *args, pass_fds=(), env=()):
    """A server that is started as systemd does: its sockets are from descriptor 3 on, with its own pid."""
    code = (
        "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid());"
        "[os.dup2(int(fd), 3 + n) for n, fd in enumerate(sys.argv[1].split(',')) if fd];"
        "os.execv(sys.executable, sys.argv[2:])"
    )
    fds = ",".join(map(str, pass_fds))
    return subprocess.Popen(
        [sys.executable, "-c", code, fds, *PYSOCKSD, *args],
        env={
            **os.environ,
            "NOTIFY_SOCKET": manager.getsockname(),
            "LISTEN_FDS": str(len(pass_fds)),
            **dict(env),
        },
        pass_fds=[*pass_fds, *range(3, 3 + len(pass_fds))] if pass_fds else (),
        stderr=subprocess.PIPE,
        text=True,
    )


def test_workers_say_where_they_listen_that_systemd_does_for_them(manager):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        high = os.dup(listener.fileno())
        with start(manager, "--workers", "2", pass_fds=[high]) as process:
            os.close(high)
            assert manager.recv(1000).split(b"\n") == [b"READY=1", b"STATUS=2 workers"]
            line = process.stderr.readline()
            assert line == f"pysocksd: listening on 127.0.0.1:{listener.getsockname()[1]}\n"
            process.terminate()
        assert process.returncode == 0


def test_systemd_hands_over_sockets_and_is_told_of_states(manager, target):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        high = os.dup(listener.fileno())
        # Where the child expects it, without being what this process has there.
        with start(manager, pass_fds=[high]) as process:
            os.close(high)
            assert manager.recv(1000).split(b"\n") == [b"READY=1", b"STATUS=1 listener"]
            line = process.stderr.readline()
            assert line == f"pysocksd: listening on 127.0.0.1:{listener.getsockname()[1]}\n"
            request(target, listener.getsockname()).close()
            process.send_signal(signal.SIGHUP)
            reloading, when = manager.recv(1000).split(b"\n")
            assert reloading == b"RELOADING=1"
            assert re.fullmatch(rb"MONOTONIC_USEC=\d+", when)
            assert manager.recv(1000) == b"READY=1"
            process.terminate()
            assert manager.recv(1000) == b"STOPPING=1"
        assert process.returncode == 0
        # It is systemd's: others can still connect to it.
        socket.create_connection(listener.getsockname()).close()


def test_what_is_handed_over_must_listen(manager):
    with socket.socket() as sock:
        high = os.dup(sock.fileno())
        with start(manager, pass_fds=[high]) as process:
            os.close(high)
            assert process.stderr.read() == (
                "pysocksd: error: descriptor 3 of $LISTEN_FDS is no TCP socket that listens\n"
            )
        assert process.returncode == 1


# ---------------------------------------------------------------- counters


def fetch(url):
    # Not through a proxy that the environment names.
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as response:
        return response.read().decode()


def test_counters(program, target, refusing_port):  # noqa: F811
    pytest.importorskip("prometheus_client", reason="the extra `metrics` is not installed")
    pysocksd = program("-l", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--deny", "*:25")
    url = pysocksd.line().rpartition(" ")[2]
    address = pysocksd.listening()
    near = request(target, address)
    for port in (25, refusing_port):
        with socket.create_connection(address, 30) as sock:
            sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x01" + b"\x7f\0\0\1" + port.to_bytes(2, "big"))
            assert receive(sock, 4)[3]
    lines = fetch(url).splitlines()
    for outcome in "succeeded", "denied", "failed":
        assert f'pysocksd_requests_total{{command="CONNECT",outcome="{outcome}"}} 1.0' in lines
    near.close()
    assert pysocksd.stop()[0] == 0


def test_counters_without_the_extra():
    code = (
        "import sys; sys.modules['prometheus_client'] = None; sys.argv = ['pysocksd', '-l', '127.0.0.1:0',"
        "'--metrics', '127.0.0.1:0']; from pywrap.server.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "pysocksd: error: --metrics needs prometheus_client\nhint: `pip install 'pysocksify[metrics]'`\n",
    )


# ---------------------------------------------------------------- workers


def children(process):
    with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
        return {int(pid) for pid in file.read().split()}


def test_workers_share_a_port_and_are_started_again(program, target):  # noqa: F811
    pysocksd = program("-l", "127.0.0.1:0", "--workers", "2")
    address = pysocksd.listening()
    workers = [int(pid) for pid in line_with(pysocksd, "2 workers").rpartition(": ")[2].split(", ")]
    assert set(workers) == children(pysocksd.process)
    while True:
        # The first of them may not be listening yet.
        with contextlib.suppress(ConnectionRefusedError):
            request(target, address).close()
            break
    os.kill(workers[0], signal.SIGKILL)
    assert line_with(pysocksd, "ended") == (
        f"pysocksd: warning: worker {workers[0]} ended with status -9, and is started again"
    )
    while len(children(pysocksd.process)) < 2:
        pass
    for _ in range(20):
        with contextlib.suppress(ConnectionRefusedError):
            request(target, address).close()
    pysocksd.process.send_signal(signal.SIGHUP)
    told(pysocksd)
    assert pysocksd.stop()[0] == 0
    assert not any(os.path.exists(f"/proc/{pid}/task") for pid in workers)


def test_workers_end_when_the_process_that_started_them_is_killed(program):
    pysocksd = program("-l", "127.0.0.1:0", "--workers", "2")
    pysocksd.listening()
    workers = [int(pid) for pid in line_with(pysocksd, "2 workers").rpartition(": ")[2].split(", ")]
    os.kill(workers[0], signal.SIGKILL)
    line_with(pysocksd, "started again")
    # One of the first, and one that was started later.
    while len(living := children(pysocksd.process) - {workers[0]}) < 2:
        pass
    ended = [os.pidfd_open(pid) for pid in living]
    pysocksd.process.kill()
    for fd in ended:
        assert select.select([fd], [], [], 30)[0], "a worker goes on"
        os.close(fd)


def test_workers_that_cannot_serve_are_not_started_again():
    status, stderr = failure("--listen-tls", "127.0.0.1:0", "--workers", "2", "-q")
    assert status == 1
    assert "pysocksd: error: --listen-tls needs a certificate\n" in stderr
    assert "started again" not in stderr


def test_workers_that_cannot_listen(target):
    status, stderr = failure("-l", f"127.0.0.1:{target.port}", "--workers", "2")
    assert (status, stderr) == (
        1,
        f"pysocksd: error: cannot listen on 127.0.0.1:{target.port}: Address already in use\n",
    )


def test_the_units_are_what_systemd_takes(tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd on this machine")
    units = []
    for name in "pysocksd.service", "pysocksd.socket":
        text = (ETC / name).read_text()
        # It looks whether the program is there.
        (tmp_path / name).write_text(text.replace("/usr/bin/pysocksd", sys.executable))
        units.append(str(tmp_path / name))
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_sample_is_read_and_has_every_option(tmp_path):
    text = (ETC / "pysocksd.conf").read_text()
    assert parse(["-f", str(ETC / "pysocksd.conf")]) == Options()
    lines = [line.removeprefix("#") for line in text.splitlines() if not line.startswith("# ")]
    (tmp_path / "conf").write_text("\n".join(lines).replace("allow|deny", "# "))
    parse(["-f", str(tmp_path / "conf")])
