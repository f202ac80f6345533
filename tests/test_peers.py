"""Our client's half of the protocol against servers that others wrote."""

from __future__ import annotations

import contextlib
import errno
import socket

import pytest

from pywrap.errors import AuthenticationFailed, ProtocolError, ProxyClosed, Rejected, to_oserror
from pywrap.socks import datagram, v4, v5
from pywrap.socks.wire import Endpoint
from tests.support import destinations, peers
from tests.support.play import echoes, hold

SECONDS = 20


@pytest.fixture
def local_server():
    """An echo server where ``localhost`` leads: on some machines that is ::1."""
    address = socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)[0][4][0]
    with destinations.echo_server(address) as server:
        yield server


def test_socks5_to_an_ipv4_address(peer, reach, echo_server):
    assert echoes(reach(peer, v5.connect(Endpoint("127.0.0.1", echo_server.port))))
    assert len(echo_server.seen) == 1


def test_socks5_to_a_name(peer, reach, local_server):
    assert echoes(reach(peer, v5.connect(Endpoint("localhost", local_server.port))))


def test_socks5_to_an_ipv6_address(peer, reach):
    with destinations.echo_server("::1") as echo_server:
        assert echoes(reach(peer, v5.connect(Endpoint("::1", echo_server.port))))


@pytest.mark.parametrize("server", ["dante", "ssh_dynamic"])
def test_socks4_to_an_ipv4_address(server, request, reach, echo_server):
    peer = request.getfixturevalue(server)
    assert echoes(reach(peer, v4.connect(Endpoint("127.0.0.1", echo_server.port), b"alice")))


def test_socks4a_to_a_name(ssh_dynamic, reach, local_server):
    assert echoes(reach(ssh_dynamic, v4.connect(Endpoint("localhost", local_server.port))))


def test_socks4a_to_a_server_without_it(dante, reach, local_server):
    with pytest.raises(Rejected):
        reach(dante, v4.connect(Endpoint("localhost", local_server.port)))
    assert local_server.seen == []


def test_socks4_to_a_server_without_it(microsocks, reach, echo_server):
    # Hung up on, or answered in the words of SOCKS5: never taken for a connection.
    with pytest.raises((ProxyClosed, ProtocolError)):
        reach(microsocks, v4.connect(Endpoint("127.0.0.1", echo_server.port)))
    assert echo_server.seen == []


def test_a_server_that_speaks_first_loses_nothing(peer, reach, greeting_server):
    sock = reach(peer, v5.connect(Endpoint("127.0.0.1", greeting_server.port)))
    assert sock.recv(len(destinations.BANNER), socket.MSG_WAITALL) == destinations.BANNER


@pytest.mark.parametrize("server", ["microsocks", "dante"])
def test_a_refused_connection_over_socks5(server, request, reach, refusing_port):
    peer = request.getfixturevalue(server)
    with pytest.raises(Rejected) as caught:
        reach(peer, v5.connect(Endpoint("127.0.0.1", refusing_port)))
    assert caught.value.code == v5.CONNECTION_REFUSED
    assert isinstance(to_oserror(caught.value), ConnectionRefusedError)


def test_a_refused_connection_over_socks4(dante, reach, refusing_port):
    with pytest.raises(Rejected) as caught:
        reach(dante, v4.connect(Endpoint("127.0.0.1", refusing_port)))
    assert caught.value.code == v4.REJECTED
    assert caught.value.errno == errno.ECONNREFUSED


def test_ssh_has_no_reply_for_a_refused_connection(ssh_dynamic, reach, refusing_port):
    with pytest.raises(ProxyClosed) as caught:
        reach(ssh_dynamic, v5.connect(Endpoint("127.0.0.1", refusing_port)))
    assert isinstance(to_oserror(caught.value), ConnectionResetError)


def test_a_password_for_a_server_that_asks_for_one(microsocks_with_password, reach, echo_server):
    here = Endpoint("127.0.0.1", echo_server.port)
    assert echoes(reach(microsocks_with_password, v5.connect(here, b"alice", b"secret")))


@pytest.mark.parametrize(
    "credentials", [(b"alice", b"wrong"), (b"bob", b"secret"), (b"alice", None), (None, None)]
)
def test_a_wrong_password(credentials, microsocks_with_password, reach, echo_server):
    with pytest.raises(AuthenticationFailed):
        reach(microsocks_with_password, v5.connect(Endpoint("127.0.0.1", echo_server.port), *credentials))
    assert echo_server.seen == []


