"""A connected program pays nothing for us: no method, no thread, no descriptor; a start pays little."""

from __future__ import annotations

import json
import os
import sys

import pytest

import pywrap
from pywrap.launch import archives
from tests.support import destinations, strace
from tests.support.child import source_of
from tests.support.datagrams import udp_echo
from tests.support.run import program, pysocksify, run
from tests.support.servers import reference_server

OURS = os.path.dirname(os.path.realpath(pywrap.__file__)) + os.sep


@pytest.fixture
def proxy():
    with reference_server() as running:
        yield running


def through(*proxies):
    words = [word for proxy in proxies for word in ("-x", proxy.url())]
    return pysocksify(*words, "--loopback", "proxy")


# ---------------------------------------------------------------- methods


# Printed by the program after a connection through the proxy.
def methods():
    import _socket
    import json
    import socket
    import ssl
    import sys

    socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20).close()
    # What is in _socket under that name may be patched, the C class cannot be.
    C = socket.socket.__base__
    same = "recv recv_into recvmsg recvmsg_into recvfrom recvfrom_into send sendall shutdown fileno".split()
    print(
        json.dumps(
            {
                "C": {type(getattr(C, name)).__name__ for name in same} == {"method_descriptor"},
                "socket": [name for name in same if getattr(socket.socket, name) is not getattr(C, name)],
                "_socket": [name for name in same if getattr(_socket.socket, name) is not getattr(C, name)],
                "ssl": [
                    name
                    for name in "recv recv_into send sendall read write unwrap do_handshake".split()
                    if vars(ssl.SSLSocket)[name].__code__.co_filename != ssl.__file__
                ],
                "sendfile": socket.socket.sendfile.__code__.co_filename == socket.__file__,
                "bases": socket.socket.__mro__[1:] == (C, object)
                and ssl.SSLSocket.__bases__ == (socket.socket,),
            }
        )
    )


def test_sending_and_receiving_are_the_interpreters_own(interpreter, proxy, echo_server):
    ran = run(*through(proxy), interpreter, "-c", source_of(methods), echo_server.port)
    assert ran.json == {"C": True, "socket": [], "_socket": [], "ssl": [], "sendfile": True, "bases": True}
    assert len(proxy.asked) == 1


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_no_code_of_ours_runs_while_data_goes_to_and_fro(tls, proxy, request):
    server = request.getfixturevalue("https_server" if tls else "http_server")
    ca = [server.ca_pem] if tls else []
    ran = run(*through(proxy), *program("frames.py"), server.host, server.port, *ca)
    assert any(file.endswith("asyncio/streams.py") for file in ran.json["asyncio"])
    assert any(file.endswith("/socket.py") for file in ran.json["blocking"])
    for files in ran.json.values():
        assert [file for file in files if file.startswith(OURS)] == []


# ---------------------------------------------------------------- descriptors and threads


# What the kernel says of the descriptor, of which the program's socket object knows nothing.
def descriptor():
    import asyncio
    import json
    import os
    import socket
    import sys

    host, port = sys.argv[1], int(sys.argv[2])

    def kernel(fd):
        sock = socket.socket.__base__(fileno=os.dup(fd))

        def option(name):
            return sock.getsockopt(socket.SOL_SOCKET, name)

        return {
            "peer": sock.getpeername()[:2],
            "type": option(socket.SO_TYPE) == socket.SOCK_STREAM,
            "protocol": option(38) == socket.IPPROTO_TCP,  # SO_PROTOCOL
            "blocking": os.get_blocking(fd),
            "inheritable": os.get_inheritable(fd),
        }

    async def main():
        _, writer = await asyncio.open_connection(host, port)
        said = kernel(writer.get_extra_info("socket").fileno())
        writer.close()
        await writer.wait_closed()
        return said

    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.connect((host, port))
        blocking = kernel(sock.fileno())
    with socket.create_connection((host, port), timeout=20) as sock:
        timeout = kernel(sock.fileno())
    print(json.dumps({"blocking": blocking, "timeout": timeout, "asyncio": asyncio.run(main())}))


