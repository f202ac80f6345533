"""Installing in a running interpreter, taking it back, and what happens around ``import socket``."""

from __future__ import annotations

import _socket
import select
import selectors
import socket
import sys

import pytest

from pywrap.config.settings import Chain, Proxy, Rewrite, Rule, Settings
from pywrap.config.settings_env import decode
from pywrap.frozen import replace
from tests.support.child import Program, kernel, source_of
from tests.support.inside import echo, say, wait_writable
from tests.support.run import program, pysocksify, run


def script(code: Program, *args: object) -> object:
    """Run ``code`` without the launcher."""
    return run(sys.executable, "-c", source_of(code, *args), *map(str, args)).json


def test_uninstall_leaves_no_trace(proxy, echo_server):
    def program(proxy, host, port):
        modules = [socket, _socket, select, socket.socket, _socket.socket, selectors.EpollSelector, sys]
        before = [dict(vars(module)) for module in modules]
        meta_path = list(sys.meta_path)
        import pywrap

        pywrap.install(proxy, loopback="proxy")
        sock = socket.create_connection((host, port))
        peer = sock.getpeername()
        pywrap.uninstall()
        pywrap.uninstall()
        after = [dict(vars(module)) for module in modules]
        for these in before, after:
            del these[-1]["meta_path"], these[-1]["modules"]
        direct = socket.create_connection((host, port))
        sock.sendall(b"still there")
        say(
            same=before == after,
            meta_path=meta_path == sys.meta_path,
            tunnel=peer == (host, port),
            open=sock.recv(11).decode(),
            direct=direct.getpeername() == (host, port),
        )

    said = script(program, proxy.url(), echo_server.host, echo_server.port)
    assert said == {"same": True, "meta_path": True, "tunnel": True, "open": "still there", "direct": True}
    assert len(proxy.seen) == 1


def test_it_can_be_installed_again_with_other_settings(proxy, echo_server):
    def program():
        import json
        import socket
        import sys

        import pywrap

        results = []
        for loopback in ("deny", "proxy"):
            pywrap.install(sys.argv[1], loopback=loopback)
            try:
                socket.create_connection((sys.argv[2], int(sys.argv[3]))).close()
                results.append("connected")
            except OSError as err:
                results.append(type(err).__name__)
            pywrap.uninstall()
        print(json.dumps(results))

    said = script(
        program,
        proxy.url(),
        echo_server.host,
        echo_server.port,
    )
    assert said == ["PermissionError", "connected"]


def test_installing_twice_is_an_error(proxy):
    def program():
        import json
        import sys

        import pywrap

        pywrap.install(sys.argv[1])
        try:
            pywrap.install(sys.argv[1])
        except RuntimeError as err:
            print(json.dumps(str(err)))

    said = script(
        program,
        proxy.url(),
    )
    assert "installed already" in said


def test_functions_that_were_kept_work_on_after_uninstall(proxy):
    def program():
        import json
        import socket
        import sys

        import pywrap

        pywrap.install(sys.argv[1])
        connect, resolve = socket.socket.connect, socket.gethostbyname
        pywrap.uninstall()
        server = socket.create_server(("127.0.0.1", 0))
        sock = socket.socket()
        connect(sock, server.getsockname())
        print(json.dumps([sock.getpeername() == server.getsockname(), resolve("localhost")]))

    said = script(
        program,
        proxy.url(),
    )
    assert said == [True, "127.0.0.1"]


def test_in_a_running_event_loop(proxy, echo_server):
    def program():
        import asyncio
        import json
        import sys

        async def main():
            import pywrap

            pywrap.install(sys.argv[1], loopback="proxy")

            async def one():
                reader, writer = await asyncio.open_connection(sys.argv[2], int(sys.argv[3]))
                writer.write(b"hello")
                answer = await reader.readexactly(5)
                writer.close()
                await writer.wait_closed()
                return answer.decode()

            return await asyncio.gather(*(one() for _ in range(20)))

        print(json.dumps(asyncio.run(main())))

    said = script(
        program,
        proxy.url(),
        echo_server.host,
        echo_server.port,
    )
    assert said == ["hello"] * 20
    assert len(proxy.seen) == 20


