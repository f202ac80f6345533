"""A connected program pays nothing for us: no method, no thread, no descriptor; a start pays little."""

from __future__ import annotations

import os
import sys

import pytest

import pywrap
from tests.support import destinations
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
METHODS = """
import _socket, asyncio, json, socket, ssl, sys
socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20).close()
# What is in _socket under that name may be patched, the C class cannot be.
C = socket.socket.__base__
same = "recv recv_into recvmsg recvmsg_into recvfrom recvfrom_into send sendall shutdown fileno".split()
print(json.dumps({
    "C": {type(getattr(C, name)).__name__ for name in same} == {"method_descriptor"},
    "socket": [name for name in same if getattr(socket.socket, name) is not getattr(C, name)],
    "_socket": [name for name in same if getattr(_socket.socket, name) is not getattr(C, name)],
    "ssl": [
        name for name in "recv recv_into send sendall read write unwrap do_handshake".split()
        if vars(ssl.SSLSocket)[name].__code__.co_filename != ssl.__file__
    ],
    "sendfile": socket.socket.sendfile.__code__.co_filename == socket.__file__,
    "bases": socket.socket.__mro__[1:] == (C, object) and ssl.SSLSocket.__bases__ == (socket.socket,),
}))
"""


def test_sending_and_receiving_are_the_interpreters_own(interpreter, proxy, echo_server):
    ran = run(*through(proxy), interpreter, "-c", METHODS, echo_server.port)
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
DESCRIPTOR = """
import asyncio, json, os, socket, sys
host, port = sys.argv[1], int(sys.argv[2])

def kernel(fd):
    sock = socket.socket.__base__(fileno=os.dup(fd))
    option = lambda name: sock.getsockopt(socket.SOL_SOCKET, name)
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
"""


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
        ran = run(*through(*chain), interpreter, "-c", DESCRIPTOR, host, server.port)
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
    code = (
        "import asyncio, json, os, socket, sys, time\n"
        "def count():\n"
        "    return [len(os.listdir('/proc/self/fd')), len(os.listdir('/proc/self/task'))]\n"
        "async def main():\n"
        "    for _ in range(20):\n"
        "        try:\n"
        "            await asyncio.open_connection('127.0.0.1', int(sys.argv[1]))\n"
        "        except ConnectionRefusedError:\n"
        "            failed.append('asyncio')\n"
        "failed = []\n"
        "before = count()\n"
        "for _ in range(20):\n"
        "    try:\n"
        "        socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=20)\n"
        "    except ConnectionRefusedError:\n"
        "        failed.append('blocking')\n"
        "asyncio.run(main())\n"
        "deadline = time.monotonic() + 20\n"
        "while count() != before and time.monotonic() < deadline:\n"
        "    time.sleep(0.001)\n"
        "print(json.dumps([len(failed), before, count()]))"
    )
    failed, before, after = run(*through(proxy), interpreter, "-c", code, refusing_port).json
    assert failed == 40
    assert before == after


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
        *("pywrap", "pywrap.intercept", "pywrap.intercept.import_hook", "pywrap.launch"),
        # atexit, which is built in: there is a password, and so a file that has to go.
        *("pywrap.intercept.patches", "pywrap.intercept.patches.spawn"),
        *("pywrap.intercept.loading", "pywrap.launch.bootstrap", "__future__", "atexit"),
        "pywrap.launch.settings_file",
    }


def test_a_start_imports_nothing_expensive(interpreter):
    # Some builds of Python come with a .pth file that does.
    assert (modules(interpreter) - modules(interpreter, wrapped=False)) & EXPENSIVE == set()


def test_importing_socket_imports_only_ours_in_addition(interpreter):
    bare = modules(interpreter, "import socket", wrapped=False)
    added = modules(interpreter, "import socket") - bare
    # From 3.14 on socket imports these no more, both in C: select has what is to be replaced.
    allowed = {"sitecustomize", "select", "_operator"}
    assert {name for name in added if not name.startswith("pywrap")} - allowed == {"__future__", "atexit"}
    # These wait for the first destination.
    late = ("pywrap.tunnel", "pywrap.socks", "pywrap.config", "pywrap.intercept.patches.connect")
    assert [name for name in added if name.startswith(late)] == []


def test_a_connection_imports_none_of_what_takes_long(interpreter, proxy, echo_server):
    code = f"import socket; socket.create_connection(('127.0.0.1', {echo_server.port})).close()"
    bare = modules(interpreter, code, wrapped=False)
    command = [interpreter, "-c", f"{code}\nimport sys\nprint('\"', *sys.modules, '\"')"]
    wrapped = set(run(*through(proxy), *command).json.split())
    assert (wrapped - bare) & EXPENSIVE == set()


def test_a_library_that_watches_modules_finds_socket_as_it_is(interpreter):
    code = (
        "import inspect, json, socket\n"
        "spec = socket.__spec__\n"
        "print(json.dumps([\n"
        "    type(spec.loader).__name__, type(socket.__loader__).__name__, spec.origin == socket.__file__,\n"
        "    inspect.getsource(socket).startswith('# Wrapper module for _socket'),\n"
        "]))"
    )
    bare = run(interpreter, "-c", code).json
    assert run(*pysocksify("-x", "socks5h://127.0.0.1:1"), interpreter, "-c", code).json == bare


def test_the_target_has_no_module_of_a_third_party(proxy, echo_server):
    # This interpreter has the distribution's dependencies, and could import them.
    code = (
        "import socket, sys\n"
        f"socket.create_connection(('127.0.0.1', {echo_server.port})).close()\n"
        "with socket.socket(type=socket.SOCK_DGRAM) as sock:\n"
        f"    sock.sendto(b'x', ('127.0.0.1', {echo_server.port}))\n"
        "try:\n"
        "    socket.create_connection(('localhost.invalid', 1), timeout=20)\n"
        "except OSError:\n"
        "    pass\n"
        "print('\"', *{name.partition('.')[0] for name in sys.modules}, '\"')"
    )
    bare = set(run(sys.executable, "-c", "import sys\nprint('\"', *sys.modules, '\"')").json.split())
    words = *pysocksify("-v", "-x", proxy.url(), "--loopback", "proxy")[:-1], "--dns", "tor"
    seen = set(run(*words, sys.executable, "-c", code).json.split())
    ours = {name for name in seen - bare - {"sitecustomize"} if name not in sys.stdlib_module_names}
    assert ours == {"pywrap"}
    assert not {"socks", "python_socks", "psutil"} & seen
