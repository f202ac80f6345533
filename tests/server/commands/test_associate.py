"""UDP ASSOCIATE, as the bytes on its three sockets: the client's two, and those of its peers."""

import contextlib
import itertools
import os
import socket
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.server import server as server_module
from pywrap.server.udp.batch import PlainBatch
from pywrap.server.udp.mmsg import KernelBatch
from pywrap.server.udp.outbound import UdpRules
from tests.support.raw_sockets import Exhausted, receive, receive_all
from tests.support.servers import PATIENCE, reference_server

GREETING = b"\x05\x01\x00"
# From linux/udp.h.
UDP_SEGMENT = 103

NOWHERE = b"\x00\x00\x00\x00" + b"\x00\x00"


@pytest.fixture(autouse=True, params=[KernelBatch, PlainBatch])
def batch(request, monkeypatch):
    """All of it holds with one system call for many datagrams, and with one for each."""
    monkeypatch.setattr(server_module, "make_batch", request.param)


def port_without_listeners():
    """A port at which nothing listens on the addresses that the tests use: some of them have to be silent."""
    while True:
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            port = 0
            for host in "127.0.0.1", "127.0.0.2", "127.0.0.3":
                sock = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
                sock.bind((host, port))
                port = sock.getsockname()[1]
            return port


class Peer:
    """A UDP socket of the test, and its address as datagrams carry it."""

    def __init__(self, host="127.0.0.1", port=0):
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.settimeout(PATIENCE)
        self.sock.bind((host, port or port_without_listeners()))
        self.host, self.port = self.sock.getsockname()[:2]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

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
                return stack.enter_context(Peer(host, port))
            except OSError:
                if ":" in host:
                    pytest.skip("no IPv6 on this machine")
                raise

        yield make


@pytest.fixture
def peer(peers):
    return peers()


def open_association(tcp, udp, announced=b"\x01" + NOWHERE):
    tcp.sendall(GREETING + b"\x05\x03\x00" + announced)
    assert receive(tcp, 2) == b"\x05\x00"
    assert receive(tcp, 3) == b"\x05\x00\x00"
    family, size = {1: (socket.AF_INET, 4), 4: (socket.AF_INET6, 16)}[receive(tcp, 1)[0]]
    host = socket.inet_ntop(family, receive(tcp, size))
    return Association(tcp, udp, (host, int.from_bytes(receive(tcp, 2), "big")))


@pytest.fixture
def associate(client, peers):
    def associate(server, announced=b"\x01" + NOWHERE, udp=None):
        tcp = client.connect(server)
        return open_association(tcp, udp or peers(tcp.getsockname()[0]), announced)

    return associate


@pytest.fixture
def association(server, associate):
    return associate(server)


def dropped(server, association):
    """What was dropped until now, which ends the association."""
    association.tcp.close()
    ((_, traffic, _),) = server.wait_for_udp_closed(1)
    return traffic.dropped


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


# ---------------------------------------------------------------- destinations


def test_many_peers_at_once(server, association, peers):
    everyone = [peers() for _ in range(20)]
    for number, peer in enumerate(everyone):
        association.send(b"\0\0\0" + peer.address + b"%d" % number)
    sources = set()
    for number, peer in enumerate(everyone):
        data, source = peer.receive()
        assert data == b"%d" % number
        sources.add(source)
        peer.sock.sendto(b"answer %d" % number, source)
    # All of them see one and the same client.
    assert len(sources) == 1
    answers = {association.receive() for _ in everyone}
    assert answers == {b"\0\0\0" + peer.address + b"answer %d" % n for n, peer in enumerate(everyone)}
    assert server.udp_peers == [(peer.host, peer.port) for peer in everyone]


def test_both_families_in_one_association(server, association, peers):
    for peer in (peers("127.0.0.1"), peers("::1"), peers("127.0.0.2")):
        association.send(b"\0\0\0" + peer.address + b"hello")
        data, source = peer.receive()
        assert data == b"hello"
        peer.sock.sendto(b"yes", source)
        assert association.receive() == b"\0\0\0" + peer.address + b"yes"


