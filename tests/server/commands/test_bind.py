"""BIND: what the client is told and when, which peers may come, and how the wait ends."""

import errno
import hashlib
import os
import socket
import threading
from contextlib import contextmanager

import pytest

from pywrap.server.record import Record
from pywrap.server.tcp import dial
from pywrap.socks.wire import Endpoint
from tests.support.destinations import known_bytes, known_digest
from tests.support.raw_sockets import Exhausted, receive, receive_all
from tests.support.servers import PATIENCE, reference_server

GREETING = b"\x05\x01\x00"
HERE = b"\x7f\x00\x00\x01"
ELSEWHERE = b"\x7f\x00\x00\x02"
RESET = b"\1\0\0\0\0\0\0\0"

NOWHERE_4 = b"\0\0" + b"\0\0\0\0"
NOWHERE_5 = b"\x00\x01" + b"\0\0\0\0" + b"\0\0"


def request_4(peer=HERE):
    return b"\x04\x02" + b"\x00\x15" + peer + b"alice\x00"


def request_4a(name=b"localhost"):
    return b"\x04\x02" + b"\x00\x15" + b"\x00\x00\x00\x01" + b"\x00" + name + b"\x00"


def request_5(peer=HERE):
    return GREETING + b"\x05\x02\x00" + (b"\x01" if len(peer) == 4 else b"\x04") + peer + b"\x00\x15"


def request_5_name(name=b"localhost"):
    return GREETING + b"\x05\x02\x00\x03" + bytes([len(name)]) + name + b"\x00\x15"


ONE = b"\0" * 15 + b"\x01"
REQUESTS = [request_4, request_4a, request_5, request_5_name]


def success(version, host, port):
    """A reply as it must come, byte for byte."""
    if version == 4:
        return b"\x00\x5a" + port.to_bytes(2, "big") + socket.inet_aton(host)
    if ":" in host:
        return b"\x05\x00\x00\x04" + socket.inet_pton(socket.AF_INET6, host) + port.to_bytes(2, "big")
    return b"\x05\x00\x00\x01" + socket.inet_aton(host) + port.to_bytes(2, "big")


def begin(sock, request, host="127.0.0.1"):
    """Send the request; return where the server listens for it, which must be on ``host``."""
    sock.sendall(request)
    if request[:1] == b"\x04":
        reply = receive(sock, 8)
        port = int.from_bytes(reply[2:4], "big")
    else:
        assert receive(sock, 2) == b"\x05\x00"
        reply = receive(sock, 22 if ":" in host else 10)
        port = int.from_bytes(reply[-2:], "big")
    assert reply == success(request[0], host, port)
    assert port
    return host, port


@pytest.fixture
def visit():
    """``visit(address, host)``: a connection to ``address`` that comes from ``host``."""
    socks = []

    def visit(address, host="127.0.0.1"):
        sock = socket.create_connection(address, PATIENCE, (host, 0))
        socks.append(sock)
        return sock

    yield visit
    for sock in socks:
        sock.close()


def met(client_sock, peer, version=5):
    """The client has the second reply, with the address of ``peer``."""
    expected = success(version, *peer.getsockname()[:2])
    assert receive(client_sock, len(expected)) == expected


def sent_away(address, host="127.0.0.1"):
    """A peer connects to ``address`` from ``host`` and is not let in; return its address."""
    with socket.socket() as stranger:
        stranger.settimeout(PATIENCE)
        stranger.bind((host, 0))
        # The RST may be faster than the return of connect().
        with pytest.raises(ConnectionResetError):
            stranger.connect(address)
            stranger.recv(1)
        return Endpoint(*stranger.getsockname())


