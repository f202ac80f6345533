"""The program: what it prints, and how it stops."""

import fcntl
import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from tests.support.authority import Authority
from tests.support.child import source_of
from tests.support.pysocksd import PYSOCKSD, failure, request, told
from tests.support.raw_sockets import receive


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_cleanly(program, target, number):
    pysocksd = program("-l", "127.0.0.1:0")
    sock = request(target, pysocksd.listening())
    status, rest = pysocksd.stop(number)
    assert status == 0
    assert len(rest) == 1
    with pytest.raises(ConnectionResetError):
        sock.recv(1)
    sock.close()


def test_a_line_for_each_request(program, target, refusing_port):
    pysocksd = program("--listen", "127.0.0.1:0")
    address = pysocksd.listening()
    sock = request(target, address)
    host, port = sock.getsockname()
    assert pysocksd.line() == f"pysocksd: {host}:{port} SOCKS5 CONNECT 127.0.0.1:{target.port}: connected"
    sock.close()
    with socket.create_connection(address) as sock:
        host, port = sock.getsockname()
        sock.sendall(b"\x04\x01" + refusing_port.to_bytes(2, "big") + b"\x7f\0\0\1" + b"bob\0")
        assert pysocksd.line() == (
            f"pysocksd: {host}:{port} bob SOCKS4 CONNECT 127.0.0.1:{refusing_port}: connection refused"
        )
    assert pysocksd.stop() == (0, [])


def test_verbose_counts_the_bytes(program, target):
    pysocksd = program("-v", "-l", "127.0.0.1:0")
    sock = request(target, pysocksd.listening())
    peer = target.accept()
    pysocksd.line()
    sock.sendall(b"12345")
    sock.shutdown(socket.SHUT_WR)
    assert receive(peer, 5) == b"12345"
    peer.sendall(b"123")
    peer.close()
    assert re.fullmatch(
        rf"pysocksd: .* SOCKS5 CONNECT 127\.0\.0\.1:{target.port}: "
        r"closed after \d+\.\d s, 5 bytes up, 3 bytes down",
        pysocksd.line(),
    )
    sock.close()


def associate(address):
    sock = socket.create_connection(address, 30)
    sock.sendall(b"\x05\x01\x00" + b"\x05\x03\x00\x01" + b"\0\0\0\0" + b"\0\0")
    return sock, receive(sock, 12)[2:]


def test_datagrams_are_told_of(program):
    pysocksd = program("-v", "--udp-peers=any", "--udp-address", "192.0.2.1", "-l", "127.0.0.1:0")
    sock, reply = associate(pysocksd.listening())
    assert reply[:8] == b"\x05\x00\x00\x01" + b"\xc0\x00\x02\x01"
    with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.settimeout(30)
        peer.bind(("127.0.0.1", 0))
        relay = ("127.0.0.1", int.from_bytes(reply[8:], "big"))
        udp.sendto(b"noise", relay)
        port = peer.getsockname()[1].to_bytes(2, "big")
        udp.sendto(b"\0\0\0\x01" + b"\x7f\0\0\1" + port + b"hello", relay)
        assert peer.recv(100) == b"hello"
    sock.close()
    start = r"pysocksd: .* SOCKS5 UDP ASSOCIATE 0\.0\.0\.0:0: "
    assert re.fullmatch(start + "connected", pysocksd.line())
    assert re.fullmatch(
        start + r"closed after \d+\.\d s, datagrams: 1 up \(5 bytes\), 0 down \(0 bytes\), "
        "dropped: 1 with a broken header",
        pysocksd.line(),
    )


def test_no_udp(program):
    pysocksd = program("--no-udp", "-l", "127.0.0.1:0")
    sock, reply = associate(pysocksd.listening())
    sock.close()
    assert reply[:2] == b"\x05\x07"
    assert pysocksd.line().endswith(" SOCKS5 UDP ASSOCIATE 0.0.0.0:0: command not supported")


def test_lines_for_a_bind(program):
    pysocksd = program("-l", "127.0.0.1:0", "--bind-address", "127.0.0.3")
    with socket.create_connection(pysocksd.listening(), 30) as sock:
        client = "{}:{}".format(*sock.getsockname())
        sock.sendall(b"\x05\x01\x00" + b"\x05\x02\x00\x01" + b"\x7f\x00\x00\x02" + b"\x00\x15")
        where = ("127.0.0.3", int.from_bytes(receive(sock, 12)[-2:], "big"))
        here = "{}:{}".format(*where)
        line = f"pysocksd: {client} SOCKS5 BIND 127.0.0.2:21"
        assert pysocksd.line() == f"{line}: listening on {here}"
        with socket.socket() as stranger:
            stranger.bind(("127.0.0.1", 0))
            # Reset, perhaps before it has returned.
            stranger.connect_ex(where)
            came = "{}:{}".format(*stranger.getsockname())
            assert (
                pysocksd.line()
                == f"pysocksd: {client}: {came} at {here}: sent away, not the peer of this BIND"
            )
        with socket.create_connection(where, 30, ("127.0.0.2", 0)) as peer:
            came = "{}:{}".format(*peer.getsockname())
            assert pysocksd.line() == f"{line}: connected from {came}"
    assert pysocksd.stop() == (0, [])