def test_reloading_socket_keeps_it_armed(proxy, echo_server):
    def program(host, port):
        import importlib

        old = socket.socket
        importlib.reload(socket)
        sock = socket.create_connection((host, port))
        loader = type(socket.__spec__.loader).__name__
        say(new=socket.socket is not old, echoed=echo(sock), peer=sock.getpeername(), loader=loader)

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said["new"] and said["echoed"] == "hello"
    assert said["peer"] == [echo_server.host, echo_server.port]
    assert said["loader"] in ("SourceFileLoader", "FrozenImporter")
    assert len(proxy.seen) == 1


@pytest.mark.parametrize("names", [("socket",), ("_socket",), ("socket", "_socket"), ("_socket", "socket")])
def test_modules_that_are_imported_again_are_the_patched_ones(names, interpreter, proxy, echo_server):
    # unittest.mock.patch.dict("sys.modules") takes them out, and what isolates tests from one another.
    def program(host, port):
        import select  # noqa: F401
        import socket

        before = socket.create_connection((host, port))
        for name in sys.argv[3:]:
            del sys.modules[name]
        for name in sys.argv[3:]:
            __import__(name)
        socket = sys.modules["socket"]
        sock = socket.create_connection((host, port))
        late = socket.socket()
        late.setblocking(False)
        late.connect_ex((host, port))
        say(
            echoed=[echo(sock), echo(before)],
            late=[wait_writable(late), echo(late)],
            name=socket.getaddrinfo("svc.test", 80)[0][4][0],
        )

    words = echo_server.host, echo_server.port
    command = pysocksify("-x", proxy.url(), "--loopback", "proxy")
    said = run(*command, interpreter, "-c", source_of(program, *words), *map(str, words), *names).json
    assert said == {"echoed": ["hello", "hello"], "late": [0, "hello"], "name": "198.18.0.1"}
    assert len(proxy.asked) == 3


def test_a_wrapper_around_a_replaced_function_is_kept(proxy, echo_server):
    # Before the first connection, when no implementation has been imported yet.
    def program(host, port):
        calls, inner = [], socket.socket.connect

        def connect(self, address):
            calls.append(address)
            return inner(self, address)

        socket.socket.connect = connect
        sock = socket.create_connection((host, port))
        socket.create_connection((host, port)).close()
        say(calls=len(calls), echoed=echo(sock))

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said == {"calls": 2, "echoed": "hello"}
    assert len(proxy.seen) == 2


def test_the_raw_module_alone_is_covered_as_well(proxy):
    code = "import _socket; _socket.socket().connect(('nowhere.invalid', 80))"
    ran = run(*pysocksify("-x", proxy.url()), sys.executable, "-c", code, status=1)
    assert "host unreachable" in ran.err
    assert proxy.asked == [("CONNECT", "nowhere.invalid", 80)]


def test_the_c_methods_that_a_library_kept_are_refused(proxy):
    def program():
        import json
        import socket
        import sys

        import pywrap

        early, raw = socket.socket.connect, socket.gethostbyname
        pywrap.install(sys.argv[1])
        texts = []
        for attempt in (lambda: early(socket.socket(), ("192.0.2.1", 80)), lambda: raw("example.org")):
            try:
                attempt()
            except PermissionError as err:
                texts.append(str(err))
        print(json.dumps(texts))

    said = script(
        program,
        proxy.url(),
    )
    assert "192.0.2.1:80 would be reached directly, past the proxy" in said[0]
    assert "the local resolver would be asked for example.org" in said[1]
    assert proxy.seen == []