def refuses(address):
    try:
        socket.create_connection(address, PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


@contextmanager
def ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    yield


# ---------------------------------------------------------------- two replies and a tunnel


@pytest.mark.parametrize("request_of", REQUESTS)
def test_two_replies_and_then_the_bytes(server, client, visit, request_of):
    sock = client.connect(server)
    address = begin(sock, request_of())
    peer = visit(address)
    met(sock, peer, request_of()[0])
    sock.sendall(b"from the client")
    assert receive(peer, 15) == b"from the client"
    peer.sendall(b"from the peer")
    peer.shutdown(socket.SHUT_WR)
    assert receive_all(sock) == b"from the peer"
    sock.sendall(b", and more")
    sock.close()
    assert receive_all(peer) == b", and more"
    ((record, up, down, _),) = server.wait_for_closed(1)
    assert (record.command, up, down) == ("BIND", 25, 13)


def test_a_request_one_byte_at_a_time(server, client, visit):
    sock = client.connect(server)
    for byte in request_5()[:-1]:
        sock.sendall(bytes([byte]))
    peer = visit(begin(sock, request_5()[-1:]))
    met(sock, peer)


def test_an_ipv6_peer_gets_an_ipv6_listener(server, client, visit):
    with ipv6():
        sock = client.connect(server)
        peer = visit(begin(sock, request_5(ONE), "::1"), "::1")
        met(sock, peer)
        peer.close()
        assert receive_all(sock) == b""


def test_what_the_record_shows(server, client, visit):
    sock = client.connect(server)
    address = begin(sock, request_4())
    bound = Record(4, "BIND", "127.0.0.1", 21, "alice", Endpoint(*sock.getsockname()), "", Endpoint(*address))
    assert server.seen == [bound]
    peer = visit(address)
    met(sock, peer, 4)
    (arrived,) = server.wait_for_arrived(1)
    assert arrived.answer == Endpoint(*peer.getsockname())
    assert (arrived.client, arrived.host, arrived.outcome) == (bound.client, "127.0.0.1", "")
    assert server.seen == [bound]


def test_it_listens_for_one_peer_only(server, client, visit):
    sock = client.connect(server)
    address = begin(sock, request_5())
    met(sock, visit(address))
    assert refuses(address)


def test_both_legs_are_those_of_a_tunnel(server, client, visit):
    sock = client.connect(server)
    met(sock, visit(begin(sock, request_5())))
    (session,) = server.server._sessions
    for leg in (session._stage._up.source, session._stage._up.sink):
        assert leg.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert leg.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert leg.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE)


def test_50_at_once(server, client, visit):
    socks = [client.connect(server) for _ in range(50)]
    addresses = [begin(sock, request_5()) for sock in socks]
    assert len(set(addresses)) == 50
    for sock, address in reversed(list(zip(socks, addresses, strict=True))):
        peer = visit(address)
        met(sock, peer)
        peer.sendall(b"%05d" % address[1])
    for sock, (_, port) in zip(socks, addresses, strict=True):
        assert receive(sock, 5) == b"%05d" % port


# ---------------------------------------------------------------- bytes that are early


@pytest.mark.parametrize("request_of", REQUESTS)
def test_a_peer_that_speaks_first_is_heard_after_the_reply(server, client, visit, request_of):
    sock = client.connect(server)
    peer = visit(begin(sock, request_of()))
    peer.sendall(b"220 ready")
    peer.shutdown(socket.SHUT_WR)
    expected = success(request_of()[0], *peer.getsockname()) + b"220 ready"
    assert receive_all(sock) == expected


def test_what_the_client_sends_before_anybody_came_is_for_the_peer(server, client, visit):
    sock = client.connect(server)
    address = begin(sock, request_5() + b"with the request, ")
    sock.sendall(b"after the first reply, ")
    peer = visit(address)
    met(sock, peer)
    sock.sendall(b"after the second")
    sock.shutdown(socket.SHUT_WR)
    assert receive_all(peer) == b"with the request, after the first reply, after the second"


def test_a_client_that_sends_a_lot_before_anybody_came_loses_nothing(server, client, visit):
    size = 300_000
    sock = client.connect(server)
    address = begin(sock, request_5())
    for piece in known_bytes(size):
        sock.sendall(piece)
    # That is all of it: a client that has sent something does not hang up by saying so.
    sock.shutdown(socket.SHUT_WR)
    peer = visit(address)
    met(sock, peer)
    assert hashlib.sha256(receive_all(peer)).hexdigest() == known_digest(size)
    peer.sendall(b"got it")
    peer.close()
    assert receive_all(sock) == b"got it"


def test_a_reset_reaches_the_other_end(server, client, visit):
    for breaks in 0, 1:
        sock = client.connect(server)
        peer = visit(begin(sock, request_5()))
        met(sock, peer)
        ends = [sock, peer]
        ends[breaks].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        ends[breaks].close()
        with pytest.raises(ConnectionResetError):
            ends[1 - breaks].recv(1)


# ---------------------------------------------------------------- which peers may come


def test_a_stranger_is_sent_away_and_the_peer_still_comes(server, client, visit):
    sock = client.connect(server)
    address = begin(sock, request_5(ELSEWHERE))
    strangers = [sent_away(address), sent_away(address, "127.0.0.3")]
    peer = visit(address, "127.0.0.2")
    met(sock, peer)
    peer.sendall(b"it is me")
    assert receive(sock, 8) == b"it is me"
    assert server.troubles == [
        f"{Endpoint(*sock.getsockname())}: {stranger} at {Endpoint(*address)}: "
        "sent away, not the peer of this BIND"
        for stranger in strangers
    ]