def test_quiet(program, target):
    pysocksd = program("-q", "-l", "127.0.0.1:0")
    request(target, pysocksd.listening()).close()
    assert pysocksd.stop() == (0, [])


def test_several_listeners(program):
    pysocksd = program("-l", "127.0.0.1:0", "--listen=127.0.0.2:0")
    assert [pysocksd.listening()[0], pysocksd.listening()[0]] == ["127.0.0.1", "127.0.0.2"]


def test_a_password_is_asked_for_and_never_printed(program, target, users):
    pysocksd = program("--users", str(users), "-v", "-l", "127.0.0.1:0")
    address = pysocksd.listening()
    for password, status in (b"secret", 0), (b"geheim", 1):
        with socket.create_connection(address, 30) as sock:
            sock.sendall(b"\x05\x01\x02" + b"\x01\x05alice\x06" + password)
            assert receive(sock, 4) == b"\x05\x02" + bytes([1, status])
            if not status:
                sock.sendall(b"\x05\x01\x00\x01" + target.address)
                receive(sock, 10)
    status, rest = pysocksd.stop()
    assert status == 0
    assert "alice SOCKS5 CONNECT" in rest[0]
    assert "secret" not in "".join(rest)
    assert "geheim" not in "".join(rest)


@pytest.mark.parametrize("more", [(), ("--workers", "2")])
def test_a_warning_where_everyone_is_served(program, users, more):
    pysocksd = program("-l", "0.0.0.0:0", *more)
    assert re.fullmatch(
        r"pysocksd: warning: 0\.0\.0\.0:\d+ serves every client that can reach it: no --users",
        pysocksd.line(),
    )
    pysocksd.listening()
    program("-l", "0.0.0.0:0", "-u", str(users), *more).listening()


def test_clients_with_certificates_are_not_everyone(program, tmp_path):
    authority = Authority(tmp_path)
    options = ("--certificate", str(authority.certificate), "--key", str(authority.key))
    options += ("--client-ca", str(authority.ca))
    program("--listen-tls", "0.0.0.0:0", *options).listening()
    both = program("-l", "0.0.0.0:0", "--listen-tls", "0.0.0.0:0", *options)
    assert "serves every client" in both.line()
    both.listening()
    both.listening()


def test_a_reader_of_its_lines_that_leaves_does_not_stop_it(target):
    read, write = os.pipe()
    with subprocess.Popen([*PYSOCKSD, "-l", "127.0.0.1:0"], stderr=write) as process:
        os.close(write)
        with open(read) as lines:
            host, _, port = lines.readline().split()[-1].rpartition(":")
        request(target, (host, int(port))).close()
        request(target, (host, int(port))).close()
        process.terminate()
    assert process.returncode == 0


def test_a_reader_of_its_lines_that_does_not_read_does_not_stop_it(target):
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    with subprocess.Popen([*PYSOCKSD, "-l", "127.0.0.1:0"], stderr=write) as process:
        os.close(write)
        with open(read, "rb", buffering=0) as lines:
            host, _, port = lines.read(100).decode().split()[-1].rpartition(":")
            for _ in range(100):
                request(target, (host, int(port))).close()
            # What was lost is told as soon as it is read, and the next request is told again.
            text = lines.read(4096).decode() + lines.read(4096).decode()
            request(target, (host, int(port))).close()
            text += lines.read(4096).decode()
        process.terminate()
    assert process.returncode == 0
    assert re.search(r"connected\npysocksd: warning: \d+ lines dropped here, since nothing read them\n", text)
    assert text.endswith("connected\n")


def test_a_stderr_that_is_closed(target):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        address = reserved.getsockname()
    with subprocess.Popen(
        ["sh", "-c", 'exec "$@" 2>&- <&-', "sh", *PYSOCKSD, "-l", "{}:{}".format(*address)]
    ) as process:
        while True:
            try:
                sock = request(target, address)
                break
            except ConnectionRefusedError:
                assert process.poll() is None
        # No line was written into a socket that got the number 2.
        sock.sendall(b"x")
        assert receive(target.accept(), 1) == b"x"
        sock.close()
        process.terminate()
    assert process.returncode == 0


def test_sighup_reads_the_users_again(program, users):
    pysocksd = program("-l", "127.0.0.1:0", "--users", str(users))
    address = pysocksd.listening()

    def login(password):
        with socket.create_connection(address, 30) as sock:
            sock.sendall(b"\x05\x01\x02" + b"\x01\x05alice\x06" + password)
            return receive(sock, 4)[3]

    assert login(b"secret") == 0
    users.write_text("alice:hidden\nbob:x\n")
    pysocksd.process.send_signal(signal.SIGHUP)
    assert told(pysocksd) == "pysocksd: SIGHUP: read again: 0 rules, 2 users"
    assert (login(b"secret"), login(b"hidden")) == (1, 0)
    users.write_text("")
    pysocksd.process.send_signal(signal.SIGHUP)
    assert told(pysocksd) == (
        f"pysocksd: warning: SIGHUP: all stays as it was: {users}: no user in it, so no client could log in"
    )
    assert login(b"hidden") == 0
    assert pysocksd.stop()[0] == 0