@pytest.mark.parametrize("hops", [1, 3])
@pytest.mark.parametrize(
    ("proxy_host", "host"), [("127.0.0.1", "127.0.0.1"), ("::1", "127.0.0.1"), ("::1", "::1")]
)
def test_the_descriptor_is_a_tcp_socket_connected_to_the_first_hop(hops, proxy_host, host, interpreter):
    with (
        reference_server(listen=[(proxy_host, 0)]) as first,
        reference_server() as second,
        reference_server() as third,
        destinations.echo_server(host) as server,
    ):
        chain = [first, second, third][:hops]
        ran = run(*through(*chain), interpreter, "-c", source_of(descriptor), host, server.port)
    expected = {"peer": [first.host, first.port], "type": True, "protocol": True, "inheritable": False}
    assert ran.json == {
        "blocking": {**expected, "blocking": True},
        "timeout": {**expected, "blocking": False},
        "asyncio": {**expected, "blocking": False},
    }


@pytest.mark.parametrize(
    ("how", "count"),
    [
        *(("blocking", 1), ("blocking", 100), ("timeout", 1), ("timeout", 100)),
        *(("threads", 50), ("asyncio", 1), ("asyncio", 100)),
    ],
)
def test_a_connection_leaves_nothing_but_its_descriptor(how, count, interpreter, proxy, echo_server):
    words = program("leftovers.py")[1], echo_server.host, echo_server.port, how, count
    ran = run(*through(proxy), interpreter, *words)
    nothing = {"descriptors": [], "missing": [], "threads": 0}
    assert ran.json == {"open": {"connections": count, **nothing}, "closed": {"connections": 0, **nothing}}
    assert len(proxy.asked) == count


def test_a_connection_that_fails_leaves_nothing_at_all(interpreter, proxy, refusing_port):
    def program():
        import asyncio
        import json
        import os
        import socket
        import sys
        import time

        def count():
            return [len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))]

        async def main():
            for _ in range(20):
                try:
                    await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
                except ConnectionRefusedError:
                    failed.append("asyncio")

        failed = []
        before = count()
        for _ in range(20):
            try:
                socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20)
            except ConnectionRefusedError:
                failed.append("blocking")
        asyncio.run(main())
        deadline = time.monotonic() + 20
        while count() != before and time.monotonic() < deadline:
            time.sleep(0.001)
        print(json.dumps([len(failed), before, count()]))

    failed, before, after = run(*through(proxy), interpreter, "-c", source_of(program), refusing_port).json
    assert failed == 40
    assert before == after


# ---------------------------------------------------------------- system calls

COUNT = 50
# For each connection, its socket() and close() included. By hand, without a timeout, it is 7.
MOST_CALLS = {"blocking": 15, "timeout": 19, "asyncio": 23, "nonblocking": 64}


@pytest.mark.parametrize("how", MOST_CALLS)
def test_a_connection_makes_few_system_calls(how, proxy, echo_server, trace):
    words = *program("connect_often.py"), how, echo_server.host, echo_server.port, COUNT
    calls = strace.counted(*through(proxy), *words)
    assert len(proxy.asked) == COUNT + 1
    if how == "nonblocking":
        # How often its threads wait for each other depends on the machine.
        del calls["futex"]
        # One thread for all, unless the machine keeps the program from its work for long.
        assert calls["clone3"] + calls["clone"] < COUNT / 5, calls
    else:
        assert not calls["futex"] and not calls["clone3"] and not calls["clone"], calls
    # A busy machine may cut an answer in two; and closed sockets are swept out of the tables now and then.
    assert calls.total() / COUNT < MOST_CALLS[how] + 1, calls


def test_seven_system_calls_are_what_a_connection_takes_by_hand(proxy, echo_server, trace):
    words = *program("connect_often.py"), "by_hand", echo_server.host, echo_server.port, COUNT, proxy.port
    assert 7 <= strace.counted(*words).total() / COUNT < 8


@pytest.mark.parametrize("how", ["blocking", "connected", "timeout", "asyncio"])
def test_a_datagram_makes_the_system_calls_that_it_makes_directly(how, proxy, trace):
    with udp_echo() as echo:
        words = *program("datagrams_often.py"), how, echo.host, echo.port, COUNT
        directly = strace.counted(*words)
        calls = strace.counted(*through(proxy), *words)
    assert len(proxy.asked) == 1
    assert directly["sendto"] == directly["recvfrom"] == COUNT
    if how == "timeout":
        # One to look whether the answer is there already.
        directly["recvfrom"] += COUNT
    # How often threads wait for each other, and when the background thread starts, depends on the machine.
    del calls["futex"]
    assert all(count < COUNT / 5 for count in (calls - directly).values()), calls


# ---------------------------------------------------------------- imports

# DESIGN 3.8; what costs most, and a few that would bring these along.
EXPENSIVE = {
    *("argparse", "asyncio", "collections", "configparser", "contextlib", "dataclasses", "enum", "functools"),
    *("inspect", "ipaddress", "json", "logging", "pathlib", "re", "selectors", "socket", "ssl", "subprocess"),
    *("threading", "tomllib", "typing", "urllib", "weakref"),
}