@pytest.mark.parametrize("request_", [request_4(b"\0\0\0\0"), request_5(b"\0\0\0\0")])
def test_no_address_means_anybody(server, client, visit, request_):
    sock = client.connect(server)
    peer = visit(begin(sock, request_), "127.0.0.2")
    met(sock, peer, request_[0])


def test_no_ipv6_address_means_anybody(client, visit):
    with ipv6(), reference_server(listen=[("::1", 0)]) as server:
        sock = client.connect(server)
        peer = visit(begin(sock, request_5(b"\0" * 16), "::1"), "::1")
        met(sock, peer)


def test_a_name_means_all_of_its_addresses(server, client, visit, names):
    names["peer.test"] = ["127.0.0.2", "127.0.0.3"]
    for request_ in (request_4a(b"peer.test"), request_5_name(b"peer.test")):
        for host in names["peer.test"]:
            sock = client.connect(server)
            peer = visit(begin(sock, request_), host)
            met(sock, peer, request_[0])
    assert server.troubles == []


def test_a_name_of_both_families_is_listened_for_in_the_clients(server, client, visit, names):
    names["peer.test"] = ["::1", "127.0.0.1"]
    sock = client.connect(server)
    met(sock, visit(begin(sock, request_5_name(b"peer.test"))))


def test_a_blocked_name_does_not_mean_anybody(server, client, names):
    names["blocked.test"] = ["0.0.0.0"]
    sock = client.connect(server)
    sent_away(begin(sock, request_5_name(b"blocked.test")))


# ---------------------------------------------------------------- where it listens


def test_the_peer_decides_on_which_side_of_the_machine(client, visit):
    # The client has come to 127.0.0.2; to reach 127.0.0.1, this machine would be 127.0.0.1.
    with reference_server(listen=[("127.0.0.2", 0)]) as server:
        sock = client.connect(server)
        address = begin(sock, request_5(HERE), "127.0.0.1")
        assert refuses(("127.0.0.2", address[1]))
        met(sock, visit(address))
        sock = client.connect(server)
        met(sock, visit(begin(sock, request_5(b"\0\0\0\0"), "127.0.0.2")))


def test_where_the_client_has_no_address_of_the_family_it_is_everywhere(server, client, visit):
    with ipv6(), reference_server(listen=[("::1", 0)]) as server_6:
        sock = client.connect(server)
        _, port = begin(sock, request_5(b"\0" * 16), "::")
        met(sock, visit(("::1", port), "::1"))
        # In SOCKS4, 0.0.0.0 stands for the address of the server.
        for request_ in (request_4(b"\0\0\0\0"), request_5(b"\0\0\0\0")):
            sock = client.connect(server_6)
            _, port = begin(sock, request_, "0.0.0.0")
            met(sock, visit(("127.0.0.1", port)), request_[0])


def test_an_address_of_this_machine_that_is_announced_is_listened_on(client, visit):
    with reference_server(bind_addresses=["127.0.0.3"]) as server:
        sock = client.connect(server)
        address = begin(sock, request_5(), "127.0.0.3")
        assert refuses(("127.0.0.1", address[1]))
        met(sock, visit(address))


def test_the_address_of_a_nat_is_announced_and_everywhere_listened(client, visit):
    with reference_server(bind_addresses=["192.0.2.7", "2001:db8::7"]) as server:
        for request_ in (request_4(), request_5()):
            sock = client.connect(server)
            _, port = begin(sock, request_, "192.0.2.7")
            met(sock, visit(("127.0.0.1", port)), request_[0])
        with ipv6():
            sock = client.connect(server)
            _, port = begin(sock, request_5(ONE), "2001:db8::7")
            met(sock, visit(("::1", port), "::1"))


# ---------------------------------------------------------------- the wait ends otherwise


@pytest.mark.parametrize(
    "request_, refusal",
    [(request_4(), b"\x00\x5b" + NOWHERE_4), (request_5(), b"\x05\x06" + NOWHERE_5)],
)
def test_no_peer_comes(client, request_, refusal):
    with reference_server(bind_timeout=0.01) as server:
        sock = client.connect(server)
        address = begin(sock, request_)
        assert receive_all(sock) == refusal
        assert refuses(address)
        (arrived,) = server.wait_for_arrived(1)
        assert (arrived.outcome, arrived.answer) == ("no peer came in time", None)
        assert [seen.outcome for seen in server.seen] == [""]


def test_a_refusal_survives_what_the_client_has_sent(client):
    with reference_server(bind_timeout=0.01) as server:
        sock = client.connect(server)
        sock.sendall(request_5() + bytes(100_000))
        assert receive_all(sock)[12:] == b"\x05\x06" + NOWHERE_5


