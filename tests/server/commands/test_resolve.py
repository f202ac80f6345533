"""RESOLVE and RESOLVE_PTR: one question, one answer, and the end."""

import socket
import threading

import pytest

from pywrap.server.record import Record
from pywrap.server.tcp import dial
from pywrap.socks import v4, v5
from pywrap.socks.wire import Endpoint
from tests.support.play import hold
from tests.support.raw_sockets import receive, receive_all
from tests.support.servers import PATIENCE, reference_server

GREETING = b"\x05\x01\x00"
NOWHERE_4 = b"\0\0" + b"\0\0\0\0"
NOWHERE_5 = b"\x00\x01" + b"\0\0\0\0" + b"\0\0"
NO_NAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def resolve_4a(name):
    return b"\x04\xf0" + b"\x00\x00" + b"\x00\x00\x00\x01" + b"\x00" + name + b"\x00"


def resolve_5(name):
    return GREETING + b"\x05\xf0\x00\x03" + bytes([len(name)]) + name + b"\x00\x00"


PTR_IPV4 = GREETING + b"\x05\xf1\x00\x01" + b"\xc0\x00\x02\x07" + b"\x00\x00"
PTR_IPV6 = GREETING + b"\x05\xf1\x00\x04" + b"\x20\x01\x0d\xb8" + b"\0" * 11 + b"\x07" + b"\x00\x00"


@pytest.fixture
def addresses(monkeypatch):
    """What the resolver knows about addresses: address to name or an exception."""
    known = {}

    def getnameinfo(sockaddr, flags):
        # Without it, an address without a name would be answered with itself.
        assert flags & socket.NI_NAMEREQD
        if isinstance(known[sockaddr[0]], Exception):
            raise known[sockaddr[0]]
        return known[sockaddr[0]], "0"

    monkeypatch.setattr(dial._socket, "getnameinfo", getnameinfo)
    return known


def ask(server, client, message):
    """Everything that the server answers, after its choice of a method."""
    sock = client.connect(server)
    sock.sendall(message)
    if message[:1] == b"\x05":
        assert receive(sock, 2) == b"\x05\x00"
    return receive_all(sock)


@pytest.mark.parametrize(
    "addresses, reply",
    [
        (["192.0.2.7"], b"\x05\x00\x00\x01" + b"\xc0\x00\x02\x07" + b"\0\0"),
        (["2001:db8::7"], b"\x05\x00\x00\x04" + b"\x20\x01\x0d\xb8" + b"\0" * 11 + b"\x07" + b"\0\0"),
        (["192.0.2.7", "2001:db8::7"], b"\x05\x00\x00\x01" + b"\xc0\x00\x02\x07" + b"\0\0"),
        # As tor does.
        (["2001:db8::7", "192.0.2.7"], b"\x05\x00\x00\x01" + b"\xc0\x00\x02\x07" + b"\0\0"),
    ],
)
def test_a_name_has_an_address(server, client, names, addresses, reply):
    names["host.test"] = addresses
    assert ask(server, client, resolve_5(b"host.test")) == reply
    (seen,) = server.seen
    answer = min(addresses, key=lambda address: ":" in address)
    assert seen == Record(5, "RESOLVE", "host.test", 0, "", seen.client, "", Endpoint(answer, 0))


def test_socks4a_is_answered_with_the_first_ipv4_address(server, client, names):
    names["host.test"] = ["2001:db8::7", "192.0.2.7", "192.0.2.8"]
    assert ask(server, client, resolve_4a(b"host.test")) == b"\x00\x5a" + b"\0\0" + b"\xc0\x00\x02\x07"
    names["six.test"] = ["2001:db8::7"]
    assert ask(server, client, resolve_4a(b"six.test")) == b"\x00\x5b" + NOWHERE_4


def test_an_address_is_its_own_answer(server, client, monkeypatch):
    request_5 = GREETING + b"\x05\xf0\x00\x01" + b"\xc0\x00\x02\x07" + b"\x00\x00"
    assert ask(server, client, request_5) == b"\x05\x00\x00\x01" + b"\xc0\x00\x02\x07" + b"\0\0"
    request_4 = b"\x04\xf0" + b"\x00\x00" + b"\xc0\x00\x02\x07" + b"\x00"
    assert ask(server, client, request_4) == b"\x00\x5a" + b"\0\0" + b"\xc0\x00\x02\x07"


@pytest.mark.parametrize("message, address", [(PTR_IPV4, "192.0.2.7"), (PTR_IPV6, "2001:db8::7")])
def test_an_address_has_a_name(server, client, addresses, message, address):
    addresses[address] = "host.test"
    assert ask(server, client, message) == b"\x05\x00\x00\x03" + b"\x09host.test" + b"\0\0"
    (seen,) = server.seen
    assert seen == Record(5, "RESOLVE_PTR", address, 0, "", seen.client, "", Endpoint("host.test", 0))


def test_what_follows_the_question_is_nobodys(server, client, addresses):
    addresses["192.0.2.7"] = "host.test"
    answer = ask(server, client, PTR_IPV4 + bytes(100_000))
    assert answer == b"\x05\x00\x00\x03" + b"\x09host.test" + b"\0\0"


