"""UDP of confined programs, through associations."""

import pytest

from tests.support.confined import UDP_ECHO
from tests.support.namespaces import SERVER

BOTH = sorted(SERVER.values())


@pytest.mark.parametrize("host", BOTH)
@pytest.mark.parametrize("connected", [False, True])
def test_a_datagram_there_and_back(client, host, connected):
    assert client.inside("datagram", host, UDP_ECHO, "hello", connected) == ["hello", [host, UDP_ECHO]]


@pytest.mark.parametrize("size", [1, 1400, 9000, 60000])
def test_of_any_size(client, size):
    assert client.inside("datagram", SERVER[4], UDP_ECHO, "x" * size)[0] == "x" * size


def test_bound_to_loopback(client):
    assert client.inside("datagram", SERVER[4], UDP_ECHO, "hello", False, "127.0.0.1")[0] == "hello"


def test_by_name(client):
    code = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20); "
        f"a = (socket.gethostbyname('four.test'), {UDP_ECHO}); "
        f"b = (socket.gethostbyname('twin.test'), {UDP_ECHO}); "
        "s.sendto(b'a', a); print(s.recvfrom(9) == (b'a', a)); "
        "s.sendto(b'b', b); print(s.recvfrom(9) == (b'b', b))"
    )
    assert client.run(client.python, "-I", "-c", code).out == "True\nTrue\n"


def test_what_cannot_be_sent_is_refused(client):
    for options in (("--udp", "block"), ("--route", "* block")):
        error_to_report = client.inside("datagram", SERVER[4], UDP_ECHO, "hello", True, options=options)
        assert error_to_report == ["ECONNREFUSED", []]


def test_a_patched_python_sends_its_own(client):
    code = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20); "
        f"s.sendto(b'a', ('four.test', {UDP_ECHO})); print(s.recvfrom(9)[0])"
    )
    assert client.run(client.python, "-c", code).out == "b'a'\n"
