"""Kerberos: a realm of its own, a client with a ticket, and all levels of protection (RFC 1961)."""

import re
import socket

import pytest

from pywrap.socks import gssapi as protocol
from pywrap.socks.wire import Send
from tests.support.kerberos import USER, realm
from tests.support.peers import Missing
from tests.support.pysocksd import Program
from tests.support.raw_sockets import receive
from tests.support.servers import PATIENCE

gssapi = pytest.importorskip(
    "gssapi", reason="the extra `gssapi` is not installed: it is built with libkrb5's headers"
)

LEVELS = [protocol.NONE, protocol.INTEGRITY, protocol.CONFIDENTIALITY, protocol.SELECTIVE]


@pytest.fixture(scope="module")
def kerberos(tmp_path_factory):
    try:
        with realm(tmp_path_factory.mktemp("realm")) as running:
            yield running
    except Missing as err:
        pytest.skip(f"no KDC: {err}")


class Context:
    """The client's end, as ``pywrap.socks.gssapi`` takes it."""

    def __init__(self, service):
        name = gssapi.Name(service, gssapi.NameType.hostbased_service)
        flags = gssapi.RequirementFlag.mutual_authentication | gssapi.RequirementFlag.replay_detection
        flags |= gssapi.RequirementFlag.confidentiality | gssapi.RequirementFlag.integrity
        self._context = gssapi.SecurityContext(name=name, usage="initiate", flags=flags)

    is_complete = property(lambda self: self._context.complete)

    def step(self, token):
        return self._context.step(token or None) or b""

    def wrap(self, data, secret):
        return self._context.wrap(data, secret).message

    def unwrap(self, token):
        result = self._context.unwrap(token)
        return result.message, result.encrypted


class Client:
    """A connection that is authenticated, and what is said on it."""

    def __init__(self, sock, context, level):
        self.sock = sock
        sock.sendall(b"\x05\x01\x01")
        assert receive(sock, 2) == b"\x05\x01"
        self.level = self._run(protocol.initiate(context, level))
        self.codec = protocol.Encapsulation(context, self.level)
        self._plain = b""

    def _run(self, dialogue):
        answer = None
        try:
            while True:
                step = dialogue.send(answer)
                answer = b"" if isinstance(step, Send) else receive(self.sock, step)
                if isinstance(step, Send):
                    self.sock.sendall(step)
        except StopIteration as stop:
            return stop.value

    def send(self, data):
        self.sock.sendall(self.codec.encode(data) if self.level else data)

    def receive(self, size):
        while len(self._plain) < size:
            data = self.sock.recv(65536)
            assert data, f"the connection ended after {self._plain!r}"
            self._plain += self.codec.decode(data) if self.level else data
        data, self._plain = self._plain[:size], self._plain[size:]
        return data


@pytest.fixture
def server(kerberos, monkeypatch):
    for name, value in kerberos.environ.items():
        monkeypatch.setenv(name, value)
    programs = []

    def start(*args):
        programs.append(Program("-l", "127.0.0.1:0", "--gssapi", kerberos.service, *args))
        return programs[-1], programs[-1].listening()

    yield start
    for each in programs:
        each.close()


@pytest.fixture
def connect(kerberos):
    socks = []

    def start(address, level):
        socks.append(socket.create_connection(address, PATIENCE))
        return Client(socks[-1], Context(kerberos.service), level)

    yield start
    for sock in socks:
        sock.close()


@pytest.mark.parametrize("level", LEVELS)
def test_a_tunnel_at_each_level(server, connect, target, level):
    pysocksd, address = server()
    client = connect(address, level)
    assert client.level == level
    client.send(b"\x05\x01\x00\x01" + target.address + b"early")
    assert client.receive(10)[:4] == b"\x05\x00\x00\x01"
    peer = target.accept()
    assert receive(peer, 5) == b"early"
    peer.sendall(b"x" * 100_000)
    assert client.receive(100_000) == b"x" * 100_000
    client.send(b"y" * 100_000)
    assert receive(peer, 100_000) == b"y" * 100_000
    assert re.search(rf" {USER} SOCKS5 CONNECT ", pysocksd.line())
    client.sock.shutdown(socket.SHUT_WR)
    assert peer.recv(1) == b""
    peer.sendall(b"last")
    peer.close()
    assert client.receive(4) == b"last"
    assert client.sock.recv(1) == b""