def modules(interpreter, code="pass", wrapped=True):
    """The modules in a program after ``code``."""
    command = [interpreter, "-c", f"{code}\nimport sys\nprint('\"', *sys.modules, '\"')"]
    words = (
        pysocksify("-x", "socks5h://user:password@127.0.0.1:1", "--direct", "10.0.0.0/8,*.corp")
        if wrapped
        else ()
    )
    return set(run(*words, *command).json.split())


def test_a_start_imports_nothing_but_a_little_of_ours(interpreter):
    added = modules(interpreter) - modules(interpreter, wrapped=False)
    # Debian's Python has a sitecustomize of its own already.
    assert added - {"sitecustomize"} == {
        *("pywrap", "pywrap.archive", "pywrap.intercept", "pywrap.intercept.import_hook", "pywrap.launch"),
        # atexit, which is built in: there is a password, and so a file that has to go.
        *("pywrap.intercept.patches", "pywrap.intercept.patches.spawn"),
        *("pywrap.intercept.loading", "pywrap.launch.bootstrap", "atexit"),
        *("pywrap.launch.settings_file", "pywrap.launch.target_settings"),
    }


def test_a_start_imports_nothing_expensive(interpreter):
    # Some builds of Python come with a .pth file that does.
    assert (modules(interpreter) - modules(interpreter, wrapped=False)) & EXPENSIVE == set()


def test_importing_socket_imports_only_ours_in_addition(interpreter):
    bare = modules(interpreter, "import socket", wrapped=False)
    added = modules(interpreter, "import socket") - bare
    # From 3.14 on socket imports these no more, both in C: select has what is to be replaced.
    allowed = {"sitecustomize", "select", "_operator"}
    assert {name for name in added if not name.startswith("pywrap")} - allowed == {
        "atexit",
        "mmap",
    }
    # These wait for the first destination.
    late = ("pywrap.tunnel", "pywrap.socks", "pywrap.config", "pywrap.intercept.patches.connecting")
    assert [name for name in added if name.startswith(late)] == []


def test_a_connection_imports_none_of_what_takes_long(interpreter, proxy, echo_server):
    code = f"import socket; socket.create_connection(('127.0.0.1', {echo_server.port})).close()"
    bare = modules(interpreter, code, wrapped=False)
    command = [interpreter, "-c", f"{code}\nimport sys\nprint('\"', *sys.modules, '\"')"]
    wrapped = set(run(*through(proxy), *command).json.split())
    assert (wrapped - bare) & EXPENSIVE == set()


# What the first connection of a program adds, to a name and through a strict chain of SOCKS5 proxies.
ROAD = {
    *("pywrap.config", "pywrap.config.matching", "pywrap.config.settings", "pywrap.config.settings_env"),
    *("pywrap.config.config_error", "pywrap.tunnel.shared_file"),
    *("pywrap.errors", "pywrap.frozen", "pywrap.messages", "pywrap.launch.target_settings"),
    *("pywrap.intercept.addresses", "pywrap.intercept.user_messages"),
    *("pywrap.intercept.own_socket", "pywrap.tunnel.own_addresses", "pywrap.intercept.patches.connecting"),
    *("pywrap.intercept.patches.getaddrinfo", "pywrap.intercept.patches.implementations"),
    *("pywrap.intercept.remote_names", "pywrap.intercept.runtime", "pywrap.intercept.tcp"),
    *("pywrap.intercept.tcp.blocking", "pywrap.intercept.hand_over", "pywrap.intercept.tcp.connected_errno"),
    *(
        "pywrap.intercept.tcp.straight",
        "pywrap.intercept.tcp.unconnected",
        "pywrap.socks",
        "pywrap.socks.reply_errno",
        "pywrap.socks.v5",
        "pywrap.socks.wire",
    ),
    *("pywrap.tunnel", "pywrap.tunnel.attempt", "pywrap.tunnel.chain", "pywrap.tunnel.deadline"),
    *("pywrap.tunnel.first_hop", "pywrap.tunnel.hop_probes", "pywrap.tunnel.hops", "pywrap.tunnel.lookups"),
    "pywrap.tunnel.name_list",
    *("pywrap.tunnel.placeholders", "pywrap.tunnel.policy_choice", "pywrap.tunnel.round_robin"),
    *("pywrap.tunnel.routes", "pywrap.tunnel.selection", "pywrap.tunnel.shared_names"),
    # Not later: what needs it may be a want of descriptors, with which nothing can be imported.
    *("pywrap.tunnel.sockopts", "pywrap.tunnel.straight_road", "pywrap.tunnel.strict_policy", "fcntl"),
}


