"""What a server meets in bad hours: no descriptors, one thread, an unread log, ends that die anywhere."""

import ast
import contextlib
import hashlib
import os
import random
import resource
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pywrap.server import threads
from tests.support.pysocksd import PYSOCKSD, Program
from tests.support.raw_sockets import receive, receive_all
from tests.support.run import program as python_program
from tests.support.servers import PATIENCE, reference_server

GREETING, REQUEST = b"\x05\x01\x00", b"\x05\x01\x00\x01"
# From linux/in.h; without it a bind() takes a port for all destinations.
IP_BIND_ADDRESS_NO_PORT = 24
LINGER = b"\1\0\0\0\0\0\0\0"
PACKAGE = Path(__file__).parents[2] / "pywrap"


def descriptors(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def settle(until, what):
    """Wait until ``until()`` is true: for what the server does after its client can tell."""
    end = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < end, what
        os.sched_yield()


# ---------------------------------------------------------------- resources


def test_a_limit_of_64_descriptors(target):
    command = ["sh", "-c", 'ulimit -n 64 && exec "$@"', "sh", *PYSOCKSD, "-q", "-l", "127.0.0.1:0", "-v"]
    pysocksd = Program.__new__(Program)
    pysocksd.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        address = pysocksd.listening()
        before = descriptors(pysocksd.process)
        # Nobody reads the rest.
        for _ in range(2):
            with contextlib.ExitStack() as stack:
                served, refused = 0, 0
                for _ in range(60):
                    sock = stack.enter_context(socket.create_connection(address, PATIENCE))
                    sock.sendall(GREETING + REQUEST + target.address)
                    if receive(sock, 4)[3] == 0:
                        served += 1
                    else:
                        refused += 1
                assert served >= 15 and refused >= 20, (served, refused)
            settle(lambda: descriptors(pysocksd.process) == before, "its descriptors are not given back")
        assert pysocksd.stop()[0] == 0
    finally:
        pysocksd.close()


def test_one_thread_serves_the_names_of_all(target, client, names, monkeypatch):
    real, started = threads.start_new_thread, []

    def start(function, args):
        if started:
            raise RuntimeError("can't start new thread")
        started.append(function)
        return real(function, args)

    monkeypatch.setattr(threads, "start_new_thread", start)
    known = {f"host{number}.test" for number in range(20)}
    for name in known:
        names[name] = ["127.0.0.1"]
    with reference_server() as server:
        socks = [client.connect(server) for _ in known]
        for sock, name in zip(socks, known, strict=True):
            name = name.encode()
            sock.sendall(GREETING + b"\x05\x01\x00\x03" + bytes([len(name)]) + name + target.port_bytes)
        for sock in socks:
            assert receive(sock, 4)[2:] == b"\x05\x00"
        assert len(started) == 1


def test_no_process_reads_its_log(program, target):  # noqa: F811
    pysocksd = program("-l", "127.0.0.1:0")
    address = pysocksd.listening()
    # Some 80 bytes each: far more than a pipe holds.
    for _ in range(2000):
        with socket.create_connection(address, PATIENCE) as sock:
            sock.sendall(GREETING + REQUEST + target.address)
            assert receive(sock, 4)[3] == 0
        target.accept().close()
    pysocksd.process.terminate()
    lines = pysocksd.process.stderr.read().splitlines()
    assert pysocksd.process.wait() == 0
    assert len(lines) < 2000


def test_thousands_of_idle_tunnels(program):  # noqa: F811
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The server needs two descriptors for each.
    count = min(10_000, hard // 2 - 100)
    if count < 1000:
        pytest.skip(f"a process may have {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with socket.create_server(("0.0.0.0", 0), backlog=1024) as listener:
            port = listener.getsockname()[1].to_bytes(2, "big")
            fd = listener.fileno()
            holder = subprocess.Popen([*python_program("hold_connections.py"), str(fd)], pass_fds=[fd])
        pysocksd = program("-q", "-l", "127.0.0.1:0", "-v", "--max-connections", str(2 * count))
        address = pysocksd.listening()
        reader = threading.Thread(target=pysocksd.process.stderr.read)
        reader.start()
        sizes = []
        for _ in range(2):
            with contextlib.ExitStack() as stack:
                socks = []
                for number in range(count):
                    place = f"127.1.{number // 5000 + 1}.1"
                    sock = stack.enter_context(socket.socket())
                    sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
                    sock.bind((place, 0))
                    sock.connect(address)
                    sock.sendall(GREETING + REQUEST + socket.inet_aton(place) + port)
                    assert receive(sock, 12)[3] == 0
                    socks.append(sock)
                # The first of them works, and so does the last.
                for sock in socks[0], socks[-1]:
                    sock.sendall(b"x")
                    assert receive(sock, 1) == b"x"
                sizes.append(memory(pysocksd.process.pid))
            settle(lambda: descriptors(pysocksd.process) < 30, "tunnels that ended are still there")
        # KiB for each, with what the server needs once.
        assert sizes[0] / count < 6
        # What ended was freed, and is used again.
        assert sizes[1] < 1.1 * sizes[0]
        pysocksd.process.terminate()
        reader.join()
    finally:
        holder.kill()
        holder.wait()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def memory(pid):
    """The resident memory of a process, in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


# ---------------------------------------------------------------- ends that die


@pytest.mark.parametrize("reset", [False, True])
def test_a_client_dies_at_every_byte(target, reset):
    message = GREETING + REQUEST + target.address + b"data"
    with reference_server() as server:
        before = len(os.listdir("/proc/self/fd"))
        for cut in range(len(message) + 1):
            with socket.create_connection(server.address, PATIENCE) as sock:
                sock.sendall(message[:cut])
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        # A lingering close gives it up after 2 s.
        settle(lambda: not server.server.connections, "clients that died are still there")
        target.close()
        settle(lambda: len(os.listdir("/proc/self/fd")) < before, "their sockets are still there")


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("step", ["connected", "spoken", "heard", "half-closed", "flooded"])
def test_a_target_dies_at_every_step(server, target, client, step, reset):
    sock = client.connect(server)
    sock.sendall(GREETING + REQUEST + target.address)
    assert receive(sock, 12)[3] == 0
    peer = target.accept()
    if step == "spoken":
        peer.sendall(b"hello")
        assert receive(sock, 5) == b"hello"
    if step == "heard":
        sock.sendall(b"hello")
        assert receive(peer, 5) == b"hello"
    if step == "half-closed":
        sock.shutdown(socket.SHUT_WR)
        assert peer.recv(1) == b""
    if step == "flooded":
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.send(bytes(65536))
        sock.settimeout(PATIENCE)
        assert peer.recv(1, socket.MSG_PEEK)
    if reset:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    peer.close()
    # What it has not read makes its end a RST in any case.
    if reset or step == "flooded":
        with pytest.raises(ConnectionResetError):
            receive_all(sock)
    else:
        assert receive_all(sock) == b""
    sock.close()
    server.wait_for_closed(1)


# ---------------------------------------------------------------- bytes, and time


def test_random_streams_arrive_as_they_are(server, target):
    """Both ways at once, in pieces of any size, each end closing its direction when it likes."""
    dice = random.Random(15)

    def one(seed):
        own = random.Random(seed)
        sock = socket.create_connection(server.address, PATIENCE)
        # Its number tells the tunnels apart.
        sock.sendall(GREETING + REQUEST + target.address + seed.to_bytes(8, "big"))
        receive(sock, 12)
        return sock, [own.randbytes(own.randrange(1, 400_000)) for _ in range(2)]

    def send(end, data, seed):
        own = random.Random(seed)
        at = 0
        while at < len(data):
            size = own.choice((1, 100, 1500, 65536, 200_000))
            end.sendall(data[at : at + size])
            at += size
        end.shutdown(socket.SHUT_WR)

    seeds = [dice.randrange(1 << 60) for _ in range(16)]
    tunnels = {seed: one(seed) for seed in seeds}
    far = {}
    for _ in seeds:
        peer = target.accept()
        far[int.from_bytes(receive(peer, 8), "big")] = peer
    with ThreadPoolExecutor(4 * len(seeds)) as pool:
        jobs = []
        for seed, (sock, (up, down)) in tunnels.items():
            jobs += [pool.submit(send, sock, up, seed), pool.submit(send, far[seed], down, seed + 1)]
            for end, data in (far[seed], up), (sock, down):
                jobs.append(pool.submit(lambda end=end, data=data: digest(receive_all(end)) == digest(data)))
        assert all(job.result(PATIENCE) in (None, True) for job in jobs)
    for sock, _ in tunnels.values():
        sock.close()
    assert sum(up for _, up, _, _ in server.wait_for_closed(len(seeds))) == sum(
        8 + len(up) for _, (up, _) in tunnels.values()
    )


def digest(data):
    return hashlib.sha256(data).digest()


def test_a_step_of_the_clock_moves_no_timer():
    """All that is timed goes by the monotonic clock. The time of day is for the log."""
    used = {}
    for folder in "server", "relay":
        for path in (PACKAGE / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime"):
                    used.setdefault(path.name, set()).update(each.name for each in node.names)
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "time":
                    used.setdefault(path.name, set()).add(node.attr)
    assert used.pop("stderr_log.py") == {"datetime", "time", "UTC"}
    harmless = {"monotonic", "sleep", "clock_gettime_ns", "CLOCK_MONOTONIC"}
    assert "monotonic" in set.union(*used.values()) <= harmless, used
