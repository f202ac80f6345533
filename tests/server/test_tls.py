"""Clients that speak TLS first: the same SOCKS inside, byte for byte, and their certificates."""

import hashlib
import os
import re
import signal
import socket
import ssl
import threading
from _socket import socket as RawSocket

import pytest

from pywrap.relay.loop import Loop
from pywrap.relay.wrapped import Wrapped
from tests.support.authority import Authority
from tests.support.pysocksd import failure
from tests.support.raw_sockets import receive, receive_all
from tests.support.servers import PATIENCE, reference_server

REQUEST = b"\x05\x01\x00" + b"\x05\x01\x00\x01"


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


def connect(address, context, hostname="localhost"):
    # By default, an end without close_notify looks like one with it; so does a RST (3.11, OpenSSL 3).
    sock = socket.create_connection(address, PATIENCE)
    return context.wrap_socket(sock, server_hostname=hostname, suppress_ragged_eofs=False)


@pytest.fixture
def tls_server(authority):
    with reference_server(listen=[], listen_tls=[("127.0.0.1", 0)], tls=authority.server()) as running:
        yield running


def test_a_tunnel_within_tls(tls_server, authority, target):
    with connect(tls_server.address, authority.client()) as sock:
        sock.sendall(REQUEST + target.address + b"early")
        assert receive(sock, 12)[:4] == b"\x05\x00" + b"\x05\x00"
        peer = target.accept()
        assert receive(peer, 5) == b"early"
        peer.sendall(b"answer")
        assert receive(sock, 6) == b"answer"
        peer.close()
        assert sock.recv(1) == b""
    assert tls_server.asked == [("CONNECT", "127.0.0.1", target.port)]


def test_megabytes_in_each_direction(tls_server, authority, target):
    # One after the other: an SSLSocket is not for two threads at a time.
    data = os.urandom(5_000_000)
    with connect(tls_server.address, authority.client()) as sock:
        sock.sendall(REQUEST + target.address)
        assert receive(sock, 12)[2:4] == b"\x05\x00"
        peer = target.accept()
        for source, sink in (sock, peer), (peer, sock):
            thread = threading.Thread(target=source.sendall, args=(data,))
            thread.start()
            digest, left = hashlib.sha256(), len(data)
            while left:
                piece = sink.recv(65536)
                assert piece
                digest.update(piece)
                left -= len(piece)
            thread.join()
            assert digest.digest() == hashlib.sha256(data).digest()


def test_one_byte_at_a_time(tls_server, authority, target):
    # TLS itself, as bytes of the wire.
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(tls_server.address, PATIENCE) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def step(call, *args):
            while True:
                try:
                    result = call(*args)
                except ssl.SSLWantReadError:
                    result = None
                for byte in outgoing.read():
                    sock.sendall(bytes([byte]))
                if result is not None or call == tls.do_handshake and tls.version() and tls.cipher():
                    return result
                incoming.write(sock.recv(65536))

        step(lambda: tls.do_handshake() or True)
        step(tls.write, REQUEST + target.address)
        data = b""
        while len(data) < 12:
            data += step(tls.read, 100)
        assert data[:4] == b"\x05\x00" + b"\x05\x00"


def test_a_refusal_arrives(tls_server, authority, refusing_port):
    with connect(tls_server.address, authority.client()) as sock:
        sock.sendall(REQUEST + b"\x7f\0\0\1" + refusing_port.to_bytes(2, "big"))
        assert receive_all(sock) == b"\x05\x00" + b"\x05\x05\x00\x01" + bytes(6)


def test_datagrams_beside_tls(tls_server, authority):
    with (
        connect(tls_server.address, authority.client()) as sock,
        socket.socket(type=socket.SOCK_DGRAM) as peer,
        socket.socket(type=socket.SOCK_DGRAM) as udp,
    ):
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(PATIENCE)
        sock.sendall(b"\x05\x01\x00" + b"\x05\x03\x00\x01" + bytes(6))
        relay = ("127.0.0.1", int.from_bytes(receive(sock, 12)[-2:], "big"))
        udp.sendto(b"\0\0\0\x01" + b"\x7f\0\0\1" + peer.getsockname()[1].to_bytes(2, "big") + b"hello", relay)
        assert peer.recv(100) == b"hello"


def test_a_download_that_was_cut_short_does_not_look_complete(tls_server, authority, target):
    with connect(tls_server.address, authority.client()) as sock:
        sock.sendall(REQUEST + target.address)
        assert receive(sock, 12)[2:4] == b"\x05\x00"
        peer = target.accept()
        peer.sendall(b"half")
        assert receive(sock, 4) == b"half"
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        with pytest.raises((ConnectionResetError, ssl.SSLError)):
            sock.recv(1)


