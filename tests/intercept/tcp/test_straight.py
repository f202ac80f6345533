"""The straight road ends where the general one does, whatever a proxy answers, and however it is cut."""

from __future__ import annotations

import errno
import select
import socket
import sys
import threading

import pytest

from tests.support.child import kernel, source_of
from tests.support.inside import PATIENCE, outcome, say
from tests.support.run import pysocksify, run
from tests.support.servers import reference_server

HELLO = b"\x05\x00"
V4 = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"
# What a proxy answers to a greeting and a request, and what becomes of connect().
ANSWERS = {
    "as most do": ((HELLO, V4), None),
    "an IPv6 address": ((HELLO, b"\x05\x00\x00\x04" + bytes(18)), None),
    "a name": ((HELLO, b"\x05\x00\x00\x03\x04host\x00\x50"), None),
    "a reserved byte that is not 0": ((HELLO, b"\x05\x00\x07\x01" + bytes(6)), None),
    "a refusal that is cut": ((HELLO, b"\x05\x05"), "ECONNREFUSED"),
    "a whole refusal": ((HELLO, b"\x05\x04\x00\x01" + bytes(6)), "EHOSTUNREACH"),
    "no method": ((b"\x05\xff",), "EACCES"),
    "not SOCKS": ((b"HTTP/1.0 400 Bad Request\r\n\r\n",), "EPROTO"),
    "nothing": ((), "ECONNRESET"),
    "half a method": ((b"\x05",), "ECONNRESET"),
    "half a reply": ((HELLO, V4[:7]), "ECONNRESET"),
}


class Proxy:
    """Gives ``answers`` to each client, byte by byte if they are ``cut``, and then echoes or hangs up."""

    def __init__(self, answers, cut, echoes):
        self._answers, self._cut, self._echoes = answers, cut, echoes
        self._listener = socket.create_server(("127.0.0.1", 0))

    def __enter__(self):
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return f"socks5h://127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                client.settimeout(PATIENCE)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                try:
                    self._talk(client)
                except OSError:
                    # The program has given up.
                    continue

    def _talk(self, client):
        for answer in self._answers:
            client.recv(100)
            # What follows the reply is the program's.
            size = 1 if self._cut else len(answer)
            for at in range(0, len(answer), size):
                client.sendall(answer[at : at + size])
        while self._echoes and (data := client.recv(100)):
            client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        while client.recv(100):
            pass


def connections():
    """What becomes of a connection of each kind, and the text of an error."""
    import asyncio

    async def in_asyncio():
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, there)
        return sock

    def nonblocking():
        sock = socket.socket()
        sock.setblocking(False)
        assert sock.connect_ex(there) == errno.EINPROGRESS
        assert select.select([], [sock], [], PATIENCE)[1]
        if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, "SO_ERROR")
        return sock

    def blocking():
        sock = socket.socket()
        try:
            sock.connect(there)
        except OSError:
            assert outcome(sock.getpeername)[1] == "ENOTCONN" and sock.gettimeout() is None
            raise
        return sock

    def told(connect):
        try:
            sock = connect()
        except OSError as err:
            return [errno.errorcode[err.errno], str(err)]
        with sock:
            sock.settimeout(PATIENCE)
            sock.sendall(b"hello")
            return [sock.recv(5, socket.MSG_WAITALL).decode(), sock.getpeername()]

    there = ("192.0.2.1", 80)
    say(
        blocking=told(blocking),
        timeout=told(lambda: socket.create_connection(there, PATIENCE)),
        asyncio=told(lambda: asyncio.run(in_asyncio())),
        nonblocking=told(nonblocking),
    )


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize(("answers", "error"), ANSWERS.values(), ids=ANSWERS)
def test_it_ends_as_the_general_road_does(answers, error, cut, tmp_path):
    with Proxy(answers, cut, echoes=error is None) as proxy:
        straight = kernel(proxy, connections)
        # With a log, there is no straight road.
        general = kernel(proxy, connections, options=("--log", str(tmp_path / "log")))
    assert straight == general
    if error is None:
        assert [said[0] for said in straight.values()] == ["hello"] * 4
    else:
        assert [said[0] for said in straight.values()] == [error] * 4


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize(("answers", "error"), ANSWERS.values(), ids=ANSWERS)
def test_that_of_a_confined_program_ends_as_the_general_road_does(
    answers, error, cut, tmp_path, cannot_confine
):
    if cannot_confine:
        pytest.skip(cannot_confine)
    program = (sys.executable, "-I", "-c", source_of(connections))
    with Proxy(answers, cut, echoes=error is None) as proxy:
        straight = run(*pysocksify("-x", proxy, "--confine", "on"), *program).json
        # With a log, there is no straight road.
        log = ("--log", tmp_path / "log")
        general = run(*pysocksify("-x", proxy, "--confine", "on", *log), *program).json
    assert straight == general
    assert all((said[0] == "hello") == (error is None) for said in straight.values())


def test_a_proxy_that_answers_nothing_is_a_timeout_and_the_socket_may_try_again(hanging):
    def program():
        sock = socket.socket()
        seen = [outcome(sock.connect, ("192.0.2.1", 80)) for _ in range(2)]
        say(seen=seen, timeout=sock.gettimeout(), peer=outcome(sock.getpeername)[1])

    said = kernel(hanging, program, options=("--timeout", "0.2"))
    assert [each[:2] for each in said["seen"]] == [["TimeoutError", "ETIMEDOUT"]] * 2
    assert said["timeout"] is None
    assert said["peer"] == "ENOTCONN"


def test_a_proxy_that_is_not_there_is_named(refusing_port):
    said = kernel(f"socks5h://127.0.0.1:{refusing_port}", connections)
    assert {each[0] for each in said.values()} == {"ECONNREFUSED"}
    assert f"127.0.0.1:{refusing_port}" in said["blocking"][1]


@pytest.mark.parametrize("timeout", [None, 20])
def test_a_socket_that_is_connected_stays_so(timeout, echo_server):
    def program():
        timeout = float(sys.argv[1]) or None
        with socket.create_server(("127.0.0.1", 0)) as listener:
            direct = socket.create_connection(listener.getsockname(), timeout)
            pending = socket.socket()
            pending.setblocking(False)
            pending.connect_ex(listener.getsockname())
            pending.settimeout(timeout)
            seen = [outcome(sock.connect, ("192.0.2.1", 80))[1] for sock in (direct, pending, listener)]
            peers = [sock.getpeername() == listener.getsockname() for sock in (direct, pending)]
            say(seen=seen, peers=peers, modes=[sock.gettimeout() for sock in (direct, pending)])

    with reference_server() as proxy:
        options = ("--loopback", "direct")
        said = kernel(proxy.url(), program, timeout or 0, options=options)
        assert proxy.asked == []
    assert said == {"seen": ["EISCONN"] * 3, "peers": [True, True], "modes": [timeout, timeout]}