def test_a_mapped_address_is_ipv4(association, peer):
    mapped = b"\x04" + b"\0" * 10 + b"\xff\xff" + b"\x7f\x00\x00\x01" + peer.port_bytes
    association.send(b"\0\0\0" + mapped + b"hello")
    data, source = peer.receive()
    assert data == b"hello"
    peer.sock.sendto(b"yes", source)
    assert association.receive() == b"\0\0\0" + peer.address + b"yes"


@pytest.mark.parametrize("size", [0, 1, 1200, 9000, 65507 - 10])
def test_sizes(association, peer, size):
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    association.send(b"\0\0\0" + peer.address + payload)
    data, source = peer.receive()
    assert data == payload
    peer.sock.sendto(payload, source)
    assert association.receive() == b"\0\0\0" + peer.address + payload


def test_an_answer_without_room_for_its_header_is_dropped(server, association, peer):
    association.send(b"\0\0\0" + peer.address + b"hello")
    _, source = peer.receive()
    peer.sock.sendto(bytes(65507 - 9), source)
    peer.sock.sendto(b"short", source)
    assert association.receive() == b"\0\0\0" + peer.address + b"short"
    assert dropped(server, association) == {"not sent: message too long": 1}


def test_a_name_too_long_for_its_payload_to_come_back_still_goes_out(association, peer):
    association.send(b"\0\0\0" + b"\x03" + b"\x09localhost" + peer.port_bytes + bytes(65507 - 16))
    assert peer.receive()[0] == bytes(65507 - 16)


@pytest.mark.parametrize(
    "destination",
    [
        b"\x01" + b"\xe0\x00\x00\x01" + b"\x00\x35",  # all hosts
        b"\x01" + b"\xef\xff\xff\xfa" + b"\x07\x6c",  # SSDP
        b"\x01" + b"\xff\xff\xff\xff" + b"\x00\x35",
        b"\x01" + b"\x00\x00\x00\x00" + b"\x00\x35",
        b"\x04" + b"\xff\x02" + b"\0" * 13 + b"\x01" + b"\x00\x35",
        b"\x04" + b"\0" * 16 + b"\x00\x35",
        b"\x04" + b"\0" * 10 + b"\xff\xff" + b"\xe0\x00\x00\x01" + b"\x00\x35",
        b"\x03" + b"\x09224.0.0.1" + b"\x00\x35",
    ],
)
def test_what_is_not_one_host_is_not_sent_to(server, association, peer, destination):
    association.send(b"\0\0\0" + destination + b"hello")
    # Handled in order: when the second has arrived, the first was dropped.
    association.send(b"\0\0\0" + peer.address + b"hello")
    peer.receive()
    assert dropped(server, association) == {"not to one host": 1}


def test_errors_of_sending_are_for_that_datagram_alone(server, association, peer):
    association.send(b"\0\0\0" + b"\x01" + b"\x7f\x00\x00\x01" + b"\x00\x00" + b"to port 0")
    association.send(b"\0\0\0" + b"\x01" + b"\x7f\xff\xff\xff" + b"\x00\x35" + b"broadcast of loopback")
    association.send(b"\0\0\0" + peer.address + b"hello")
    assert peer.receive()[0] == b"hello"
    assert dropped(server, association) == {
        "not sent: invalid argument": 1,
        "not sent: permission denied": 1,
    }


def test_a_destination_that_is_not_there_does_not_disturb_the_others(server, association, peers):
    nobody, peer = peers(), peers()
    # Bound, so that no process gets the port, and connected elsewhere: it takes nothing from the server.
    nobody.sock.connect(("127.0.0.1", 9))
    for number in range(50):
        association.send(b"\0\0\0" + nobody.address + b"hello?")
        association.send(b"\0\0\0" + peer.address + b"%d" % number)
        data, source = peer.receive()
        assert data == b"%d" % number
        peer.sock.sendto(data, source)
        assert association.receive() == b"\0\0\0" + peer.address + data
    assert dropped(server, association) == {}


# ---------------------------------------------------------------- names