@pytest.mark.parametrize(
    "data", [b"\x05\x02\x00\x02\x05", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello"]
)
def test_what_is_no_tls(tls_server, client, data):
    sock = client.connect(tls_server)
    sock.sendall(data)
    assert receive_all(sock)[:1] in (b"", b"\x15")
    assert "TLS: " in tls_server.wait_for_troubles(1)[0]


def test_a_client_of_plain_socks_is_sent_away_at_once(tls_server, client):
    sock = client.connect(tls_server)
    sock.sendall(b"\x05\x01\x00")
    assert receive_all(sock) == b""
    assert tls_server.wait_for_troubles(1)[0].endswith(
        ": TLS: a client without it, whose first byte is 0x05 (probably SOCKS without TLS)"
    )


def test_a_client_that_breaks_off_resets_its_target(tls_server, authority, target):
    sock = connect(tls_server.address, authority.client())
    sock.sendall(REQUEST + target.address)
    assert receive(sock, 12)[2:4] == b"\x05\x00"
    peer = target.accept()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
    with pytest.raises(ConnectionResetError):
        peer.recv(1)


class Plain:
    """A codec that changes nothing."""

    ended = False

    def decode(self, data):
        return data

    encode = decode

    def finish(self):
        return b"end"

    def take_output(self):
        return b""


@pytest.mark.parametrize("lost", [False, True])
def test_a_client_that_does_not_read_is_no_reason_to_spin(lost):
    loop = Loop()
    words, living = [], set()
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as peer,
    ):
        outer, _ = socket.socket.accept(listener)
        outer = RawSocket(fileno=outer.detach())
        outer.setblocking(False)
        wrapped = Wrapped(loop, outer, Plain(), b"", words.append, living)
        loop.turn(0)
        filled = 0
        while True:
            try:
                filled += outer.send(bytes(100_000))
            except BlockingIOError:
                break
        # The session has something to say, or it does not read what the client says; and both end.
        wrapped.near.send(b"last")
        loop.turn(0)
        if lost:
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.close()
            loop.turn(PATIENCE)
        wrapped.near.close()
        for _ in range(5):
            loop.turn(0)
        assert loop.turn(0) == 0
        if not lost:
            peer.settimeout(PATIENCE)
            while filled:
                filled -= len(peer.recv(min(filled, 65536)))
                loop.turn(0)
            assert receive(peer, 7) == b"lastend"
            loop.turn(0)
            assert peer.recv(1) == b""
            # What it says now is thrown away, and its end is waited for.
            peer.sendall(b"late")
            peer.close()
            while living:
                loop.turn(PATIENCE)
    assert words == (["the connection is lost"] if lost else [])
    assert not living
    loop.dispose()


def test_everything_is_given_back(authority, target):
    before = sorted(os.listdir("/proc/self/fd"))
    with reference_server(listen=[], listen_tls=[("127.0.0.1", 0)], tls=authority.server()) as server:
        for _ in range(5):
            with connect(server.address, authority.client()) as sock:
                sock.sendall(REQUEST + target.address)
                receive(sock, 12)
                peer = target.accept()
                sock.sendall(b"x")
                receive(peer, 1)
            peer.close()
        server.wait_for_closed(5)
        while server.server.connections:
            pass
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_clients_without_a_certificate_are_sent_away(authority, target):
    own = authority.issue("alice")
    authority.issue("localhost")
    with reference_server(listen=[], listen_tls=[("127.0.0.1", 0)], tls=authority.server(True)) as server:
        with connect(server.address, authority.client(own)) as sock:
            sock.sendall(REQUEST + target.address)
            assert receive(sock, 4) == b"\x05\x00" + b"\x05\x00"
        with pytest.raises(ssl.SSLError), connect(server.address, authority.client()) as sock:
            sock.sendall(REQUEST + target.address)
            receive(sock, 4)


def test_the_program_reads_its_certificate_again(program, authority, target, tmp_path):  # noqa: F811
    certificate, key = tmp_path / "own.pem", tmp_path / "own.key"

    def install(name):
        authority.issue(name)
        certificate.write_bytes(authority.certificate.read_bytes())
        key.write_bytes(authority.key.read_bytes())

    install("localhost")
    pysocksd = program("--listen-tls", "127.0.0.1:0", "--certificate", str(certificate), "--key", str(key))
    address = pysocksd.listening()
    connect(address, authority.client()).close()
    install("proxy.test")
    pysocksd.process.send_signal(signal.SIGHUP)
    while "SIGHUP" not in pysocksd.line():
        pass
    connect(address, authority.client(), "proxy.test").close()


def test_bad_certificates(authority, tmp_path):
    status, stderr = failure("--listen-tls", "127.0.0.1:0")
    assert (status, stderr.splitlines()[0]) == (2, "pysocksd: error: --listen-tls needs a certificate")
    for text, words in ("", "not a certificate"), (None, "No such file"):
        path = tmp_path / "bad.pem"
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        status, stderr = failure("--listen-tls", "127.0.0.1:0", "--certificate", str(path))
        assert status == 1
        assert re.search(words, stderr)