def test_sighup_without_users(program):
    pysocksd = program("-l", "127.0.0.1:0")
    pysocksd.listening()
    pysocksd.process.send_signal(signal.SIGHUP)
    assert pysocksd.line() == "pysocksd: SIGHUP: read again: 0 rules, no users"
    assert pysocksd.stop() == (0, [])


def test_a_storm_of_signals(program, target):
    pysocksd = program("-l", "127.0.0.1:0", "-q")
    address = pysocksd.listening()
    for _ in range(30):
        sock = request(target, address)
        for _ in range(10):
            pysocksd.process.send_signal(signal.SIGHUP)
        sock.sendall(b"x")
        assert receive(target.accept(), 1) == b"x"
        sock.close()
    assert pysocksd.stop()[0] == 0


def limited(limit, *args):
    """A command that runs under a resource limit."""
    program = f"import os, resource, sys; resource.setrlimit({limit}); os.execv(sys.executable, sys.argv[1:])"
    return [sys.executable, "-c", source_of(program), *args]


def test_no_thread_can_be_started(target):
    # glibc gives a thread the stack of this limit, and there is no such room: as at a limit of processes,
    # which does not concern root.
    command = limited("resource.RLIMIT_STACK, (1 << 46, -1)", *PYSOCKSD, "-l", "127.0.0.1:0")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        host, _, port = process.stderr.readline().split()[-1].rpartition(":")
        near = request(target, (host, int(port)))
        with socket.create_connection((host, int(port)), 30) as sock:
            sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x03" + b"\x09localhost" + target.port_bytes)
            assert receive(sock, 4) == b"\x05\x00" + b"\x05\x01"
        near.sendall(b"x")
        assert receive(target.accept(), 1) == b"x"
        near.close()
        request(target, (host, int(port))).close()
        process.terminate()
        assert "no thread can be started" in process.stderr.read()
    assert process.returncode == 0


def test_a_limit_of_64_descriptors(target):
    command = limited("resource.RLIMIT_NOFILE, (64, 64)", *PYSOCKSD, "-q", "-l", "127.0.0.1:0")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        host, _, port = process.stderr.readline().split()[-1].rpartition(":")
        socks, answers = [], []
        for _ in range(100):
            sock = socket.create_connection((host, int(port)), 30)
            sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x01" + target.address)
            answers.append(receive(sock, 12)[3])
            socks.append(sock)
        assert set(answers) == {0, 1}
        assert answers.count(0) >= 15
        for _ in range(answers.count(0)):
            target.accept().close()
        for sock in socks:
            sock.close()
        # As soon as the tunnels have ended, there is room again.
        while True:
            with socket.create_connection((host, int(port)), 30) as sock:
                sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x01" + target.address)
                if receive(sock, 12)[3] == 0:
                    break
        process.terminate()
    assert process.returncode == 0


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: open(path, "w").close()])
def test_a_user_file_that_is_none(tmp_path, make):
    path = tmp_path / "users"
    make(path)
    status, stderr = failure("-u", str(path))
    assert status == 1
    assert stderr.startswith("pysocksd: error: ")
    assert str(path) in stderr


def test_an_address_that_is_taken(target):
    assert failure("-l", f"127.0.0.1:{target.port}") == (
        1,
        f"pysocksd: error: cannot listen on 127.0.0.1:{target.port}: Address already in use\n",
    )


def test_a_bad_user_file(tmp_path):
    path = tmp_path / "users.txt"
    path.write_text("alice:secret\nbob\n")
    assert failure("-u", str(path)) == (
        1,
        f"pysocksd: error: {path}:2: no colon between name and password\n"
        "hint: each line is `name:password`, in UTF-8\n",
    )


def test_wrong_usage():
    status, stderr = failure("--lisen", "127.0.0.1:0")
    assert status == 2
    assert stderr.splitlines() == [
        "pysocksd: error: unknown argument: `--lisen`",
        "hint: did you mean `--listen`? `pysocksd -h` lists the options",
    ]


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(option):
    done = subprocess.run([*PYSOCKSD, option], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("A SOCKS server")


def test_version():
    done = subprocess.run([*PYSOCKSD, "--version"], capture_output=True, text=True)
    assert re.fullmatch(r"pysocksd \d+\.\d+\.\d+\S*\n", done.stdout)


def test_it_starts_without_heavy_imports():
    program = "import sys, pywrap.server.__main__; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", source_of(program)], capture_output=True, text=True, check=True
    )
    heavy = {"asyncio", "logging", "typing", "dataclasses", "json", "ssl", "socket", "prometheus_client"}
    assert heavy.isdisjoint(done.stdout.split())