def test_a_client_that_has_ended_its_direction_is_answered(server, client, names):
    names["host.test"] = ["192.0.2.7"]
    sock = client.connect(server)
    sock.sendall(resolve_5(b"host.test"))
    sock.shutdown(socket.SHUT_WR)
    assert receive_all(sock)[2:] == b"\x05\x00\x00\x01" + b"\xc0\x00\x02\x07" + b"\0\0"


def test_our_client_and_our_server_understand_each_other(server, client, names, addresses):
    names["host.test"] = ["2001:db8::7", "192.0.2.7"]
    addresses["2001:db8::7"] = "host.test"
    assert hold(v5.resolve("host.test"), client.connect(server)) == Endpoint("192.0.2.7", 0)
    assert hold(v5.resolve_ptr("2001:db8::7"), client.connect(server)) == Endpoint("host.test", 0)
    assert hold(v4.resolve("host.test"), client.connect(server)) == Endpoint("192.0.2.7", 0)


# ---------------------------------------------------------------- refusals


def test_what_cannot_be_resolved_is_an_unreachable_host(server, client, names, addresses):
    names["unknown.test"] = NO_NAME
    addresses["192.0.2.7"] = NO_NAME
    assert ask(server, client, resolve_5(b"unknown.test")) == b"\x05\x04" + NOWHERE_5
    assert ask(server, client, resolve_4a(b"unknown.test")) == b"\x00\x5b" + NOWHERE_4
    assert ask(server, client, PTR_IPV4) == b"\x05\x04" + NOWHERE_5
    assert [(seen.outcome, seen.answer) for seen in server.seen] == [
        ("cannot resolve the name: name or service not known", None),
        ("cannot resolve the name: name or service not known", None),
        ("cannot resolve the address: name or service not known", None),
    ]


@pytest.mark.parametrize("name", ["10.0.0.1", "2001:db8::1", "caf\xe9.test", "\udcff", "n" * 256, "", "a\0b"])
def test_a_name_that_a_reply_cannot_say_is_none(server, client, addresses, name):
    addresses["192.0.2.7"] = name
    assert ask(server, client, PTR_IPV4) == b"\x05\x04" + NOWHERE_5


def test_only_addresses_have_ptr_records(server, client):
    message = GREETING + b"\x05\xf1\x00\x03" + b"\x09localhost" + b"\x00\x00"
    assert ask(server, client, message) == b"\x05\x08" + NOWHERE_5


def test_socks4_cannot_say_a_name(server, client):
    message = b"\x04\xf1" + b"\x00\x00" + b"\x7f\x00\x00\x01" + b"\x00"
    assert ask(server, client, message) == b"\x00\x5b" + NOWHERE_4
    assert [seen.outcome for seen in server.seen] == ["command not supported"]


def test_a_name_beyond_ascii(server, client):
    assert ask(server, client, resolve_5(b"caf\xe9.test")) == b"\x05\x01" + NOWHERE_5


# ---------------------------------------------------------------- look-ups that take their time


@pytest.fixture
def hanging(monkeypatch):
    """Look-ups hang until the end of the test; an event tells that the first one has begun."""
    asked, released = threading.Event(), threading.Event()

    def hang():
        def look_up(*_):
            asked.set()
            released.wait(PATIENCE)
            raise NO_NAME

        for name in ("getaddrinfo", "getnameinfo"):
            monkeypatch.setattr(dial._socket, name, look_up)
        return asked

    yield hang
    released.set()


@pytest.mark.parametrize("message", [resolve_5(b"host.test"), PTR_IPV4])
def test_a_look_up_that_is_too_slow(client, hanging, message):
    with reference_server(connect_timeout=0.02) as server:
        sock = client.connect(server)
        hanging()
        sock.sendall(message)
        assert receive_all(sock) == b"\x05\x00" + b"\x05\x04" + NOWHERE_5
        (seen,) = server.seen
        assert seen.outcome.startswith("cannot resolve the ") and seen.outcome.endswith(": timed out")


def test_a_look_up_stops_no_other_client(server, client, target, hanging):
    waiting, sock = client.connect(server), client.connect(server)
    asked = hanging()
    waiting.sendall(PTR_IPV4)
    assert asked.wait(PATIENCE)
    sock.sendall(GREETING + b"\x05\x01\x00\x01" + target.address)
    assert receive(sock, 6) == b"\x05\x00" + b"\x05\x00\x00\x01"


def test_a_client_that_dies_before_its_answer(server, client, hanging):
    sock = client.connect(server)
    asked = hanging()
    sock.sendall(resolve_5(b"host.test"))
    assert asked.wait(PATIENCE)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
    assert [seen.outcome for seen in server.wait_for_seen(1)] == ["the client went away"]


def test_the_server_stops_before_its_answer(client, hanging):
    with reference_server() as server:
        sock = client.connect(server)
        asked = hanging()
        sock.sendall(resolve_5(b"host.test"))
        assert asked.wait(PATIENCE)
    with pytest.raises(ConnectionResetError):
        receive_all(sock)
    assert [seen.outcome for seen in server.seen] == ["the server stopped"]