@pytest.mark.parametrize("linger", [b"\0" * 8, RESET])
def test_a_client_that_hangs_up_is_not_waited_for(server, client, linger):
    sock = client.connect(server)
    address = begin(sock, request_5())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    sock.close()
    (arrived,) = server.wait_for_arrived(1)
    assert arrived.outcome == "the client went away"
    assert refuses(address)


def test_a_client_that_has_sent_something_and_dies_is_not_waited_for(server, client):
    sock = client.connect(server)
    address = begin(sock, request_5())
    sock.sendall(b"for nobody")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.shutdown(socket.SHUT_WR)
    sock.close()
    (arrived,) = server.wait_for_arrived(1)
    assert arrived.outcome == "the client went away"
    assert refuses(address)


def test_the_server_stops_in_between(client):
    with reference_server() as server:
        sock = client.connect(server)
        address = begin(sock, request_5())
    with pytest.raises(ConnectionResetError):
        sock.recv(1)
    assert refuses(address)
    assert [arrived.outcome for arrived in server.wait_for_arrived(1)] == ["the server stopped"]


# ---------------------------------------------------------------- no first reply


def first_refusal(server, client, request_):
    sock = client.connect(server)
    sock.sendall(request_)
    reply = receive_all(sock)
    return reply if request_[:1] == b"\x04" else reply[2:]


def test_a_name_that_cannot_be_resolved(server, client, names):
    names["unknown.test"] = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert first_refusal(server, client, request_5_name(b"unknown.test")) == b"\x05\x04" + NOWHERE_5
    assert first_refusal(server, client, request_4a(b"unknown.test")) == b"\x00\x5b" + NOWHERE_4
    assert {seen.outcome for seen in server.seen} == {"cannot resolve the name: name or service not known"}


def test_a_name_beyond_ascii(server, client):
    assert first_refusal(server, client, request_5_name(b"caf\xe9.test")) == b"\x05\x01" + NOWHERE_5


def test_an_ipv6_peer_has_no_place_in_socks4(server, client, names):
    names["six.test"] = ["::1"]
    assert first_refusal(server, client, request_4a(b"six.test")) == b"\x00\x5b" + NOWHERE_4
    assert [seen.outcome for seen in server.seen] == ["SOCKS4 has no words for IPv6 addresses"]


def test_a_client_that_hangs_up_while_its_peer_is_looked_up(server, client, monkeypatch):
    asked, released = threading.Event(), threading.Event()

    def hang(*_):
        asked.set()
        released.wait(PATIENCE)
        return []

    sock = client.connect(server)
    monkeypatch.setattr(dial._socket, "getaddrinfo", hang)
    sock.sendall(request_5_name())
    assert asked.wait(PATIENCE)
    sock.close()
    (seen,) = server.wait_for_seen(1)
    assert seen.outcome == "the client went away"
    released.set()


def test_a_peer_that_no_connection_comes_from(server, client):
    reply = first_refusal(server, client, request_5(b"\xff\xff\xff\xff"))
    (seen,) = server.seen
    # Depends on whether this machine has a default route.
    assert (reply[1], seen.outcome) in [(2, "permission denied"), (3, "network is unreachable")]


# ---------------------------------------------------------------- descriptors

TOO_MANY = os.strerror(errno.EMFILE)[0].lower() + os.strerror(errno.EMFILE)[1:]


def test_no_descriptor_for_the_listener(server, client):
    sock = client.connect(server)
    sock.sendall(GREETING)
    assert receive(sock, 2) == b"\x05\x00"
    with Exhausted(room=0):
        sock.sendall(request_5()[3:])
        assert receive_all(sock) == b"\x05\x01" + NOWHERE_5
    assert [seen.outcome for seen in server.seen] == [TOO_MANY]


def test_no_descriptor_for_the_peer(server, client):
    sock = client.connect(server)
    address = begin(sock, request_5())
    with socket.socket() as peer:
        with Exhausted(room=0):
            peer.connect_ex(address)
            assert receive_all(sock) == b"\x05\x01" + NOWHERE_5
    assert [arrived.outcome for arrived in server.wait_for_arrived(1)] == [TOO_MANY]


def test_it_leaves_no_descriptor(client):
    before = os.listdir("/proc/self/fd")
    with reference_server() as server:
        sock = client.connect(server)
        sent_away(begin(sock, request_5(ELSEWHERE)))
        begin(client.connect(server), request_5())
    client.close()
    assert os.listdir("/proc/self/fd") == before