class Addresses:
    """What the resolver says in place of getaddrinfo(), and what it has been asked for."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []
        self.go_on = threading.Event()
        self.go_on.set()

    def __call__(self, host, port, *_):
        assert self.go_on.wait(PATIENCE)
        answer = self.answers.get(host.decode())
        self.asked.append(host.decode())
        if answer is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6, 0, 0, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, 0, 0, "", (address, port))
            for address in answer
        ]


@pytest.fixture
def addresses(monkeypatch):
    def set_up(**answers):
        addresses = Addresses(answers)
        monkeypatch.setattr("pywrap.server.tcp.dial._socket.getaddrinfo", addresses)
        return addresses

    return set_up


def named(name, peer):
    return b"\0\0\0" + b"\x03" + bytes([len(name)]) + name + peer.port_bytes


def test_datagrams_wait_for_their_name_and_others_do_not(server, association, peer, addresses):
    resolver = addresses(one=["127.0.0.1"])
    resolver.go_on.clear()
    for number in range(3):
        association.send(named(b"one", peer) + b"%d" % number)
    association.send(b"\0\0\0" + peer.address + b"first")
    assert peer.receive()[0] == b"first"
    resolver.go_on.set()
    assert [peer.receive()[0] for _ in range(3)] == [b"0", b"1", b"2"]
    association.send(named(b"one", peer) + b"3")
    assert peer.receive()[0] == b"3"
    assert resolver.asked == ["one"]
    assert server.udp_peers == [("one", peer.port), ("127.0.0.1", peer.port)]


def test_a_name_that_does_not_exist_is_asked_for_again_later(
    server, association, peer, addresses, monkeypatch
):
    resolver = addresses()
    for count in itertools.count():
        association.send(named(b"none", peer) + b"lost")
        association.send(b"\0\0\0" + peer.address + b"hello")
        assert peer.receive()[0] == b"hello"
        if resolver.asked and count > 20:
            break
    assert resolver.asked == ["none"]
    monkeypatch.setattr("pywrap.server.udp.peer_names.AGAIN", 0)
    resolver.answers["none"] = ["127.0.0.1"]
    while len(resolver.asked) < 2:
        association.send(named(b"none", peer) + b"found")
    assert peer.receive()[0] == b"found"
    # Also some that waited for it in vain: more were sent, until it was asked for, than may wait.
    assert "to a name that cannot be resolved" in dropped(server, association)


def test_a_name_beyond_ascii_is_not_resolved(server, association, peer, addresses):
    resolver = addresses()
    association.send(named(b"\xc3\xa4.test", peer) + b"lost")
    association.send(b"\0\0\0" + peer.address + b"hello")
    peer.receive()
    assert resolver.asked == []
    assert dropped(server, association) == {"to a name that cannot be resolved": 1}


def test_an_address_without_a_listener_gives_way_to_the_next(association, peers, addresses):
    peer = peers("127.0.0.3")
    addresses(several=["::1", "127.0.0.2", "127.0.0.3"])
    association.send(named(b"several", peer) + b"hello")
    data, source = peer.receive()
    assert data == b"hello"
    peer.sock.sendto(b"yes", source)
    assert association.receive() == b"\0\0\0" + peer.address + b"yes"


def test_an_address_that_has_answered_is_kept(association, peers, addresses):
    first = peers("127.0.0.2")
    second = peers("127.0.0.3", first.port)
    resolver = addresses(both=["127.0.0.2", "127.0.0.3"])
    association.send(named(b"both", first) + b"hello")
    _, source = first.receive()
    first.sock.sendto(b"yes", source)
    association.receive()
    # Even when the network says that the destination is not there now: it may be back in a moment.
    first.sock.close()
    association.send(named(b"both", first) + b"lost")
    association.send(b"\0\0\0" + second.address + b"sent by now")
    assert second.receive()[0] == b"sent by now"
    first = peers("127.0.0.2", second.port)
    association.send(named(b"both", first) + b"again")
    assert first.receive()[0] == b"again"
    assert second.is_silent()
    assert resolver.asked == ["both"]


def test_a_name_none_of_whose_addresses_works_is_asked_for_again(association, peers, addresses, monkeypatch):
    monkeypatch.setattr("pywrap.server.udp.peer_names.AGAIN", 0)
    peer = peers("127.0.0.3")
    resolver = addresses(moved=["127.0.0.1", "127.0.0.2"])
    association.send(named(b"moved", peer) + b"lost")
    while not resolver.asked:
        association.send(b"\0\0\0" + peer.address + b"hello")
        assert peer.receive()[0] == b"hello"
    resolver.answers["moved"] = ["127.0.0.3"]
    while len(resolver.asked) < 2:
        association.send(named(b"moved", peer) + b"found")
    assert peer.receive()[0] == b"found"


def test_an_address_that_cannot_be_sent_to_gives_way_to_the_next(server, association, peer, addresses):
    # Without being allowed to, nothing can be sent to a broadcast address.
    addresses(several=["127.255.255.255", "127.0.0.1"], none=["127.255.255.255"])
    association.send(named(b"several", peer) + b"hello")
    assert peer.receive()[0] == b"hello"
    association.send(named(b"none", peer) + b"lost")
    association.send(named(b"several", peer) + b"hello again")
    assert peer.receive()[0] == b"hello again"
    (reason,) = dropped(server, association)
    # The second, when it has not been resolved by now.
    assert reason in ("not sent: permission denied", "to a name that cannot be resolved")


def test_addresses_of_a_name_that_are_not_one_host_are_left_out(server, association, peer, addresses):
    addresses(group=["224.0.0.1", "ff02::1"], mixed=["255.255.255.255", "::ffff:127.0.0.1"])
    association.send(named(b"group", peer) + b"lost")
    association.send(named(b"mixed", peer) + b"hello")
    assert peer.receive()[0] == b"hello"
    assert dropped(server, association) == {"to a name that cannot be resolved": 1}


def test_what_waits_for_names_is_bounded(server, association, peer, addresses, monkeypatch):
    monkeypatch.setattr("pywrap.server.udp.peer_names.PENDING", 2)
    monkeypatch.setattr("pywrap.server.udp.peer_names.WAITING", 2000)
    monkeypatch.setattr("pywrap.server.udp.peer_names.OVERHEAD", 100)
    resolver = addresses(one=["127.0.0.1"], two=["127.0.0.1"], three=["127.0.0.1"])
    resolver.go_on.clear()
    for name, payload in (b"one", bytes(1000)), (b"two", bytes(1000)), (b"two", bytes(800)), (b"three", b"3"):
        association.send(named(name, peer) + payload)
    association.send(b"\0\0\0" + peer.address + b"first")
    assert peer.receive()[0] == b"first"
    resolver.go_on.set()
    assert sorted(peer.receive()[0] for _ in range(2)) == [bytes(800), bytes(1000)]
    # What was dropped before it was asked for is no destination.
    assert server.udp_peers == [(name, peer.port) for name in ("one", "two", "127.0.0.1")]
    # Which makes room again.
    association.send(named(b"three", peer) + b"3")
    assert peer.receive()[0] == b"3"
    assert dropped(server, association) == {"while too much waited for names": 2}


def test_names_are_forgotten_oldest_first(association, peer, addresses, monkeypatch):
    monkeypatch.setattr("pywrap.server.udp.peer_names.NAMES", 2)
    resolver = addresses(one=["127.0.0.1"], two=["127.0.0.1"], three=["127.0.0.1"])
    for name in (b"one", b"two", b"one", b"three", b"one", b"two"):
        association.send(named(name, peer) + name)
        assert peer.receive()[0] == name
    assert resolver.asked == ["one", "two", "three", "two"]


def test_an_association_that_ends_while_a_name_is_resolved(server, association, peer, addresses):
    resolver = addresses(one=["127.0.0.1"])
    resolver.go_on.clear()
    association.send(named(b"one", peer) + b"lost")
    server.wait_for_udp_peers(1)
    association.tcp.close()
    ((_, traffic, _),) = server.wait_for_udp_closed(1)
    assert traffic.dropped == {"to a name that cannot be resolved": 1}
    resolver.go_on.set()


# ---------------------------------------------------------------- fragments


def fragment(number, peer):
    return b"\0\0" + bytes([number]) + peer.address


def test_fragments_are_put_together(server, association, peer):
    association.send(fragment(1, peer) + b"one ")
    association.send(fragment(2, peer) + b"two ")
    association.send(fragment(0x83, peer) + b"three")
    assert peer.receive()[0] == b"one two three"
    assert server.udp_peers == [("127.0.0.1", peer.port)]
    assert dropped(server, association) == {}


def test_fragments_to_a_name(association, peer):
    header = named(b"localhost", peer)[3:]
    association.send(b"\0\0\x01" + header + b"one ")
    association.send(b"\0\0\x82" + header + b"two")
    assert peer.receive()[0] == b"one two"


def test_fragments_that_make_no_whole_are_dropped(server, association, peer):
    association.send(fragment(1, peer) + b"one ")
    association.send(fragment(0x83, peer) + b"three")
    association.send(fragment(1, peer) + b"never completed")
    association.send(b"\0\0\0" + peer.address + b"whole")
    assert peer.receive()[0] == b"whole"
    assert dropped(server, association) == {"in fragments that do not make a whole": 3}


def test_a_sequence_of_fragments_ends_with_its_timer(association, peer, monkeypatch):
    monkeypatch.setattr("pywrap.socks.datagram.REASSEMBLY_SECONDS", 0)
    association.send(fragment(1, peer) + b"one ")
    association.send(fragment(0x82, peer) + b"two")
    association.send(fragment(0x81, peer) + b"alone")
    assert peer.receive()[0] == b"alone"


# ---------------------------------------------------------------- which peers may send


def test_strangers_are_dropped(server, association, peers):
    peer, stranger, neighbour = peers(), peers("127.0.0.2"), peers("127.0.0.1")
    # Before the client is known, and with its address but another port afterwards.
    stranger.sock.sendto(b"\0\0\0" + peer.address + b"from another address", association.relay)
    association.send(b"\0\0\0" + peer.address + b"hello")
    data, source = peer.receive()
    assert data == b"hello"
    neighbour.sock.sendto(b"\0\0\0" + peer.address + b"from another port", association.relay)
    stranger.sock.sendto(b"\0\0\0" + peer.address + b"from another address", association.relay)
    association.send(b"\0\0\0" + peer.address + b"hello again")
    assert peer.receive()[0] == b"hello again"
    peer.sock.sendto(b"yes", source)
    assert association.receive() == b"\0\0\0" + peer.address + b"yes"
    assert neighbour.is_silent() and stranger.is_silent()
    assert dropped(server, association) == {"from strangers": 3}


def test_the_first_good_datagram_decides_the_port(server, association, peers):
    peer, neighbour = peers(), peers()
    # What has no header is not the client's.
    neighbour.sock.sendto(b"noise", association.relay)
    association.send(b"\0\0\0" + peer.address + b"hello")
    assert peer.receive()[0] == b"hello"
    assert dropped(server, association) == {"with a broken header": 1}


def test_a_port_that_was_announced_is_the_only_one(server, associate, peers):
    peer, own, neighbour = peers(), peers(), peers()
    association = associate(server, own.address, own)
    neighbour.sock.sendto(b"\0\0\0" + peer.address + b"too early", association.relay)
    association.send(b"\0\0\0" + peer.address + b"hello")
    assert peer.receive()[0] == b"hello"
    assert server.asked == [("UDP ASSOCIATE", own.host, own.port)]
    assert dropped(server, association) == {"from strangers": 1}


@pytest.mark.parametrize(
    "announced",
    [
        b"\x01" + b"\x00\x00\x00\x00" + b"\x10\x00",  # a port, and no address
        b"\x01" + b"\x7f\x00\x00\x01" + b"\x00\x00",
        b"\x01" + b"\x0a\x00\x00\x05" + b"\x10\x00",  # as it is called behind its NAT
        b"\x03" + b"\x09localhost" + b"\x10\x00",
        b"\x04" + b"\0" * 16 + b"\x00\x00",
    ],
)
def test_an_announcement_that_decides_nothing(server, associate, peer, announced):
    association = associate(server, announced)
    association.send(b"\0\0\0" + peer.address + b"hello")
    assert peer.receive()[0] == b"hello"


def test_answers_from_strangers_are_dropped(server, association, peers):
    peer, stranger = peers(), peers()
    association.send(b"\0\0\0" + peer.address + b"hello")
    _, source = peer.receive()
    stranger.sock.sendto(b"psst", source)
    peer.sock.sendto(b"yes", source)
    assert association.receive() == b"\0\0\0" + peer.address + b"yes"
    assert dropped(server, association) == {"from strangers": 1}


def test_answers_from_anybody_when_that_is_allowed(associate, peers):
    with reference_server(udp=UdpRules(any_peer=True)) as server:
        association, peer, stranger = associate(server), peers(), peers()
        association.send(b"\0\0\0" + peer.address + b"hello")
        _, source = peer.receive()
        stranger.sock.sendto(b"psst", source)
        assert association.receive() == b"\0\0\0" + stranger.address + b"psst"
        assert dropped(server, association) == {}


def test_the_peers_that_are_remembered_are_the_latest(associate, peers):
    with reference_server(udp=UdpRules(peers=2)) as server:
        association, first, second, third = associate(server), peers(), peers(), peers()
        for peer in (first, second, first, third):
            association.send(b"\0\0\0" + peer.address + b"hello")
            _, source = peer.receive()
        for peer in (second, first, third):
            peer.sock.sendto(b"yes", source)
        assert association.receive() == b"\0\0\0" + first.address + b"yes"
        assert association.receive() == b"\0\0\0" + third.address + b"yes"
        assert dropped(server, association) == {"from strangers": 1}


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\0\0\0",
        b"\0\0\0\x01\x7f\0\0\1\0",
        b"\0\0\0\x02\x7f\0\0\1\0\x35hello",
        b"\0\0\0\x03\x00\0\x35hello",
        b"\0\0\0\x03\x03a\0b\0\x35hello",
    ],
)
def test_a_datagram_without_a_header_is_dropped(server, association, peer, datagram):
    association.send(b"\0\0\0" + peer.address + b"hello")
    association.send(datagram)
    association.send(b"\0\0\0" + peer.address + b"hello")
    assert [peer.receive()[0] for _ in range(2)] == [b"hello"] * 2
    assert dropped(server, association) == {"with a broken header": 1}
    assert peer.is_silent()


@pytest.fixture(scope="module")
def lasting():
    with (
        reference_server() as server,
        socket.create_connection(server.address, PATIENCE) as tcp,
        Peer() as udp,
        Peer() as peer,
    ):
        association = open_association(tcp, udp)
        association.send(b"\0\0\0" + peer.address + b"ours")
        assert peer.receive()[0] == b"ours"
        yield association, peer


@given(st.lists(st.binary(max_size=40).map(lambda data: b"\0\0" + data), max_size=20))
def test_garbage_does_not_end_the_association(lasting, datagrams):
    association, peer = lasting
    for datagram in datagrams:
        # Only to loopback, whatever hypothesis makes up.
        if datagram[3:4] not in (b"\x01", b"\x03", b"\x04"):
            association.send(datagram)
    association.send(b"\0\0\0" + peer.address + b"still here")
    assert peer.receive()[0] == b"still here"


# ---------------------------------------------------------------- the reply


def test_the_reply_has_the_address_that_the_client_has_reached(associate, peers):
    peer = peers()
    with reference_server(listen=[("127.0.0.2", 0)]) as server:
        association = associate(server)
        assert association.relay[0] == "127.0.0.2"
        association.send(b"\0\0\0" + peer.address + b"hello")
        assert peer.receive()[0] == b"hello"


def test_the_address_of_a_listener_on_all_addresses_is_that_of_the_connection(client):
    with reference_server(listen=[("0.0.0.0", 0)]) as server:
        with socket.create_connection(("127.0.0.3", server.port), PATIENCE) as tcp:
            tcp.sendall(GREETING + b"\x05\x03\x00\x01" + NOWHERE)
            assert receive(tcp, 10)[2:] == b"\x05\x00\x00\x01" + b"\x7f\x00\x00\x03"


def test_an_address_for_clients_beyond_a_nat(associate, peers):
    rules = UdpRules(addresses=("2001:db8::7", "192.0.2.7"))
    with reference_server(udp=rules, listen=[("127.0.0.1", 0)]) as server:
        assert associate(server).relay[0] == "192.0.2.7"
    peers("::1")
    with reference_server(udp=rules, listen=[("::1", 0)]) as server:
        assert associate(server).relay[0] == "2001:db8::7"
    with reference_server(udp=UdpRules(addresses=("2001:db8::7",))) as server:
        assert associate(server).relay[0] == "127.0.0.1"


def test_a_password_is_asked_for_here_as_well(client):
    with reference_server(users={b"alice": b"secret"}) as server:
        tcp = client.connect(server)
        tcp.sendall(b"\x05\x01\x02" + b"\x01\x05alice\x06secret" + b"\x05\x03\x00\x01" + NOWHERE)
        assert receive(tcp, 8)[:6] == b"\x05\x02" + b"\x01\x00" + b"\x05\x00"
        assert [(seen.command, seen.user) for seen in server.seen] == [("UDP ASSOCIATE", "alice")]


# ---------------------------------------------------------------- the end


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("reset", [False, True])
def test_the_end_of_the_connection_ends_the_association(server, association, peers, reset):
    for peer in (peers("127.0.0.1"), peers("::1")):
        association.send(b"\0\0\0" + peer.address + b"hello")
        _, source = peer.receive()
    if reset:
        association.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        association.tcp.close()
    else:
        association.tcp.shutdown(socket.SHUT_WR)
        assert receive_all(association.tcp) == b""
    server.wait_for_udp_closed(1)
    # The server has nothing but its listener, once the batch of events is done: the next client's
    # greeting is answered after that.
    with socket.create_connection(server.address, PATIENCE) as sock:
        sock.sendall(GREETING)
        receive(sock, 2)
        # The sockets are free: connected, ours hears that nothing is there.
        association.udp.sock.connect(association.relay)
        association.udp.sock.send(b"\0\0\0" + peer.address + b"hello")
        with pytest.raises(ConnectionRefusedError):
            association.udp.sock.recv(1)


def test_each_end_of_an_association_frees_three_descriptors(server, associate, peers):
    def once():
        association, four, six = associate(server, udp=own), peers("127.0.0.1"), peers("::1")
        for peer in (four, six):
            association.send(b"\0\0\0" + peer.address + b"hello")
            peer.receive()
            peer.sock.close()
        during = descriptors()
        association.tcp.shutdown(socket.SHUT_WR)
        assert receive_all(association.tcp) == b""
        association.tcp.close()
        return during

    own = peers()
    before = descriptors()
    # Two ends of the connection, and one socket each for the client and the two families.
    assert [once() for _ in range(3)] == [before + 5] * 3


def test_what_comes_on_the_connection_means_nothing(association, peer):
    for _ in range(20):
        association.tcp.sendall(bytes(10_000))
    association.send(b"\0\0\0" + peer.address + b"hello")
    assert peer.receive()[0] == b"hello"


def test_stop_ends_associations(associate, peer):
    before = descriptors()
    with reference_server() as server:
        association = associate(server, udp=peer)
        association.send(b"\0\0\0" + peer.address + b"to itself")
        assert peer.receive()[0] == b"to itself"
    assert receive_all(association.tcp) == b""
    association.tcp.close()
    assert descriptors() == before
    assert len(server.wait_for_udp_closed(1)) == 1


def test_a_client_that_vanishes_is_noticed(server, association):
    # What the server's end of the connection asks the kernel for, as the test has no patience for it.
    (session,) = server.server._sessions
    options = [socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT]
    idle, interval, count = (session.client.getsockopt(socket.IPPROTO_TCP, option) for option in options)
    assert session.client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert idle + interval * count <= 180


def test_no_descriptor_for_datagrams_is_a_refusal(server, client):
    sock = client.connect(server)
    sock.sendall(GREETING)
    assert receive(sock, 2) == b"\x05\x00"
    with Exhausted(room=0):
        sock.sendall(b"\x05\x03\x00\x01" + NOWHERE)
        assert receive_all(sock) == b"\x05\x01\x00\x01" + NOWHERE
    assert [seen.outcome for seen in server.seen] == ["no socket for its datagrams: Too many open files"]


# ---------------------------------------------------------------- counting, and a lot


def test_what_was_carried_is_told_at_the_end(server, association, peer):
    for payload in (b"", b"1", b"22"):
        association.send(b"\0\0\0" + peer.address + payload)
        _, source = peer.receive()
    for payload in (b"4444", b"55555"):
        peer.sock.sendto(payload, source)
        association.receive()
    association.tcp.close()
    ((record, traffic, seconds),) = server.wait_for_udp_closed(1)
    assert record == server.seen[0]
    assert (traffic.up, traffic.bytes_up, traffic.down, traffic.bytes_down) == (3, 3, 2, 9)
    assert traffic.dropped == {}
    assert seconds >= 0


def test_a_burst_is_not_lost(association, peer):
    window = 64
    received = []
    for start in range(0, 10_000, window):
        numbers = range(start, min(start + window, 10_000))
        for number in numbers:
            association.send(b"\0\0\0" + peer.address + b"%d" % number)
        for _ in numbers:
            data, source = peer.receive()
            peer.sock.sendto(data, source)
        received += [association.receive() for _ in numbers]
    assert received == [b"\0\0\0" + peer.address + b"%d" % number for number in range(10_000)]


def send_together(sock, data, size, to):
    """Send datagrams of ``size`` bytes, the last of which may be shorter, as one message for the kernel."""
    sock.sendmsg([data], [(socket.SOL_UDP, UDP_SEGMENT, size.to_bytes(2, sys.byteorder))], 0, to)


@pytest.mark.parametrize("last", [700, 6, 0])
def test_datagrams_that_are_sent_together(server, association, peer, last):
    head = b"\0\0\0" + peer.address
    association.send(head + b"first")
    _, source = peer.receive()
    payloads = [bytes([number]) * 1190 for number in range(30)] + [b"z" * last] * bool(last)
    send_together(association.udp.sock, b"".join(head + each for each in payloads), 1200, association.relay)
    assert [peer.receive() for _ in payloads] == [(each, source) for each in payloads]
    send_together(peer.sock, b"".join(payloads), 1190, source)
    assert [association.receive() for _ in payloads] == [head + each for each in payloads]
    association.tcp.close()
    ((_, traffic, _),) = server.wait_for_udp_closed(1)
    size = sum(map(len, payloads))
    assert (traffic.up, traffic.bytes_up) == (1 + len(payloads), 5 + size)
    assert (traffic.down, traffic.bytes_down) == (len(payloads), size)
    assert traffic.dropped == {}


def test_datagrams_that_are_sent_together_may_go_to_several(server, association, peers):
    one, other = peers(), peers()
    for peer in one, other:
        association.send(b"\0\0\0" + peer.address + b"first")
        peer.receive()
    datagrams = [b"\0\0\0" + each.address + b"%02d" % n for n, each in enumerate([one, one, other, one] * 5)]
    # A fragment that is the first of none, and what is no datagram of SOCKS.
    datagrams += [b"\0\0\x02" + one.address + b"..", b"\0\0\0"]
    send_together(association.udp.sock, b"".join(datagrams), 12, association.relay)
    numbers = [n for n in range(20) if n % 4 != 2]
    assert [one.receive()[0] for _ in numbers] == [b"%02d" % n for n in numbers]
    assert [other.receive()[0] for _ in range(5)] == [b"%02d" % n for n in range(2, 20, 4)]
    assert dropped(server, association) == {
        "in fragments that do not make a whole": 1, "with a broken header": 1
    }  # fmt: skip


def test_strangers_are_counted_by_the_datagram(server, association, peers):
    peer, stranger = peers(), peers()
    association.send(b"\0\0\0" + peer.address + b"x")
    _, source = peer.receive()
    send_together(stranger.sock, bytes(25), 10, source)
    peer.sock.sendto(b"after", source)
    assert association.receive()[10:] == b"after"
    assert dropped(server, association) == {"from strangers": 3}


def test_100_associations_at_once(server, associate, peer):
    associations = [associate(server) for _ in range(100)]
    for number, association in enumerate(associations):
        association.send(b"\0\0\0" + peer.address + b"%d" % number)
    for _ in associations:
        data, source = peer.receive()
        peer.sock.sendto(b"answer to " + data, source)
    for number, association in enumerate(associations):
        assert association.receive() == b"\0\0\0" + peer.address + b"answer to %d" % number
