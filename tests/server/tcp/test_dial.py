"""Names, addresses in order, and which reply each failure becomes."""

import errno
import os
import socket
import threading
from _socket import socket as RawSocket

import pytest

from pywrap.relay.loop import Loop
from pywrap.server.tcp import dial
from pywrap.server.tcp.dial import Dial, Resolver
from pywrap.socks.wire import Endpoint
from tests.support.raw_sockets import Target, receive
from tests.support.servers import PATIENCE, reference_server


class Dialling:
    """A dial with a loop of its own, run to its end."""

    def __init__(self, host, port, timeout=PATIENCE):
        self.loop = Loop()
        self.resolver = Resolver(self.loop)
        self.sock = self.bound = self.code = self.words = None
        Dial(self.loop, self.resolver, Endpoint(host, port), timeout, self._connected, self._failed).start()
        if self.code is None:
            self.loop.run()
        if self.sock is not None:
            self.peer = self.sock.getpeername()[:2]
            self.loop.close(self.sock)
        self.resolver.close()
        self.loop.dispose()

    def _connected(self, sock, bound):
        self.sock, self.bound = sock, bound
        self.loop.stop()

    def _failed(self, code, words):
        self.code, self.words = code, words
        self.loop.stop()


def test_an_address_is_connected_to(target):
    dialling = Dialling("127.0.0.1", target.port)
    peer = target.accept()
    assert Endpoint(*peer.getpeername()) == dialling.bound


def test_a_name_is_resolved(target, names):
    names["target.test"] = ["127.0.0.1"]
    assert Dialling("target.test", target.port).peer == ("127.0.0.1", target.port)


def test_all_addresses_are_tried_in_order(target, names):
    # The target listens on one address of the loopback network, nothing on the others.
    names["target.test"] = ["127.0.0.2", "127.0.0.3", "127.0.0.1", "127.0.0.4"]
    assert Dialling("target.test", target.port).peer == ("127.0.0.1", target.port)


def test_an_address_that_swallows_everything_leaves_time_for_the_next(target, names, blackhole):
    names["target.test"] = ["127.0.0.2", "127.0.0.1"]
    there = socket.create_server(("127.0.0.1", blackhole))
    assert Dialling("target.test", blackhole, 0.1).peer == ("127.0.0.1", blackhole)
    there.close()


@pytest.fixture
def blackhole():
    """A port of 127.0.0.2 where a connection is neither accepted nor refused: its queue is full."""
    listener = socket.socket()
    listener.bind(("127.0.0.2", 0))
    listener.listen(0)
    port = listener.getsockname()[1]
    fillers = []
    for _ in range(3):
        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.2", port))
        fillers.append(sock)
    yield port
    for sock in [*fillers, listener]:
        sock.close()


def test_too_slow(blackhole):
    dialling = Dialling("127.0.0.2", blackhole, 0.02)
    assert (dialling.code, dialling.words) == (6, "timed out")


def test_refused(refusing_port):
    dialling = Dialling("127.0.0.1", refusing_port)
    assert (dialling.code, dialling.words) == (5, "connection refused")


def test_no_route():
    # No route leads TCP to a multicast group.
    dialling = Dialling("224.0.0.1", 80)
    assert (dialling.code, dialling.words) == (3, "network is unreachable")


@pytest.mark.parametrize(
    "number, code",
    [
        (errno.ECONNREFUSED, 5),
        (errno.ENETUNREACH, 3),
        (errno.EHOSTUNREACH, 4),
        (errno.ETIMEDOUT, 6),
        (errno.EACCES, 2),
        (errno.EPERM, 2),
        (errno.EAFNOSUPPORT, 8),
        (errno.EADDRNOTAVAIL, 1),
        (errno.EINVAL, 1),
        (errno.EMFILE, 1),
    ],
)
@pytest.mark.parametrize("at", ["socket", "connect"])
def test_the_reply_for_each_error(monkeypatch, number, code, at):
    class Failing(RawSocket):
        def __init__(self, *args):
            if at == "socket":
                raise OSError(number, os.strerror(number))
            super().__init__(*args)

        def connect_ex(self, address):
            return number

    monkeypatch.setattr(dial._socket, "socket", Failing)
    dialling = Dialling("127.0.0.1", 80)
    assert dialling.code == code
    assert dialling.words


@pytest.mark.parametrize(
    "first, second, code",
    [
        (errno.ECONNREFUSED, errno.ENETUNREACH, 5),
        (errno.ENETUNREACH, errno.ECONNREFUSED, 5),
        (errno.EHOSTUNREACH, errno.ECONNREFUSED, 5),
        (errno.ENETUNREACH, errno.EAFNOSUPPORT, 8),
    ],
)
def test_the_answer_of_a_network_counts_more_than_the_lack_of_one(monkeypatch, names, first, second, code):
    errors = [first, second]

    class Failing(RawSocket):
        def connect_ex(self, address):
            return errors.pop(0)

    monkeypatch.setattr(dial._socket, "socket", Failing)
    names["two.test"] = ["127.0.0.2", "127.0.0.3"]
    assert Dialling("two.test", 80).code == code
    assert errors == []


@pytest.mark.parametrize(
    "number, code",
    [(socket.EAI_NONAME, 4), (socket.EAI_AGAIN, 4), (socket.EAI_FAIL, 4), (socket.EAI_SYSTEM, 1)],
)
def test_names_that_cannot_be_resolved(names, number, code):
    names["unknown.test"] = socket.gaierror(number, "Name or service not known")
    dialling = Dialling("unknown.test", 80)
    assert dialling.code == code
    assert dialling.words == "cannot resolve the name: name or service not known"


