"""TCP of confined programs that are not patched: what they see, and that they go through the proxy."""

import errno

import pytest

from tests.support.child import source_of
from tests.support.confined import (
    CLOSED,
    ECHO,
    GREETING,
    HTTP,
    NO_NETWORK,
    NO_NETWORK_6,
    PROHIBITED,
    PROHIBITED_6,
    RESETTING,
    UNREACHABLE,
    UNREACHABLE_6,
)
from tests.support.namespaces import SERVER

BOTH = sorted(SERVER.values())


@pytest.mark.parametrize("host", [*BOTH, "four.test", "six.test"])
def test_a_connection_is_carried(client, host):
    assert client.inside("talk", host, ECHO)
    assert client.inside("speak_second", host, GREETING) == ["220 ready\r\n", "HELLO"]


@pytest.mark.parametrize("host", BOTH)
def test_its_addresses_are_those_that_were_asked_for(client, host):
    own = "fd00:64::1" if ":" in host else "100.64.0.1"
    assert client.inside("names", host, HTTP) == [[host, HTTP], own]


@pytest.mark.parametrize("host", BOTH)
def test_bulk_is_carried_with_its_end(client, host):
    assert client.inside("talk", host, ECHO, 5_000_000)


def test_what_the_program_sends_is_not_paced(client):
    # As by BBR, which is the default of some machines, and would be the namespace's.
    code = "import socket as s; print(s.socket().getsockopt(s.IPPROTO_TCP, s.TCP_CONGESTION, 16)[:4])"
    assert client.run(client.python, "-I", "-c", code).out == "b'reno'\n"


@pytest.mark.parametrize("host", BOTH)
def test_a_reset_is_carried(client, host):
    assert client.inside("broken", host, RESETTING) == ["half of ", "ECONNRESET"]


@pytest.mark.parametrize(
    "host, port, expected",
    [
        (SERVER[4], CLOSED, "ECONNREFUSED"),
        (SERVER[6], CLOSED, "ECONNREFUSED"),
        (UNREACHABLE, 80, "EHOSTUNREACH"),
        (UNREACHABLE_6, 80, "EHOSTUNREACH"),
        (NO_NETWORK, 80, "ENETUNREACH"),
        (NO_NETWORK_6, 80, "ENETUNREACH"),
        # The kernel has no message of IPv4 for it.
        (PROHIBITED, 80, "EHOSTUNREACH"),
        (PROHIBITED_6, 80, "EACCES"),
        ("shut.test", 80, "EHOSTUNREACH"),
        # --route, of ours.
        ("10.66.0.1", 80, "EHOSTUNREACH"),
        ("fd00:66::1", 80, "EACCES"),
    ],
)
def test_connect_tells_why(client, host, port, expected):
    options = ("--route", "10.66.0.0/16,fd00:66::/32 block")
    if host == "shut.test":
        host = client.inside("resolve", host)[0]
        # A placeholder is of one run: here it is another run's.
        assert client.inside("connect", host, port, options=options)[0] == "EHOSTUNREACH"
        return
    assert client.inside("connect", host, port, options=options)[0] == expected
    assert client.inside("connect_nonblocking", host, port, options=options) == [
        "EINPROGRESS",
        True,
        expected,
    ]


def test_time_out_is_that_of_the_option(client, package):
    # An address that swallows everything, for a proxy that waits for it.
    ran = client.run("curl", "-sS", "http://10.2.0.99/", options=("--timeout", "1"), status=None)
    assert ran.status in (7, 28), ran
    found, seconds = client.inside("connect", "10.2.0.99", 80, options=("--timeout", "1"), timeout=60)
    assert found in ("ETIMEDOUT", "EHOSTUNREACH"), seconds


@pytest.mark.parametrize("host", ["four.test", SERVER[6]])
def test_many_at_once(client, host):
    assert client.inside("many", host, ECHO, 300, 100) == [300, []]


def test_it_is_the_proxy_that_resolves(client):
    assert client.run("curl", "-sS", "http://four.test/").out == "hello\n"
    for command in (("curl", "-6", "-sS"), ("wget", "-6", "-qO-")):
        # Whatever it is behind the proxy.
        for name in ("six.test", "four.test"):
            assert client.run(*command, f"http://{name}/").out == "hello\n"


def test_routes_by_name_and_network_decide(client):
    for rule, host in (("*.test", "four.test"), ("10.2.0.0/16", "10.2.0.1")):
        ran = client.run("curl", "-sS", f"http://{host}/", options=("--route", f"{rule} block"), status=7)
        assert "Couldn't connect" in ran.err or "Could not connect" in ran.err


def test_a_rewrite_changes_the_destination(client):
    options = ("--dnat", "192.0.2.1:8000 10.2.0.1:80")
    assert client.run("curl", "-sS", "http://192.0.2.1:8000/", options=options).out == "hello\n"


def test_a_patched_python_goes_on_as_such(client):
    code = "import urllib.request as u; print(u.urlopen('http://four.test/').read())"
    assert client.run(client.python, "-c", code).out == "b'hello\\n'\n"
    code = f"import socket; print(socket.socket().connect_ex(('{PROHIBITED}', 80)))"
    assert client.run(client.python, "-c", code).out == f"{errno.EACCES}\n"


def test_placeholders_are_shared_by_all_programs(client):
    def program():
        import json
        import socket
        import subprocess
        import sys

        address = socket.gethostbyname("four.test")
        fetched = subprocess.run(["curl", "-sS", f"http://{address}/"], capture_output=True, text=True).stdout
        found = subprocess.run(
            [sys.executable, "-I", "-c", "import socket; print(socket.gethostbyname('twin.test'))"],
            capture_output=True,
            text=True,
        ).stdout
        with socket.create_connection((found.strip(), 80)) as sock:
            same = sock.getpeername()[0] == found.strip()
            print(json.dumps([fetched, same, socket.gethostbyaddr(found.strip())[0]]))

    assert client.run(client.python, "-c", source_of(program)).json == ["hello\n", True, "twin.test"]