def execute_and_say_what_it_imports(code):
    before = set(sys.modules)
    exec(code, globals())
    print(json.dumps(sorted(set(sys.modules) - before)))


def added_by(interpreter, proxy, before, code):
    text = f"{before}\n{source_of(execute_and_say_what_it_imports, code)}"
    words = pysocksify("-x", proxy.url(), "--loopback", "proxy")
    return set(run(*words, interpreter, "-c", text).json)


def test_a_first_connection_imports_nothing_of_udp_bind_probes_and_other_chains(interpreter, proxy):
    # The proxy refuses it: no server has this name.
    connect = "try: socket.create_connection(('name.invalid', 80))\nexcept OSError: pass"
    added = added_by(interpreter, proxy, "import encodings.idna, socket", connect)
    assert added == ROAD


def test_the_archives_have_the_whole_road():
    stages = {*archives.STAGES["start"], *archives.STAGES["socket"], *archives.STAGES["connection"]}
    assert {name for name in ROAD if name.startswith("pywrap.")} <= {f"pywrap.{name}" for name in stages}


def test_asyncio_needs_no_thread_and_no_placeholder(interpreter, proxy, echo_server):
    connect = (
        "async def main():\n"
        f"    (await asyncio.open_connection('127.0.0.1', {echo_server.port}))[1].close()\n"
        "asyncio.run(main())"
    )
    added = added_by(interpreter, proxy, "import asyncio, encodings.idna", connect)
    ours = {name for name in added if name.startswith("pywrap")}
    assert ours - ROAD == {"pywrap.intercept.tcp.in_loop"}


def test_a_library_that_watches_modules_finds_socket_as_it_is(interpreter):
    def program():
        import inspect
        import json
        import socket

        spec = socket.__spec__
        print(
            json.dumps(
                [
                    type(spec.loader).__name__,
                    type(socket.__loader__).__name__,
                    spec.origin == socket.__file__,
                    inspect.getsource(socket).startswith("# Wrapper module for _socket"),
                ]
            )
        )

    bare = run(interpreter, "-c", source_of(program)).json
    assert run(*pysocksify("-x", "socks5h://127.0.0.1:1"), interpreter, "-c", source_of(program)).json == bare


def test_without_a_log_nothing_of_it_is_imported(proxy, echo_server):
    code = (
        "import socket, sys\n"
        f"socket.create_connection(('127.0.0.1', {echo_server.port})).close()\n"
        "print('\"', *sys.modules, '\"')"
    )
    seen = run(*through(proxy), sys.executable, "-c", code).json.split()
    assert [name for name in seen if name.startswith("pywrap.log") or "recorder" in name] == []


def test_with_a_log_little_is_imported(proxy, echo_server, tmp_path):
    code = (
        f"import socket; socket.create_connection(('127.0.0.1', {echo_server.port})).close()\n"
        "import sys; print('\"', *sys.modules, '\"')"
    )
    bare = set(run(*through(proxy), sys.executable, "-c", code).json.split())
    words = *through(proxy)[:-1], "--log", tmp_path / "log", "--"
    logged = set(run(*words, sys.executable, "-c", code).json.split())
    assert {name for name in logged - bare if not name.startswith("pywrap.")} <= {
        "_fcntl",
        "fcntl",
        "itertools",
    }


def test_the_target_has_no_module_of_a_third_party(proxy, echo_server):
    def program(port):
        import socket
        import sys

        socket.create_connection(("127.0.0.1", port)).close()
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", ("127.0.0.1", port))
        try:
            socket.create_connection(("localhost.invalid", 1), timeout=20)
        except OSError:
            pass
        print('"', *{name.partition(".")[0] for name in sys.modules}, '"')

    # This interpreter has the distribution's dependencies, and could import them.
    bare = set(run(sys.executable, "-c", "import sys\nprint('\"', *sys.modules, '\"')").json.split())
    words = *pysocksify("-v", "-x", proxy.url(), "--loopback", "proxy")[:-1], "--dns", "tor"
    seen = set(run(*words, sys.executable, "-c", source_of(program, echo_server.port)).json.split())
    ours = {name for name in seen - bare - {"sitecustomize"} if name not in sys.stdlib_module_names}
    assert ours == {"pywrap"}
    assert not {"socks", "python_socks", "psutil"} & seen
