"""What a client sends and what it is answered, byte by byte."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.server.record import Record
from pywrap.socks.wire import Endpoint
from tests.support.raw_sockets import Target, receive, receive_all
from tests.support.servers import reference_server

GREETING = b"\x05\x01\x00"


def request_4(target):
    return b"\x04\x01" + target.port_bytes + b"\x7f\x00\x00\x01" + b"alice\x00"


def request_4a(target):
    return b"\x04\x01" + target.port_bytes + b"\x00\x00\x00\x01" + b"\x00" + b"localhost\x00"


def request_5(target):
    return GREETING + b"\x05\x01\x00\x01" + b"\x7f\x00\x00\x01" + target.port_bytes


def request_5_name(target):
    return GREETING + b"\x05\x01\x00\x03" + b"\x09localhost" + target.port_bytes


def request_5_ipv6(target):
    return GREETING + b"\x05\x01\x00\x04" + b"\0" * 15 + b"\x01" + target.port_bytes


REQUESTS = [request_4, request_4a, request_5, request_5_name]


def receive_success(sock, version):
    """Read what a client of that version is told before its tunnel; return the bound port."""
    if version == 4:
        reply = receive(sock, 8)
        assert reply[:2] == b"\x00\x5a"
        assert reply[4:] == b"\x7f\x00\x00\x01"
        return int.from_bytes(reply[2:4], "big")
    assert receive(sock, 2) == b"\x05\x00"
    reply = receive(sock, 10)
    assert reply[:8] == b"\x05\x00\x00\x01" + b"\x7f\x00\x00\x01"
    return int.from_bytes(reply[8:], "big")


@pytest.mark.parametrize("request_of", REQUESTS)
def test_everything_in_one_segment(server, target, client, request_of):
    message = request_of(target)
    sock = client.connect(server)
    sock.sendall(message + b"first data")
    port = receive_success(sock, message[0])
    peer = target.accept()
    assert receive(peer, 10) == b"first data"
    assert peer.getpeername() == ("127.0.0.1", port)
    peer.sendall(b"answer")
    assert receive(sock, 6) == b"answer"


@pytest.mark.parametrize("request_of", REQUESTS)
def test_one_byte_at_a_time(server, target, client, request_of):
    message = request_of(target)
    sock = client.connect(server)
    for byte in message + b"first data":
        sock.sendall(bytes([byte]))
    receive_success(sock, message[0])
    assert receive(target.accept(), 10) == b"first data"


def test_a_client_that_waits_for_each_answer(server, target, client):
    sock = client.connect(server)
    sock.sendall(GREETING)
    assert receive(sock, 2) == b"\x05\x00"
    sock.sendall(b"\x05\x01\x00\x01" + target.address)
    assert receive(sock, 4) == b"\x05\x00\x00\x01"


@pytest.mark.parametrize("request_of", REQUESTS)
def test_every_truncation_is_hung_up_on(server, target, client, request_of):
    message = request_of(target)
    for cut in range(1, len(message)):
        sock = client.connect(server)
        sock.sendall(message[:cut])
        sock.shutdown(socket.SHUT_WR)
        assert receive_all(sock) in (b"", b"\x05\x00")
    assert server.seen == []
    assert server.troubles == [
        f"{trouble.rpartition(': ')[0]}: the client hung up before its request was complete"
        for trouble in server.troubles
    ]
    assert len(server.troubles) == len(message) - 1


def test_a_look_whether_the_port_is_open_is_not_worth_a_word(server, client):
    sock = client.connect(server)
    sock.shutdown(socket.SHUT_WR)
    assert receive_all(sock) == b""
    assert server.troubles == []


@pytest.mark.parametrize("host", [b"::1", b"[::1]"])
@pytest.mark.parametrize("version", [4, 5])
def test_an_ipv6_address_as_a_name(client, host, version):
    # apt, msmtp, Chromium and Firefox send it bare; socat 1.8 and undici as in a URL.
    try:
        target = Target(socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with reference_server() as server:
        sock = client.connect(server)
        if version == 5:
            sock.sendall(GREETING + b"\x05\x01\x00\x03" + bytes([len(host)]) + host + target.port_bytes)
            assert receive(sock, 6) == b"\x05\x00" + b"\x05\x00\x00\x04"
        else:
            sock.sendall(b"\x04\x01" + target.port_bytes + b"\0\0\0\1" + b"\0" + host + b"\0")
            assert receive(sock, 2) == b"\x00\x5a"
        target.accept()
        assert server.asked == [("CONNECT", "::1", target.port)]
    target.close()


@pytest.mark.parametrize(
    "message, refusal",
    [
        (b"\x04\x01" + b"\x00\x50" + b"\0\0\0\0" + b"\0", b"\x00\x5b"),
        (b"\x04\x01" + b"\x00\x50" + b"\0\0\0\1" + b"\0" + b"0.0.0.0\0", b"\x00\x5b"),
        (GREETING + b"\x05\x01\x00\x01" + b"\0\0\0\0" + b"\x00\x50", b"\x05\x00" + b"\x05\x02"),
        (GREETING + b"\x05\x01\x00\x04" + b"\0" * 16 + b"\x00\x50", b"\x05\x00" + b"\x05\x02"),
        (GREETING + b"\x05\x01\x00\x03" + b"\x04[::]" + b"\x00\x50", b"\x05\x00" + b"\x05\x02"),
    ],
)
def test_the_unspecified_address_is_not_this_machine(server, client, message, refusal):
    sock = client.connect(server)
    sock.sendall(message)
    assert receive_all(sock).startswith(refusal)


def test_ipv6(client):
    if not socket.has_ipv6:
        pytest.skip("no IPv6 in this Python")
    try:
        target = Target(socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with reference_server(listen=[("::1", 0)]) as server:
        sock = client.connect(server)
        sock.sendall(request_5_ipv6(target))
        assert receive(sock, 2) == b"\x05\x00"
        reply = receive(sock, 22)
        assert reply[:20] == b"\x05\x00\x00\x04" + b"\0" * 15 + b"\x01"
        peer = target.accept()
        assert peer.getpeername()[1] == int.from_bytes(reply[20:], "big")
        assert server.asked == [("CONNECT", "::1", target.port)]
    target.close()


def test_the_record_of_a_request(server, target, client):
    sock = client.connect(server)
    sock.sendall(request_4(target))
    receive_success(sock, 4)
    assert server.seen == [
        Record(4, "CONNECT", "127.0.0.1", target.port, "alice", Endpoint(*sock.getsockname()), "")
    ]


def test_a_request_is_recorded_before_it_is_answered(server, target, client):
    for count in range(1, 20):
        client.tunnel(server, target)
        assert len(server.seen) == count


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("command, name", [(0, "0"), (255, "255")])
def test_commands_that_are_not_served(server, client, command, name):
    sock = client.connect(server)
    sock.sendall(GREETING + bytes([5, command, 0, 1]) + b"\x7f\x00\x00\x01" + b"\x00\x50")
    assert receive_all(sock) == b"\x05\x00" + b"\x05\x07\x00\x01" + b"\0\0\0\0" + b"\0\0"
    sock = client.connect(server)
    sock.sendall(bytes([4, command]) + b"\x00\x50" + b"\x7f\x00\x00\x01" + b"\x00")
    assert receive_all(sock) == b"\x00\x5b" + b"\0\0" + b"\0\0\0\0"
    assert [(seen.command, seen.outcome) for seen in server.seen] == [(name, "command not supported")] * 2


@pytest.mark.parametrize(
    "destination, code",
    [
        (b"\x02" + b"\x7f\x00\x00\x01" + b"\x00\x50", 8),  # an unknown address type
        (b"\x03" + b"\x00" + b"\x00\x50", 1),  # an empty name
        (b"\x03" + b"\x09local\0org" + b"\x00\x50", 1),
        (b"\x03" + b"\x07\xc3\xa4.test" + b"\x00\x50", 1),  # beyond ASCII
    ],
)
def test_destinations_that_are_none(server, client, destination, code):
    sock = client.connect(server)
    sock.sendall(GREETING + b"\x05\x01\x00" + destination)
    assert receive_all(sock) == b"\x05\x00" + bytes([5, code]) + b"\x00\x01" + b"\0\0\0\0" + b"\0\0"


def test_a_refused_connection(server, client, refusing_port):
    port = refusing_port.to_bytes(2, "big")
    sock = client.connect(server)
    sock.sendall(GREETING + b"\x05\x01\x00\x01" + b"\x7f\x00\x00\x01" + port)
    assert receive_all(sock) == b"\x05\x00" + b"\x05\x05\x00\x01" + b"\0\0\0\0" + b"\0\0"
    sock = client.connect(server)
    sock.sendall(b"\x04\x01" + port + b"\x7f\x00\x00\x01" + b"\x00")
    assert receive_all(sock) == b"\x00\x5b" + b"\0\0" + b"\0\0\0\0"
    assert [seen.outcome for seen in server.seen] == ["connection refused"] * 2


def test_a_refusal_survives_what_the_client_goes_on_sending(server, client, refusing_port):
    sock = client.connect(server)
    port = refusing_port.to_bytes(2, "big")
    # More than one read: what the server left unread would turn its close into a RST.
    sock.sendall(GREETING + b"\x05\x01\x00\x01" + b"\x7f\x00\x00\x01" + port + bytes(100_000))
    assert receive_all(sock) == b"\x05\x00" + b"\x05\x05\x00\x01" + b"\0\0\0\0" + b"\0\0"


@pytest.mark.parametrize(
    "start, guess",
    [
        (b"GET / HTTP/1.1\r\n\r\n", "its first byte is 0x47 (probably an HTTP request)"),
        (b"\x16\x03\x01", "its first byte is 0x16 (probably TLS)"),
        (b"\x00", "its first byte is 0x00"),
    ],
)
def test_other_protocols_get_no_answer(server, client, start, guess):
    sock = client.connect(server)
    sock.sendall(start)
    assert receive_all(sock) == b""
    (trouble,) = server.wait_for_troubles(1)
    assert trouble.endswith(guess)


def test_a_client_that_stalls_is_dropped(client):
    with reference_server(handshake_timeout=0.01) as server:
        sock = client.connect(server)
        sock.sendall(GREETING + b"\x05")
        assert receive_all(sock) in (b"", b"\x05\x00")
        (trouble,) = server.wait_for_troubles(1)
        assert "too slow" in trouble


def test_a_reset_in_the_handshake(server, client):
    sock = client.connect(server)
    sock.sendall(GREETING)
    assert receive(sock, 2) == b"\x05\x00"
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
    (trouble,) = server.wait_for_troubles(1)
    assert "lost in the handshake" in trouble


# ---------------------------------------------------------------- passwords

USERS = {b"alice": b"secret", "björn".encode(): "pässwort".encode()}


@pytest.fixture
def guarded():
    with reference_server(users=USERS) as running:
        yield running


@pytest.mark.parametrize(
    "credentials",
    [b"\x01" + b"\x05alice" + b"\x06secret", b"\x01" + b"\x06bj\xc3\xb6rn" + b"\x09p\xc3\xa4sswort"],
)
@pytest.mark.parametrize("methods", [b"\x05\x01\x02", b"\x05\x02\x00\x02", b"\x05\x03\x01\x02\x80"])
def test_a_good_password(guarded, target, client, methods, credentials):
    sock = client.connect(guarded)
    sock.sendall(methods + credentials + b"\x05\x01\x00\x01" + target.address)
    assert receive(sock, 2) == b"\x05\x02"
    assert receive(sock, 2) == b"\x01\x00"
    assert receive(sock, 4) == b"\x05\x00\x00\x01"
    assert [seen.user.encode() for seen in guarded.seen] == [credentials[2 : 2 + credentials[1]]]


@pytest.mark.parametrize(
    "credentials",
    [
        b"\x01" + b"\x05alice" + b"\x06secreT",
        b"\x01" + b"\x05alice" + b"\x00",
        b"\x01" + b"\x05Alice" + b"\x06secret",
        b"\x01" + b"\x00" + b"\x00",
    ],
)
def test_a_bad_password(guarded, target, client, credentials):
    sock = client.connect(guarded)
    sock.sendall(b"\x05\x01\x02" + credentials + b"\x05\x01\x00\x01" + target.address)
    assert receive_all(sock) == b"\x05\x02" + b"\x01\x01"
    (trouble,) = guarded.wait_for_troubles(1)
    assert "secre" not in trouble


def test_no_password_where_one_is_asked_for(guarded, target, client):
    sock = client.connect(guarded)
    sock.sendall(request_5(target))
    assert receive_all(sock) == b"\x05\xff"
    sock = client.connect(guarded)
    sock.sendall(request_4(target))
    assert receive_all(sock) == b"\x00\x5b" + b"\0\0" + b"\0\0\0\0"
    assert guarded.seen == []


def test_a_password_that_is_not_asked_for_is_not_looked_at(server, target, client):
    # Qt offers nothing else once it was given a user.
    sock = client.connect(server)
    sock.sendall(b"\x05\x01\x02" + b"\x01" + b"\x05alice" + b"\x06secret")
    assert receive(sock, 4) == b"\x05\x02" + b"\x01\x00"
    sock.sendall(b"\x05\x01\x00\x01" + target.address)
    assert receive(sock, 4) == b"\x05\x00\x00\x01"
    assert [seen.user for seen in server.seen] == [""]


def test_methods_that_do_not_exist_here(server, client):
    sock = client.connect(server)
    sock.sendall(b"\x05\x02\x01\x80")
    assert receive_all(sock) == b"\x05\xff"
    sock = client.connect(server)
    sock.sendall(b"\x05\x00")
    assert receive_all(sock) == b"\x05\xff"


# ---------------------------------------------------------------- anything at all


@pytest.fixture(scope="module")
def lasting_server():
    with reference_server() as running:
        yield running


@given(
    st.binary(min_size=1, max_size=40).filter(lambda data: data[1:2] != b"\x01" and data[3:5] != b"\x05\x01")
)
def test_garbage_ends_that_connection_only(lasting_server, data):
    with socket.create_connection(lasting_server.address, 30) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        receive_all(sock)