@pytest.mark.parametrize("host", ["", "caf\\xe9.test", "caf\\udce9.test"])
def test_what_is_not_a_name_is_not_asked_for(monkeypatch, host):
    monkeypatch.setattr(dial._socket, "getaddrinfo", None)
    assert Dialling(host, 80).code == 1


def ask_for(sock, name):
    sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x03" + bytes([len(name)]) + name + b"\x00\x50")


@pytest.fixture
def hanging(monkeypatch):
    """Names that begin with ``hang`` are answered once ``released``; ``reached`` is set by the first."""
    reached, released = threading.Event(), threading.Event()
    asked = []
    real = dial._socket.getaddrinfo

    def getaddrinfo(host, *args):
        if not str(host).startswith("b'hang"):
            return real(host, *args)
        asked.append(host)
        reached.set()
        released.wait(PATIENCE)
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    monkeypatch.setattr(dial._socket, "getaddrinfo", getaddrinfo)
    getaddrinfo.asked = asked
    getaddrinfo.reached = reached
    getaddrinfo.released = released
    yield getaddrinfo
    released.set()


def test_names_that_hang_stop_no_other_name(hanging, target, client):
    with reference_server() as server:
        waiting = [client.connect(server) for _ in range(200)]
        for sock in waiting:
            ask_for(sock, b"hang")
        # One that asks for a name is answered while all of them hang, and so is one after they have left.
        for left in (False, True):
            sock = client.connect(server)
            sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x03" + b"\x09localhost" + target.port_bytes)
            assert receive(sock, 6) == b"\x05\x00" + b"\x05\x00\x00\x01"
            if not left:
                for each in waiting[100:]:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    each.close()
        hanging.released.set()
        for each in waiting[:100]:
            assert receive(each, 4) == b"\x05\x00" + b"\x05\x04"


def test_names_of_clients_that_left_are_not_asked_for(hanging, client):
    with reference_server() as server:
        server.server._resolver._pool._limit = 2
        for number in range(20):
            sock = client.connect(server)
            ask_for(sock, b"hang%02d" % number)
            assert receive(sock, 2) == b"\x05\x00"
            if number:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                sock.close()
                server.wait_for_seen(number)
            else:
                assert hanging.reached.wait(PATIENCE)
        hanging.released.set()
        server.wait_for_seen(20)
    assert hanging.asked == [b"hang00"]


def test_names_of_an_association_that_ended_are_not_asked_for(hanging, client):
    with reference_server() as server, socket.socket(type=socket.SOCK_DGRAM) as udp:
        pool = server.server._resolver._pool
        pool._limit = 2
        sock = client.connect(server)
        sock.sendall(b"\x05\x01\x00" + b"\x05\x03\x00\x01" + bytes(6))
        relay = ("127.0.0.1", int.from_bytes(receive(sock, 12)[-2:], "big"))
        for number in range(8):
            udp.sendto(b"\0\0\0\x03" + b"\x06hang%02d" % number + b"\x00\x50" + b"data", relay)
        server.wait_for_udp_peers(8)
        assert hanging.reached.wait(PATIENCE)
        assert len(pool._waiting["127.0.0.1"]) == 7
        sock.close()
        server.wait_for_udp_closed(1)
        assert pool._waiting == {}
        hanging.released.set()
    assert hanging.asked == [b"hang00"]


def test_a_thread_that_cannot_be_started_costs_that_client_its_name(monkeypatch, target, client):
    def start(*args):
        raise RuntimeError("can't start new thread")

    with reference_server() as server:
        near, far = client.tunnel(server, target)
        monkeypatch.setattr("pywrap.server.threads.start_new_thread", start)
        sock = client.connect(server)
        ask_for(sock, b"one.test")
        assert receive(sock, 4) == b"\x05\x00" + b"\x05\x01"
        near.sendall(b"x")
        assert receive(far, 1) == b"x"
    assert server.seen[-1].outcome == "cannot resolve the name: no thread can be started"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "::ffff:0.0.0.0", "0", "0x0", "blocked.test"])
def test_an_unspecified_address_is_no_destination(names, target, host):
    # connect() would take it for this machine.
    names["blocked.test"] = ["0.0.0.0", "::"]
    dialling = Dialling(host, target.port)
    assert (dialling.code, dialling.words) == (2, "an unspecified address is no destination")


def test_an_unspecified_address_beside_another_is_left_out(names, target):
    names["both.test"] = ["0.0.0.0", "127.0.0.1"]
    assert Dialling("both.test", target.port).peer == ("127.0.0.1", target.port)


def test_a_name_that_is_too_slow(monkeypatch, client):
    released = threading.Event()

    def hang(*_):
        released.wait(PATIENCE)
        return []

    with reference_server(connect_timeout=0.02) as server:
        sock = client.connect(server)
        monkeypatch.setattr(dial._socket, "getaddrinfo", hang)
        sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x03" + b"\x04hang" + b"\x00\x50")
        assert receive(sock, 4) == b"\x05\x00" + b"\x05\x04"
        released.set()
    assert [seen.outcome for seen in server.seen] == ["cannot resolve the name: timed out"]


def test_a_socket_connected_to_itself_is_a_refusal(monkeypatch):
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        address = reserved.getsockname()

        class Unlucky(RawSocket):
            def __init__(self, *args):
                super().__init__(*args)
                self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self.bind(address)

        monkeypatch.setattr(dial._socket, "socket", Unlucky)
        dialling = Dialling(*address)
    assert (dialling.code, dialling.words) == (5, "connection refused")


def test_ipv6_is_dialled():
    try:
        target = Target(socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    assert Dialling("::1", target.port).peer == ("::1", target.port)
    target.close()
