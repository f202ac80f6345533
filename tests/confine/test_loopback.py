"""Loopback: what is inside stays inside, and what is outside is as --loopback says."""

import errno
import subprocess

import pytest

from tests.support.child import source_of
from tests.support.namespaces import CLIENT

HOSTS = ["127.0.0.1", "127.9.9.9", "::1", "100.64.0.1", "fd00:64::1", "192.168.7.7"]


@pytest.mark.parametrize("host", HOSTS)
def test_a_server_inside_is_reached_inside(client, host):
    if host != "192.168.7.7":
        assert client.inside("serve_inside", host) == ["inside", True]
        assert client.inside("serve_datagrams_inside", host) == ["inside", True]
    else:
        # Another machine's.
        assert client.inside("connect", host, 9)[0] != "OK"


@pytest.fixture
def outside(client):
    """A server on the loopback interface of the client's machine."""
    code = (
        "import socket; l = socket.create_server(('127.0.0.1', 0)); print(l.getsockname()[1], flush=True)\n"
        "while True: c, _ = l.accept(); c.sendall(b'outside'); c.close()"
    )
    process = subprocess.Popen(
        [*client.made.at("client"), "python3", "-c", code], stdout=subprocess.PIPE, text=True
    )
    with process:
        yield int(process.stdout.readline())
        process.kill()


@pytest.mark.parametrize(
    "mode, expected", [("direct", "OK"), ("deny", "EHOSTUNREACH"), ("proxy", "ECONNREFUSED")]
)
def test_a_server_outside(client, outside, mode, expected):
    options = ("--loopback", mode)
    assert client.inside("connect", "127.0.0.1", outside, options=options)[0] == expected


def talk():
    import socket
    import sys

    host, port = sys.argv[1], int(sys.argv[2])
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        print(socket.create_connection((host, port), 30).recv(100).decode())
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(30)
            sock.sendto(b"hello", (host, port))
            print(*sock.recvfrom(100)[1][:2])
    except OSError as err:
        print(err.errno)


@pytest.fixture(params=CLIENT)
def own_address(client, request):
    """A server, TCP and UDP, at the address of an interface of the client's machine: that, and the port."""

    def program():
        import socket
        import sys
        import threading

        address, family = (sys.argv[1], 0), socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
        listener = socket.create_server(address, family=family)
        udp = socket.socket(family, socket.SOCK_DGRAM)
        udp.bind(listener.getsockname())
        print(listener.getsockname()[1], flush=True)

        def echo():
            while True:
                udp.sendto(*udp.recvfrom(100))

        threading.Thread(target=echo, daemon=True).start()
        while True:
            sock, peer = listener.accept()
            sock.sendall(peer[0].encode())
            sock.close()

    host = CLIENT[request.param]
    command = [*client.made.at("client"), "python3", "-c", source_of(program), host]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield host, int(process.stdout.readline())
        process.kill()


@pytest.mark.parametrize("patched", [False, True], ids=["unpatched", "patched"])
@pytest.mark.parametrize("mode", ["direct", "deny"])
def test_an_own_address_of_the_machine_is_the_machine(client, own_address, mode, patched):
    host, port = own_address
    python = (client.python, *(() if patched else ("-I",)), "-c", source_of(talk))
    said = client.run(*python, host, port, options=("--confine", "on", "--loopback", mode)).out
    if mode == "direct":
        # Without the proxy's help, which would come from another address.
        assert said == f"{host}\n{host} {port}\n"
    else:
        # Only the patches, and ICMPv6, can tell a program that it is not allowed.
        refused = errno.EPERM if patched else errno.EACCES if ":" in host else errno.EHOSTUNREACH
        assert said == f"{refused}\n"


@pytest.mark.parametrize("host", CLIENT.values())
@pytest.mark.parametrize("bound", ["the address", "any"])
def test_a_server_inside_is_reached_at_an_own_address_of_the_machine(client, host, bound):
    """Which the host's name in /etc/hosts may stand for."""

    def program(host, bound):
        import socket

        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listen = host if bound == "the address" else "::" if family == socket.AF_INET6 else "0.0.0.0"
        with socket.create_server((listen, 0), family=family) as server:
            port = server.getsockname()[1]
            with socket.create_connection((host, port), 30) as sock, server.accept()[0] as there:
                there.sendall(b"inside")
                print(sock.recv(100).decode(), sock.getpeername()[:2] == (host, port))

    assert client.run(client.python, "-I", "-c", source_of(program, host, bound)).out == "inside True\n"


def test_nothing_listens(client):
    for host in ("127.0.0.1", "::1"):
        assert client.inside("connect", host, 9)[0] == "ECONNREFUSED"
