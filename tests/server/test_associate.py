"""UDP ASSOCIATE, as the bytes on its three sockets: the client's two, and those of its peers."""

import contextlib
import socket

import pytest

from pywrap.server.outbound import UdpRules
from tests.server.conftest import receive, receive_all
from tests.servers import PATIENCE, reference_server

GREETING = b"\x05\x01\x00"
NOWHERE = b"\x00\x00\x00\x00" + b"\x00\x00"


class Peer:
    """A UDP socket of the test, and its address as datagrams carry it."""

    def __init__(self, host="127.0.0.1", port=0):
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.settimeout(PATIENCE)
        self.sock.bind((host, port))
        self.host, self.port = self.sock.getsockname()[:2]

    @property
    def port_bytes(self):
        return self.port.to_bytes(2, "big")

    @property
    def address(self):
        """ATYP, the address, the port."""
        packed = socket.inet_pton(self.sock.family, self.host)
        return (b"\x01" if len(packed) == 4 else b"\x04") + packed + self.port_bytes

    def receive(self):
        data, source = self.sock.recvfrom(65536)
        return data, source[:2]

    def is_silent(self):
        """Nothing has arrived."""
        self.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            raise AssertionError(self.sock.recvfrom(65536))
        self.sock.settimeout(PATIENCE)
        return True


class Association:
    """A client's two sockets, and where the server takes its datagrams."""

    def __init__(self, tcp, udp, relay):
        self.tcp = tcp
        self.udp = udp
        self.relay = relay

    def send(self, datagram):
        self.udp.sock.sendto(datagram, self.relay)

    def receive(self):
        data, source = self.udp.receive()
        assert source == self.relay
        return data


@pytest.fixture
def peers():
    with contextlib.ExitStack() as stack:

        def make(host="127.0.0.1", port=0):
            try:
                peer = Peer(host, port)
            except OSError:
                if ":" in host:
                    pytest.skip("no IPv6 on this machine")
                raise
            stack.callback(peer.sock.close)
            return peer

        yield make


@pytest.fixture
def peer(peers):
    return peers()


@pytest.fixture
def associate(client, peers):
    def associate(server, announced=b"\x01" + NOWHERE, udp=None):
        tcp = client.connect(server)
        tcp.sendall(GREETING + b"\x05\x03\x00" + announced)
        assert receive(tcp, 2) == b"\x05\x00"
        assert receive(tcp, 3) == b"\x05\x00\x00"
        size = {1: 4, 4: 16}[receive(tcp, 1)[0]]
        family = socket.AF_INET if size == 4 else socket.AF_INET6
        host = socket.inet_ntop(family, receive(tcp, size))
        port = int.from_bytes(receive(tcp, 2), "big")
        return Association(tcp, udp or peers(server.host), (host, port))

    return associate


@pytest.fixture
def association(server, associate):
    return associate(server)


def test_a_datagram_and_its_answer(server, association, peer):
    association.send(b"\0\0\0" + peer.address + b"hello")
    data, source = peer.receive()
    assert data == b"hello"
    peer.sock.sendto(b"hello yourself", source)
    assert association.receive() == b"\0\0\0" + peer.address + b"hello yourself"
    assert server.asked == [("UDP ASSOCIATE", "0.0.0.0", 0)]
    assert server.udp_peers == [("127.0.0.1", peer.port)]


def test_a_name_is_resolved_here_and_the_answer_has_its_address(server, association, peer):
    association.send(b"\0\0\0" + b"\x03" + b"\x09localhost" + peer.port_bytes + b"hello")
    data, source = peer.receive()
    assert data == b"hello"
    peer.sock.sendto(b"hello yourself", source)
    assert association.receive() == b"\0\0\0" + peer.address + b"hello yourself"
    assert server.udp_peers == [("localhost", peer.port)]


def test_ipv6(associate, peers):
    peer = peers("::1")
    with reference_server(listen=[("::1", 0)]) as server:
        association = associate(server)
        assert association.relay[0] == "::1"
        association.send(b"\0\0\0" + b"\x04" + b"\0" * 15 + b"\x01" + peer.port_bytes + b"hello")
        data, source = peer.receive()
        assert data == b"hello"
        peer.sock.sendto(b"hello yourself", source)
        assert association.receive() == b"\0\0\0" + peer.address + b"hello yourself"
        assert server.asked == [("UDP ASSOCIATE", "0.0.0.0", 0)]


def test_socks4_has_no_datagrams(server, client):
    sock = client.connect(server)
    sock.sendall(b"\x04\x03" + b"\x00\x50" + b"\x7f\x00\x00\x01" + b"\x00")
    assert receive_all(sock) == b"\x00\x5b" + b"\0\0" + b"\0\0\0\0"
    assert [(seen.command, seen.outcome) for seen in server.seen] == [
        ("UDP ASSOCIATE", "command not supported")
    ]


def test_a_server_without_udp(client):
    with reference_server(udp=UdpRules(enabled=False)) as server:
        sock = client.connect(server)
        sock.sendall(GREETING + b"\x05\x03\x00\x01" + NOWHERE)
        assert receive_all(sock) == b"\x05\x00" + b"\x05\x07\x00\x01" + NOWHERE
        assert [seen.outcome for seen in server.seen] == ["command not supported"]
