"""Loopback: what is inside stays inside, and what is outside is as --loopback says."""

import subprocess

import pytest

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


def test_nothing_listens(client):
    for host in ("127.0.0.1", "::1"):
        assert client.inside("connect", host, 9)[0] == "ECONNREFUSED"
