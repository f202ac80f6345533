"""What a confined program has sent before it ended arrives after its end, as the kernel would see to it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading

import pytest

from tests.support.child import source_of
from tests.support.run import environment, pysocksify
from tests.support.servers import Running

PATIENCE = 30
SIZE = 4_000_000


@pytest.fixture(autouse=True)
def possible(cannot_confine: str) -> None:
    if cannot_confine:
        pytest.skip(cannot_confine)


@pytest.fixture
def listener():
    # What is sent waits in the sender: the receiver's kernel takes little.
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(PATIENCE)
        yield listener


def send_and_end(host, port, size, resets):
    """Send so much, and end: at once, or with a RST."""
    import os
    import socket
    import struct

    sock = socket.create_connection((host, port))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
    if resets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.sendall(b"x" * size)
    os._exit(7)


def answer_and_end(port, size):
    """Serve one client, and end."""
    import os
    import socket

    listener = socket.create_server(("127.0.0.1", port))
    print(listener.getsockname()[1], flush=True)
    sock, _ = listener.accept()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)
    sock.sendall(b"x" * size)
    os._exit(7)


def send_a_datagram_and_end(host, port):
    import os
    import socket

    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"last words", (host, port))
    os._exit(7)


def run(server: Running, *program: str, options: tuple[str, ...] = ("--confine", "on")) -> int:
    words = pysocksify(*options, "--loopback", "proxy", "-q", "-x", f"socks5h://127.0.0.1:{server.port}")
    return subprocess.run([*words, *program], env=environment(), timeout=PATIENCE).returncode


def code(function, *arguments) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", source_of(function, *arguments))


def received(listener: socket.socket) -> int:
    """Accept a connection; return how much comes until it ends.

    Raises:
        ConnectionResetError: by a RST.
    """
    sock, _ = listener.accept()
    with sock:
        sock.settimeout(PATIENCE)
        count = 0
        while data := sock.recv(1 << 16):
            count += len(data)
        return count


@pytest.mark.parametrize("size", [5, SIZE])
def test_what_was_sent_arrives_whole_when_the_launcher_has_ended(server, listener, size):
    # Nothing is read before: the launcher does not wait for it.
    assert run(server, *code(send_and_end, *listener.getsockname(), size, False)) == 7
    assert received(listener) == size


def test_of_a_job_in_the_background(server, listener):
    words = code(send_and_end, *listener.getsockname(), SIZE, False)
    assert run(server, "sh", "-c", '"$@" >/dev/null & exit 5', "sh", *words) == 5
    assert received(listener) == SIZE


def spawn(words):
    import subprocess
    import sys

    sys.exit(subprocess.run(words).returncode)


def test_of_a_child_of_a_patched_python(server, listener):
    words = list(code(send_and_end, *listener.getsockname(), SIZE, False))
    program = (sys.executable, "-c", source_of(spawn, ["sh", "-c", 'exec "$@"', "sh", *words]))
    assert run(server, *program, options=("--children", "confine")) == 7
    assert received(listener) == SIZE


def test_a_reset_is_a_reset(server, listener):
    assert run(server, *code(send_and_end, *listener.getsockname(), SIZE, True)) == 7
    with pytest.raises(ConnectionResetError):
        received(listener)


def test_of_a_server_that_is_published(server):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = pysocksify("--confine", "on", "-x", server.url(), "--publish", f"{port}:8000")
    words = (*words, *code(answer_and_end, 8000, SIZE))
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout.readline() == "8000\n"
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            sock.settimeout(PATIENCE)
            sock.connect(("127.0.0.1", port))
            assert process.wait(PATIENCE) == 7
            count = 0
            while data := sock.recv(1 << 16):
                count += len(data)
    assert count == SIZE


def test_a_datagram_arrives_though_its_association_opens_later():
    program_ended = threading.Event()
    got: list[bytes] = []
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay,
    ):
        relay.bind(("127.0.0.1", 0))
        relay.settimeout(PATIENCE)

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(3, socket.MSG_WAITALL)
                sock.sendall(b"\5\0")
                sock.recv(10, socket.MSG_WAITALL)
                assert program_ended.wait(PATIENCE)
                sock.sendall(
                    b"\5\0\0\1" + socket.inet_aton("127.0.0.1") + relay.getsockname()[1].to_bytes(2, "big")
                )
                got.append(relay.recv(1000))

        thread = threading.Thread(target=serve)
        thread.start()
        words = pysocksify("--confine", "on", "-x", f"socks5h://127.0.0.1:{listener.getsockname()[1]}")
        words = (*words, *code(send_a_datagram_and_end, "192.0.2.7", 9))
        assert subprocess.run(words, env=environment(), timeout=PATIENCE).returncode == 7
        program_ended.set()
        thread.join(PATIENCE)
    assert got == [b"\0\0\0\1" + socket.inet_aton("192.0.2.7") + b"\0\x09last words"]
