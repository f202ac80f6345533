"""A program that tries a name by both families has one tunnel, whatever comes of it."""

from __future__ import annotations

import contextlib
import errno
import json
import select
import socket
import subprocess
import threading

import pytest

from tests.support.child import source_of
from tests.support.run import environment, pysocksify

PATIENCE = 30
OK, REFUSED = 0, 5


class Holding:
    """A SOCKS server that answers no request before it is told to, and then echoes."""

    def __init__(self, code: int) -> None:
        self.names: list[str] = []
        self.go = threading.Event()
        self._code = code
        self.listener = socket.create_server(("127.0.0.1", 0))

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            client.recv(3, socket.MSG_WAITALL)
            client.sendall(b"\5\0")
            size = client.recv(5, socket.MSG_WAITALL)[4]
            self.names.append(client.recv(size + 2, socket.MSG_WAITALL)[:size].decode())
            assert self.go.wait(PATIENCE)
            client.sendall(bytes([5, self._code, 0, 1]) + bytes(6))
            while data := client.recv(1000):
                client.sendall(data)


@contextlib.contextmanager
def holding(code):
    proxy = Holding(code)
    thread = threading.Thread(target=proxy.serve)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.listener.shutdown(socket.SHUT_RDWR)
        proxy.listener.close()
        thread.join()


# ---------------------------------------------------------------- what runs inside


def start(number):
    """A socket that is connecting to the address ``number`` of the name: IPv4, IPv6."""
    found = socket.getaddrinfo("host.test", 80, type=socket.SOCK_STREAM)
    families = [family for family, *_ in found]
    assert families == [socket.AF_INET, socket.AF_INET6], found
    sock = socket.socket(families[number])
    sock.setblocking(False)
    assert sock.connect_ex(found[number][4]) == errno.EINPROGRESS
    return sock


def seen():
    """Let the proxy answer. The broker has read each SYN, since it answers a question that came later."""
    socket.getaddrinfo("other.test", 80)
    print(json.dumps("go"), flush=True)


def ended(sock):
    sock.settimeout(30)
    assert select.select([], [sock], [], 30)[1]
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def echo(sock):
    sock.sendall(b"hello")
    return sock.recv(5).decode()


NAMES = {"start": start, "seen": seen, "ended": ended, "echo": echo, "json": json}


def play(proxy, code):
    """Run ``code``, one line, inside; let the proxy answer once it says so; its result."""
    command = (
        *pysocksify("--confine", "on", "-x", f"socks5h://127.0.0.1:{proxy.listener.getsockname()[1]}"),
    )
    words = (*command, "python3", "-I", "-c", source_of(code, names=NAMES))
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert json.loads(process.stdout.readline()) == "go"
        proxy.go.set()
        return json.loads(process.stdout.readline())


@pytest.fixture(autouse=True)
def possible(cannot_confine):
    if cannot_confine:
        pytest.skip(cannot_confine)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0)])
def test_a_race_has_one_tunnel(first, second):
    with holding(OK) as proxy:
        code = f"a, b = start({first}), start({second}); seen(); print(json.dumps([ended(a), echo(a)]))"
        assert play(proxy, code) == [0, "hello"]
    assert proxy.names == ["host.test"]


def test_a_race_whose_first_was_left_goes_on_with_its_tunnel():
    # Node, after 250 ms.
    with holding(OK) as proxy:
        code = "a = start(0); b = start(1); a.close(); seen(); print(json.dumps([ended(b), echo(b)]))"
        assert play(proxy, code) == [0, "hello"]
    assert proxy.names == ["host.test"]


def test_one_that_wants_both_gets_both():
    with holding(OK) as proxy:
        code = "a, b = start(0), start(1); seen(); print(json.dumps([ended(a), ended(b), echo(a), echo(b)]))"
        assert play(proxy, code) == [0, 0, "hello", "hello"]
    assert proxy.names == ["host.test"] * 2


def test_two_of_each_family_are_two_tunnels():
    with holding(REFUSED) as proxy:
        code = (
            "every = [start(n) for n in (0, 0, 1, 1)]; seen(); print(json.dumps([ended(s) for s in every]))"
        )
        assert play(proxy, code) == [errno.ECONNREFUSED] * 4
    assert proxy.names == ["host.test"] * 2


def test_the_second_address_fails_as_the_first_one_and_a_new_attempt_is_one():
    with holding(REFUSED) as proxy:
        code = "seen(); print(json.dumps([ended(start(n)) for n in (0, 1, 0, 1)]))"
        assert play(proxy, code) == [errno.ECONNREFUSED] * 4
    assert proxy.names == ["host.test"] * 2
