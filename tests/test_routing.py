"""Rules, named chains and rewrites as a program sees them, and what the proxies were asked for."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.support.child import Program, source_of
from tests.support.inside import echo, outcome, say, start, wait_writable
from tests.support.naming_proxy import naming_proxy
from tests.support.run import pysocksify, run
from tests.support.servers import PATIENCE

HERE = "127.0.0.1"


def under(config: str, code: Program, folder: Path, *args: object) -> Any:
    """What ``code`` says under a configuration file."""
    file = folder / "work.conf"
    file.write_text(dedent(config))
    return run(*pysocksify("-f", file), sys.executable, "-c", source_of(code, *args), *map(str, args)).json


def test_each_destination_goes_to_its_chain(tmp_path, echo_server):
    def program(host, port):
        def through(name):
            sock = socket.create_connection((name, port))
            return echo(sock)

        say(
            names=[through(name) for name in ("a.example", "a.corp", "x.corp", "127.0.0.1")],
            block=outcome(through, "127.0.0.3"),
            none=outcome(through, "127.0.0.2")[:2],
            waiting=wait_writable(start("a.corp", port)),
        )

    with (
        naming_proxy({"a.example": HERE, "x.corp": HERE}) as default,
        naming_proxy({"a.corp": HERE}) as work,
        naming_proxy() as second,
    ):
        said = under(
            f"""\
            loopback proxy
            route x.corp proxy
            route *.corp work
            route tcp 127.0.0.2:1-65535 work
            route 127.0.0.3 block
            [ProxyList]
            socks5 {default.host} {default.port}
            [ProxyList work]
            socks5 {second.host} {second.port}
            socks5 {work.host} {work.port}
            """,
            program,
            tmp_path,
            *(HERE, echo_server.port),
        )
    port = echo_server.port
    assert said["names"] == ["hello"] * 4
    blocked = f"[Errno 1] 127.0.0.3:{port} refused: blocked (`route 127.0.0.3/32 block`)"
    assert said["block"] == ["PermissionError", "EPERM", blocked]
    # As the last proxy of that chain says.
    assert said["none"] == ["OSError", "EHOSTUNREACH"]
    assert said["waiting"] == 0
    asked = [(host, port) for _, host, port in default.asked]
    assert asked == [("a.example", port), ("x.corp", port), (HERE, port)]
    assert [(host, port) for _, host, port in work.asked] == [
        *(("a.corp", port), ("127.0.0.2", port), ("a.corp", port)),
    ]
    assert second.asked == [("CONNECT", work.host, work.port)] * 3


@pytest.mark.parametrize("line, kind", [("loopback proxy", "tunnel"), ("loopback direct", "direct")])
def test_another_destination_in_the_place_of_the_one_asked_for(tmp_path, echo_server, line, kind):
    def program():
        sock = socket.create_connection(("192.0.2.1", 80))
        later = start("192.0.2.1", 80)
        six = socket.socket(socket.AF_INET6)
        six.connect(("::ffff:192.0.2.1", 80))
        say(echoed=[echo(sock), wait_writable(later), echo(six)], peer=sock.getpeername())

    with naming_proxy() as proxy:
        said = under(
            f"""\
            {line}
            dnat 192.0.2.1 192.0.2.2
            dnat 192.0.2.1:80 {HERE}:{echo_server.port}
            [ProxyList]
            socks5 {proxy.host} {proxy.port}
            """,
            program,
            tmp_path,
        )
    assert said["echoed"] == ["hello", 0, "hello"]
    if kind == "tunnel":
        # The program is told what it asked for.
        assert said["peer"] == ["192.0.2.1", 80]
        assert proxy.asked == [("CONNECT", HERE, echo_server.port)] * 3
    else:
        assert said["peer"] == [HERE, echo_server.port]
        assert proxy.asked == []


def test_names_that_are_resolved_here_keep_their_rules(tmp_path, echo_server):
    # localhost is the one name that has an address everywhere.
    def program(host, port):
        def through(host):
            sock = socket.socket()
            sock.connect((host, port))
            return echo(sock)

        found = [
            socket.getaddrinfo("localhost", port, socket.AF_INET)[0][4][0],
            socket.gethostbyname("localhost"),
            socket.gethostbyname_ex("localhost")[2][0],
        ]
        say(named=through("localhost"), found=[through(each) for each in found])

    with naming_proxy() as default, naming_proxy() as work:
        said = under(
            f"""\
            dns local
            loopback proxy
            route localhost work
            [ProxyList]
            socks5 {default.host} {default.port}
            [ProxyList work]
            socks5 {work.host} {work.port}
            """,
            program,
            tmp_path,
            *(HERE, echo_server.port),
        )
    assert (said["named"], said["found"]) == ("hello", ["hello"] * 3)
    # The proxies get addresses, as always with `dns local`.
    assert work.asked == [("CONNECT", HERE, echo_server.port)] * 4
    assert default.asked == []


@contextmanager
def password_taker() -> Iterator[tuple[int, list[tuple[bytes, bytes]]]]:
    """A proxy that takes any username and password and notes them (RFC 1929), then refuses: its port."""
    seen: list[tuple[bytes, bytes]] = []

    def serve(client: socket.socket) -> None:
        with client, client.makefile("rb") as stream:
            client.settimeout(PATIENCE)
            _, count = stream.read(2)
            assert 2 in stream.read(count)
            client.sendall(b"\x05\x02")
            _, length = stream.read(2)
            username = stream.read(length)
            password = stream.read(stream.read(1)[0])
            seen.append((username, password))
            client.sendall(b"\x01\x00")
            # VER CMD RSV ATYP, an IPv4 address and a port.
            stream.read(10)
            client.sendall(b"\x05\x02\x00\x01" + bytes(6))

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            serve(client)

    with socket.create_server((HERE, 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield listener.getsockname()[1], seen
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_isolated_processes_have_usernames_of_their_own(tmp_path):
    def program():
        def refused():
            return outcome(socket.create_connection, ("192.0.2.1", 80))[1]

        first = [refused(), refused()]
        child = os.fork()
        if child == 0:
            refused(), refused()
            os._exit(0)
        os.waitpid(child, 0)
        say(first=first, pids=[os.getpid(), child])

    with password_taker() as (port, seen):
        said = under(
            f"isolate_streams on\n[ProxyList]\nsocks5 {HERE} {port}\n",
            program,
            tmp_path,
        )
    assert said["first"] == ["EACCES", "EACCES"]
    parent, child = seen[0], seen[2]
    assert seen == [parent, parent, child, child]
    assert [name for name, _ in (parent, child)] == [f"pysocksify-{pid}".encode() for pid in said["pids"]]
    assert parent[1] != child[1]


def test_a_password_of_the_users_own_is_not_replaced(tmp_path):
    with password_taker() as (port, seen):
        under(
            f"isolate_streams on\n[ProxyList]\nsocks5 {HERE} {port} me secret\n",
            "say(got=outcome(socket.create_connection, ('192.0.2.1', 80))[1])",
            tmp_path,
        )
    assert seen == [(b"me", b"secret")]