def test_what_is_on_the_wire_is_secret(server, connect, target):
    _, address = server()
    client = connect(address, protocol.CONFIDENTIALITY)
    client.send(b"\x05\x01\x00\x01" + target.address)
    client.receive(10)
    target.accept().sendall(b"a secret")
    message = client.sock.recv(1000)
    assert message[:2] == b"\x01\x03" and b"secret" not in message
    assert client.codec.decode(message) == b"a secret"


@pytest.mark.parametrize("level", [protocol.INTEGRITY, protocol.CONFIDENTIALITY])
def test_datagrams_are_wrapped_too(server, connect, level):
    _, address = server()
    client = connect(address, level)
    client.send(b"\x05\x03\x00\x01" + bytes(6))
    relay = ("127.0.0.1", int.from_bytes(client.receive(10)[-2:], "big"))
    with socket.socket(type=socket.SOCK_DGRAM) as peer, socket.socket(type=socket.SOCK_DGRAM) as udp:
        for sock in peer, udp:
            sock.settimeout(PATIENCE)
            sock.bind(("127.0.0.1", 0))
        header = b"\0\0\0\x01" + b"\x7f\0\0\1" + peer.getsockname()[1].to_bytes(2, "big")
        # One that is not wrapped is dropped.
        udp.sendto(header + b"plain", relay)
        udp.sendto(client.codec.encode_one(header + b"question"), relay)
        data, where = peer.recvfrom(100)
        assert data == b"question"
        peer.sendto(b"answer", where)
        assert client.codec.decode_one(udp.recv(1000)) == header + b"answer"


def test_a_message_that_was_changed_ends_the_connection(server, connect, target):
    pysocksd, address = server()
    client = connect(address, protocol.INTEGRITY)
    message = bytearray(client.codec.encode(b"\x05\x01\x00\x01" + target.address))
    message[-1] ^= 1
    client.sock.sendall(message)
    assert client.sock.recv(1) == b""
    assert "GSSAPI" in pysocksd.line()


def test_too_little_protection_is_refused(server, connect):
    pysocksd, address = server("--gssapi-protection", "confidentiality")
    with pytest.raises(protocol.AuthenticationFailed):
        connect(address, protocol.INTEGRITY)
    assert "a level of protection that is not served: 01" in pysocksd.line()
    assert connect(address, protocol.CONFIDENTIALITY).level == protocol.CONFIDENTIALITY


def test_clients_without_kerberos_are_sent_away(server, tmp_path, target):
    users = tmp_path / "users"
    users.write_text("bob:secret\n")
    for args, greeting, answer in (
        ((), b"\x05\x02\x00\x02", b"\x05\xff"),
        ((), b"\x04\x01\0\x50\x7f\0\0\1\0", b"\x00\x5b"),
        (("-u", str(users)), b"\x05\x02\x00\x02", b"\x05\x02"),
        (("-u", str(users)), b"\x05\x03\x00\x01\x02", b"\x05\x01"),
    ):
        _, address = server(*args)
        with socket.create_connection(address, PATIENCE) as sock:
            sock.sendall(greeting)
            assert receive(sock, 2) == answer


@pytest.mark.parametrize("token", [b"garbage", b"\x60\x82\xff\xff"])
def test_a_token_that_is_none(server, token):
    _, address = server()
    with socket.create_connection(address, PATIENCE) as sock:
        sock.sendall(b"\x05\x01\x01" + protocol.pack(1, token))
        assert receive(sock, 4) == b"\x05\x01" + protocol.REFUSAL
        assert sock.recv(1) == b""


def test_rules_for_a_principal(server, connect, target):
    _, address = server("--allow", f"user {USER}", "--deny", "*")
    client = connect(address, protocol.INTEGRITY)
    client.send(b"\x05\x01\x00\x01" + target.address)
    assert client.receive(2) == b"\x05\x00"