def test_arguments_are_the_options_of_the_command(tmp_path):
    def program():
        import json
        import sys

        import pywrap
        from pywrap import intercept
        from pywrap.config.settings_env import encode

        results = []
        for arguments in (
            dict(
                proxy=["socks5h://a", "http://b"],
                chain_type="random:2",
                route=["* proxy", "udp a block"],
                direct="10.0.0.0/8",
                dnat="192.0.2.1 192.0.2.2:80",
                bind_peer="any",
                pipeline="auto",
                placeholders="11.0.0.0/8",
                fast_open=True,
                isolate_streams=False,
                connect_timeout=1,
                read_timeout=2.5,
                verbosity=-1,
            ),
            dict(config=sys.argv[1], config_format="tsocks", dns="remote"),
        ):
            pywrap.install(**arguments)
            results.append(encode(intercept.current().settings))
            pywrap.uninstall()
        print(json.dumps(results))

    (tmp_path / "t").write_text("server = 192.0.2.7\nlocal = 10.0.0.0/8\n")
    said = script(
        program,
        tmp_path / "t",
    )
    settings = list(map(decode, said))
    # Each installation is a run of its own.
    assert len({each.run for each in settings} - {""}) == 2
    assert [replace(each, run="") for each in settings] == [
        Settings(
            (Chain((Proxy("socks5h", "a"), Proxy("http", "b")), "", "random", 2),),
            (Rule("10.0.0.0/8", to="direct"), Rule(), Rule("", "a", protocol="udp", to="block")),
            (Rewrite("192.0.2.1", 0, "192.0.2.2", 80),),
            placeholders="11.0.0.0/8",
            bind_peer="any",
            pipeline="auto",
            fast_open=True,
            connect_timeout=1.0,
            read_timeout=2.5,
            verbosity=-1,
        ),
        Settings((Chain((Proxy("socks4", "192.0.2.7"),)),), (Rule("10.0.0.0/8", to="direct"),)),
    ]


def test_a_wrong_argument_is_named():
    def program():
        import json

        import pywrap
        from pywrap.errors import ConfigError

        results = []
        for arguments in (
            dict(dns="x"),
            dict(chain_type="x"),
            dict(config_format="x"),
            dict(timeout=0),
            dict(verbosity=3),
            dict(route="* x"),
            dict(direct="*"),
        ):
            try:
                pywrap.install("socks5h://a", **arguments)
            except ConfigError as err:
                results.append(str(err))
        print(json.dumps(results))

    said = script(program)
    assert said == [
        "unknown value of `dns`: `x`",
        "unknown value of `chain_type`: `x`",
        "unknown value of `config_format`: `x`",
        "`timeout` takes a positive number of seconds: `0`",
        "unknown value of `verbosity`: `3`",
        "install(): no chain has this name: `route * x`",
        "no proxy for anything: `*`",
    ]


def test_what_is_replaced_is_a_function_that_a_reader_finds_by_its_name(proxy, echo_server):
    """At the level of a module or a class: no closure, which go-to-definition does not find."""
    ran = run(
        *pysocksify("-x", proxy.url(), "--loopback", "proxy", "--listen", "bind"),
        *program("replaced.py"),
        *(echo_server.host, echo_server.port),
    )
    found = {(name, where) for name, where in ran.json}
    # One for all methods of a datagram socket, each of which it names; and of four of them the straight road.
    closures = {"_yielding.<locals>.yielding"}
    closures |= {f"{name}.<locals>.straight" for name in ("receiving", "sending")}
    assert {where for _, where in found if "<locals>" in where} <= closures
    assert found >= {
        ("socket.connect", "call_method"),
        ("_socket.getaddrinfo", "call_function"),
        ("socket.__init__", "initialize"),
        ("socket._real_close", "close"),
        ("socket._accept", "_accept"),
        ("socket.getpeername", "getpeername"),
        ("socket.setsockopt", "setsockopt"),
        ("socket.sendto", "DatagramSocket.sendto"),
        ("socket.recv", "_refuse"),
        ("socket.__reduce_ex__", "_reduce"),
        ("epoll.register", "Epoll.register"),
        ("reducer", "reduce"),
        ("negotiator", "negotiate_by_name"),
        ("ConnectRequest.dumps", "dumps_with_name"),
        ("socksocket._write_SOCKS5_address", "write_socks5_address"),
        ("_SocketType.__init__", "wrap"),
        ("_SocketType.send", "call_by_name"),
    }
