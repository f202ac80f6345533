"""Port 53 of every address, in each mode of --dns."""

import pytest

from tests.support.namespaces import SERVER

A, AAAA, MX, HTTPS = 1, 28, 15, 65


def test_a_name_is_a_placeholder_of_each_family_and_ipv4_comes_first(client):
    literals = client.inside("resolve", "four.test")
    assert [literal.partition(".")[0].partition("::")[0] for literal in literals] == ["198", "fd73:6f63:6b73"]
    for family, literal in zip((2, 10), literals, strict=True):
        assert client.inside("resolve", "four.test", family) == [literal]


def test_a_placeholder_has_its_name(client):
    code = "import socket; a = socket.gethostbyname('four.test'); print(socket.gethostbyaddr(a)[0])"
    assert client.run(client.python, "-I", "-c", code).out == "four.test\n"
    assert client.inside("reverse", "10.2.0.1") == 1


@pytest.mark.parametrize("server", ["127.0.0.1", "::1", "8.8.8.8", "2001:4860:4860::8888", "127.0.0.53"])
@pytest.mark.parametrize("tcp", [False, True])
def test_whatever_server_is_asked(client, server, tcp):
    assert client.inside("query", server, "four.test", A, tcp) == [True, 0, False, 1]


def test_other_records_are_none_and_never_missing(client):
    for kind in (MX, HTTPS, AAAA, 255):
        code, answers = client.inside("query", "8.8.8.8", "four.test", kind)[1::2]
        assert (code, answers) == (0, 1 if kind == AAAA else 0)


def test_edns_is_understood(client):
    assert client.inside("query", "8.8.8.8", "four.test", A, False, 1232) == [True, 0, False, 1]


def test_hosts_of_the_user_come_first(client):
    assert client.inside("resolve", "localhost", 2) == ["127.0.0.1"]
    assert client.inside("query", "8.8.8.8", "localhost", A)[3] == 1


def test_the_resolver_outside_cannot_be_asked(client):
    script = (
        "cat /etc/resolv.conf; ls /run/systemd/resolve /run/nscd /run/avahi-daemon 2>/dev/null | grep -v :"
    )
    said = client.run("sh", "-c", script, status=None).out
    assert "nameserver 100.64.0.53\n" in said and "\nsocket\n" not in said


def test_direct_names_are_resolved_outside(client):
    # There is no resolver out there, and it is asked: by a datagram that the sniffer sees.
    how = {"options": ("--direct", "*.corp"), "env": {"RES_OPTIONS": "timeout:1 attempts:1"}}
    assert client.inside("resolve", "host.corp", **how) != ["198.18.0.1"]
    assert client.sniffer.leaks() != []


def test_tor_is_asked(client):
    assert client.inside("resolve", "four.test", options=("--dns", "tor")) == ["10.2.0.1"]
    assert client.inside("resolve", "unknown.test", options=("--dns", "tor")) == ["EAI_NONAME"]
    assert SERVER[4] == "10.2.0.1"
