"""--publish: a server inside, reached from outside."""

import re
import socket
import subprocess

import pytest

from pywrap.confine import publish
from pywrap.confine.publish import Publication
from pywrap.errors import ConfigError
from tests.support.child import source_of
from tests.support.confined import start

FETCH = (
    "import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 30); "
    "s.sendall(b'hello'); s.shutdown(1); print(s.recv(100).decode())"
)


def serve(host, port, family):
    listener = socket.create_server((host, port), family=family)
    print(listener.getsockname()[1], flush=True)
    input()
    while True:
        sock, peer = listener.accept()
        sock.sendall(sock.recv(100) + b" " + peer[0].encode())
        sock.close()


def outside(client, *arguments):
    words = [*client.made.at("client"), "python3", "-c", FETCH, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True)


@pytest.mark.parametrize("host, family, source", [("127.0.0.1", 2, "127.64.0.1"), ("::1", 10, "::1")])
def test_a_server_inside_is_reached(client, host, family, source):
    # The namespace's ports are the test's own.
    port, inside = (18000 if family == 2 else 18001), 8000
    code = source_of(serve, host, inside, family)
    options = ("--confine", "on", "--publish", f"{port}:{inside}")
    process = start(client, client.python, "-I", "-c", code, options=options, stdin=subprocess.PIPE)
    with process:
        assert process.stdout.readline() == f"{inside}\n"
        process.stdin.write("go\n")
        process.stdin.flush()
        assert outside(client, "127.0.0.1", port).stdout == f"hello {source}\n"
        process.terminate()
    assert process.returncode < 0


def test_nothing_listens_inside(client):
    options = ("--confine", "on", "--publish", "18002:8000")
    with start(client, "sh", "-c", "echo go; read x", options=options, stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "go\n"
        assert "ConnectionResetError" in outside(client, "127.0.0.1", 18002).stderr
        process.communicate("")


def test_a_port_that_is_taken_is_an_error(client):
    with start(
        client,
        "sh",
        "-c",
        "echo go; read x",
        options=("--confine", "on", "--publish", "18003"),
        stdin=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == "go\n"
        ran = client.run("true", options=("--confine", "on", "--publish", "18003"), status=125)
        assert re.search("cannot publish at 127.0.0.1 port 18003: Address already in use", ran.err)
        process.communicate("")


# ---------------------------------------------------------------- how it is written


@pytest.mark.parametrize(
    "text, publication",
    [
        ("8080", Publication("127.0.0.1", 8080, 8080)),
        ("8080:80", Publication("127.0.0.1", 8080, 80)),
        ("0.0.0.0:8080", Publication("0.0.0.0", 8080, 8080)),
        ("0.0.0.0:8080:80", Publication("0.0.0.0", 8080, 80)),
        ("[::1]:8080:80", Publication("::1", 8080, 80)),
        ("[::]:8080", Publication("::", 8080, 8080)),
    ],
)
def test_a_publication(text, publication):
    assert publish.parse(text) == publication


@pytest.mark.parametrize(
    "text", ["", "x", "0", "80:0", "1:2:3:4", "host.example:80", "80:x", "70000", "[::1]"]
)
def test_what_is_no_publication(text):
    with pytest.raises(ConfigError):
        publish.parse(text)