def test_a_password_for_a_server_that_asks_for_none(peer, reach, echo_server):
    assert echoes(reach(peer, v5.connect(Endpoint("127.0.0.1", echo_server.port), b"alice", b"secret")))


def test_names_that_no_server_was_made_for(peer, reach, local_server):
    """A 255-byte name is refused or leads nowhere; it must not confuse the dialogue."""
    try:
        sock = reach(peer, v5.connect(Endpoint("n" * 255, local_server.port)))
    except (Rejected, ProxyClosed):
        pass
    else:
        assert sock.recv(1) == b""
    assert echoes(reach(peer, v5.connect(Endpoint("localhost", local_server.port))))


# ---------------------------------------------------------------- BIND and UDP ASSOCIATE


@pytest.fixture
def bind(dante):
    """``bind(v, expected)``: the connection on which Dante was asked to BIND, and where it listens."""
    sockets = []

    def bind(v, expected):
        sock = socket.create_connection((dante.host, dante.port), timeout=SECONDS)
        sockets.append(sock)
        return sock, hold(v.request(v.BIND, expected), sock)

    yield bind
    for sock in sockets:
        sock.close()


@pytest.mark.parametrize(
    ("v", "expected", "host"),
    [
        (v4, "127.0.0.1", "127.0.0.1"),
        (v4, "0.0.0.0", "127.0.0.1"),
        (v5, "127.0.0.1", "127.0.0.1"),
        (v5, "0.0.0.0", "127.0.0.1"),
        (v5, "::1", "::1"),
    ],
)
def test_bind_has_two_replies_and_then_the_bytes(bind, v, expected, host):
    sock, bound = bind(v, Endpoint(expected, 0))
    assert bound.host == host
    with socket.create_connection((bound.host, bound.port), timeout=SECONDS) as visitor:
        visitor.sendall(b"220 ready")
        assert hold(v.read_reply(), sock) == Endpoint(*visitor.getsockname()[:2])
        assert sock.recv(9, socket.MSG_WAITALL) == b"220 ready"
        sock.sendall(b"QUIT")
        assert visitor.recv(4, socket.MSG_WAITALL) == b"QUIT"


@pytest.mark.parametrize("v", [v4, v5])
def test_a_stranger_ends_a_bind(bind, v):
    sock, bound = bind(v, Endpoint("127.0.0.2", 21))
    with socket.socket() as stranger:
        stranger.connect_ex((bound.host, bound.port))
        with pytest.raises(Rejected):
            hold(v.read_reply(), sock)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_datagrams_through_an_association(dante, host):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        socket.create_connection((dante.host, dante.port), timeout=SECONDS) as control,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(family, socket.SOCK_DGRAM) as theirs,
    ):
        ours.settimeout(SECONDS)
        theirs.settimeout(SECONDS)
        theirs.bind((host, 0))
        there = Endpoint(*theirs.getsockname()[:2])
        relay = hold(v5.request(v5.UDP_ASSOCIATE, Endpoint("0.0.0.0", 0)), control)
        ours.sendto(datagram.pack_header(there) + b"are you there", (relay.host, relay.port))
        received, sender = theirs.recvfrom(100)
        assert received == b"are you there"
        theirs.sendto(b"yes", sender)
        assert ours.recv(100) == datagram.pack_header(there) + b"yes"


# ---------------------------------------------------------------- the helpers themselves


def test_a_missing_server_names_its_package():
    with pytest.raises(peers.Missing, match="apt-get install no-such-package"):
        peers.find("no-such-server", package="no-such-package")


def test_a_server_that_gives_up_is_quoted():
    def command(port, directory):
        return ["sh", "-c", "echo bad line 7 >&2; exit 3"]

    with pytest.raises(peers.DidNotStart, match="(?s)ended with status 3; it said:\nbad line 7"):
        with peers._peer("sh", command):
            pass


def test_a_server_is_gone_after_its_context():
    with contextlib.ExitStack() as stack:
        try:
            peer = stack.enter_context(peers.microsocks())
        except peers.Missing as err:
            pytest.skip(str(err))
        socket.create_connection((peer.host, peer.port), timeout=SECONDS).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((peer.host, peer.port), timeout=SECONDS)


def test_dante_writes_down_what_it_did(dante, reach, echo_server):
    assert echoes(reach(dante, v5.connect(Endpoint("127.0.0.1", echo_server.port))))
    assert f"127.0.0.1.{echo_server.port}" in dante.log.read_text()
