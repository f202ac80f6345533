"""Upstream proxies over TLS and with Kerberos: verified, carried both ways, and told when they fail."""

import hashlib
import os
import socket
import threading

import pytest

from pywrap.config.url import parse_proxy
from pywrap.errors import ConfigError
from pywrap.server.limits import Limits
from pywrap.server.upstream import Upstream
from tests.support.authority import Authority
from tests.support.kerberos import realm, silent_kdc
from tests.support.peers import Missing
from tests.support.raw_sockets import receive, receive_all
from tests.support.servers import reference_server
from tests.support.upstream import ask, listening, name, through, visit

# Seconds.
SHORT = 1.0

LINGER = b"\1\0\0\0\0\0\0\0"


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def front(authority):
    """A server behind a TLS front, for ``localhost``."""
    with reference_server(listen=[], listen_tls=[("127.0.0.1", 0)], tls=authority.server()) as running:
        yield running


def over_tls(front, **words):
    query = "&".join(f"{key}={value}" for key, value in words.items())
    return f"socks5h+tls://localhost:{front.port}?{query}"


def carry(sock, peer):
    """Data both ways, a half-close each, all by its SHA-256."""
    sent = {sock: os.urandom(3_000_000), peer: os.urandom(2_000_000)}

    def send(end):
        end.sendall(sent[end])
        end.shutdown(socket.SHUT_WR)

    threads = [threading.Thread(target=send, args=(end,)) for end in sent]
    for thread in threads:
        thread.start()
    for end, other in ((peer, sock), (sock, peer)):
        digest = hashlib.sha256()
        while piece := end.recv(65536):
            digest.update(piece)
        assert digest.digest() == hashlib.sha256(sent[other]).digest()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("verified", ["ca", "pin", "both", "name"])
def test_a_tunnel_through_a_verified_front(client, target, authority, front, verified):
    words = {
        "ca": {"ca": authority.ca},
        "pin": {"pin": authority.pin},
        "both": {"ca": authority.ca, "pin": authority.pin.upper()},
        "name": {"ca": authority.ca, "name": "localhost"},
    }[verified]
    url = over_tls(front, **words)
    if verified == "name":
        url = url.replace("//localhost", "//127.0.0.1")
    with reference_server(upstream=through(url)) as server:
        sock, code = ask(client, server, name("localhost", target.port))
        assert code == 0
        receive(sock, 6)
        carry(sock, target.accept())
        assert front.asked == [("CONNECT", "localhost", target.port)]


@pytest.mark.parametrize(
    "words, why",
    [
        ({}, "TLS: unable to get local issuer certificate|TLS: self-signed certificate in certificate chain"),
        ({"pin": "00" * 32}, "TLS: another certificate than the pinned one: {pin}"),
        ({"ca": "{ca}", "name": "other.test"}, "TLS: hostname mismatch"),
        ({"ca": "{ca}", "pin": "00" * 32}, "TLS: another certificate"),
    ],
)
def test_a_front_that_is_not_the_one(client, authority, front, words, why):
    words = {key: value.format(ca=authority.ca) for key, value in words.items()}
    with reference_server(upstream=through(over_tls(front, **words))) as server:
        assert ask(client, server, name("example.test", 80))[1] == 1
        outcome = server.seen[0].outcome
        assert outcome.startswith(f"proxy localhost:{front.port}: TLS: ")
        assert any(each.format(pin=authority.pin) in outcome for each in why.split("|"))
    # It was told nothing, neither the request nor a password.
    assert front.seen == []


def test_our_own_certificate(client, target, authority):
    own = authority.issue("alice")
    both = authority.certificate.parent / "own.pem"
    both.write_bytes(own.private_key_pem.bytes() + own.cert_chain_pems[0].bytes())
    authority.issue("localhost")
    with reference_server(listen=[], listen_tls=[("127.0.0.1", 0)], tls=authority.server(True)) as front:
        with reference_server(upstream=through(over_tls(front, ca=authority.ca, cert=both))) as server:
            assert ask(client, server, b"\x01" + target.address)[1] == 0
        with reference_server(upstream=through(over_tls(front, ca=authority.ca))) as server:
            assert ask(client, server, b"\x01" + target.address)[1] == 1
            assert "TLS: " in server.seen[0].outcome


def test_tls_at_each_place_of_a_chain(client, target, authority, front):
    with reference_server() as plain:
        tls = over_tls(front, ca=authority.ca)
        for urls in (tls, plain.url()), (plain.url(), tls), (tls, tls), (tls, plain.url(), tls):
            with reference_server(upstream=through(*urls)) as server:
                sock, code = ask(client, server, b"\x01" + target.address)
                assert code == 0
                receive(sock, 6)
                carry(sock, target.accept())


@pytest.mark.parametrize("hops", [1, 2])
@pytest.mark.parametrize("who", ["client", "target"])
def test_a_reset_passes(client, target, authority, front, hops, who):
    with reference_server(upstream=through(*[over_tls(front, ca=authority.ca)] * hops)) as server:
        sock, code = ask(client, server, b"\x01" + target.address)
        assert code == 0
        receive(sock, 6)
        peer = target.accept()
        one, other = (sock, peer) if who == "client" else (peer, sock)
        one.sendall(b"half")
        assert receive(other, 4) == b"half"
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        one.close()
        with pytest.raises(ConnectionResetError):
            other.recv(1)


def test_a_front_that_dies_resets_the_client(client, authority):
    """Whoever waits for more must not take what came for all there is."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"socks5h+tls://localhost:{listener.getsockname()[1]}?ca={authority.ca}"
        with reference_server(upstream=through(url)) as server:
            sock = client.connect(server)
            sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00" + name("example.test", 80))
            raw, _ = listener.accept()
            with authority.server().wrap_socket(raw, server_side=True) as proxy:
                receive(proxy, 3)
                proxy.sendall(b"\x05\x00")
                receive(proxy, 19)
                proxy.sendall(b"\x05\x00\x00\x01" + bytes(6) + b"half")
                assert receive(sock, 2 + 10 + 4)[-4:] == b"half"
                proxy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
            with pytest.raises(ConnectionResetError):
                sock.recv(1)


def test_what_is_no_tls(client, target):
    with reference_server() as plain:
        with reference_server(upstream=through(f"socks5h+tls://localhost:{plain.port}")) as server:
            assert ask(client, server, b"\x01" + target.address)[1] == 1
            assert "TLS: " in server.seen[0].outcome or "hung up" in server.seen[0].outcome


def test_bind_within_tls(client, authority, front):
    with reference_server(upstream=through(over_tls(front, ca=authority.ca))) as server:
        sock = client.connect(server)
        sock.sendall(b"\x05\x01\x00" + b"\x05\x02\x00\x01\x7f\0\0\1\0\x15")
        receive(sock, 2)
        with visit(listening(sock)) as peer:
            assert listening(sock) == peer.getsockname()
            carry(sock, peer)


def test_datagrams_are_not_sent_beside_it(client, authority, front):
    with reference_server(upstream=through(over_tls(front, ca=authority.ca))) as server:
        assert ask(client, server, b"\x01" + bytes(6), 3)[1] == 7
        assert "datagrams would not be secured" in server.seen[0].outcome


def test_everything_is_given_back(client, target, authority, front):
    url = over_tls(front, ca=authority.ca)
    before = sorted(os.listdir("/proc/self/fd"))
    with reference_server(upstream=through(url, url)) as server:
        for _ in range(5):
            with socket.create_connection(server.address) as sock:
                sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x01" + target.address)
                receive(sock, 12)
                with target.accept() as peer:
                    sock.sendall(b"x")
                    receive(peer, 1)
        server.wait_for_closed(5)
    while front.server.connections:
        pass
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_files_that_cannot_be_read(tmp_path):
    for text in None, "":
        path = tmp_path / "ca.pem"
        if text is not None:
            path.write_text(text)
        with pytest.raises(ConfigError, match="certificates"):
            with reference_server(upstream=through(f"socks5h+tls://localhost?ca={path}")):
                pass


# ---------------------------------------------------------------- Kerberos


@pytest.fixture(scope="module")
def kerberos(tmp_path_factory):
    pytest.importorskip("gssapi", reason="the extra `gssapi` is not installed")
    try:
        with realm(tmp_path_factory.mktemp("realm")) as running:
            with pytest.MonkeyPatch.context() as patch:
                for key, value in running.environ.items():
                    patch.setenv(key, value)
                yield running
    except Missing as err:
        pytest.skip(f"no KDC: {err}")


@pytest.fixture
def kerberized(kerberos):
    from pywrap.relay.kerberos import acceptor
    from pywrap.socks.serve import Gssapi

    with reference_server(gssapi=Gssapi(acceptor(kerberos.service), (0, 1, 2, 3))) as running:
        yield running


@pytest.mark.parametrize("protection", ["none", "integrity", "confidentiality"])
@pytest.mark.parametrize("fronted", [False, True])
def test_a_tunnel_with_a_ticket(client, target, authority, front, kerberized, protection, fronted):
    urls = [f"socks5h://localhost:{kerberized.port}?gssapi&protection={protection}"]
    if fronted:
        urls = [over_tls(front, ca=authority.ca), *urls]
    with reference_server(upstream=through(*urls)) as server:
        sock, code = ask(client, server, name("localhost", target.port))
        assert code == 0, server.seen
        receive(sock, 6)
        carry(sock, target.accept())
        assert [seen.user for seen in kerberized.seen] == ["alice@PYSOCKSIFY.TEST"]


def test_no_ticket(client, kerberized, monkeypatch):
    url = f"socks5h://localhost:{kerberized.port}?gssapi=socks/unknown.test"
    with reference_server(upstream=through(url)) as server:
        assert ask(client, server, name("example.test", 80))[1] == 1
        assert "GSSAPI: " in server.seen[0].outcome


def test_a_kdc_that_is_silent_keeps_nothing_else_waiting(client, kerberos, kerberized, tmp_path, monkeypatch):
    with silent_kdc(kerberos, tmp_path) as (environ, kdc):
        monkeypatch.setenv("KRB5_CONFIG", environ["KRB5_CONFIG"])
        # A service of which no test has got a ticket.
        chain = through(f"socks5h://localhost:{kerberized.port}?gssapi=socks/localhost.test")
        with reference_server(upstream=chain, limits=Limits(connect=SHORT)) as server:
            waiting = client.connect(server)
            waiting.sendall(b"\x05\x01\x00" + b"\x05\x01\x00" + name("example.test", 80))
            kdc.recvfrom(4096)
            # Another client's request is refused meanwhile, as no other way leads there.
            refused = client.connect(server)
            refused.sendall(b"\x05\x01\x00" + b"\x05\x09\x00" + name("example.test", 80))
            assert receive(refused, 4) == b"\x05\x00" + b"\x05\x07"
            assert receive(waiting, 4) == b"\x05\x00" + b"\x05\x06"
            assert [seen.command for seen in server.seen] == ["9", "CONNECT"]


def test_a_proxy_without_kerberos(client, kerberos):
    with reference_server() as plain:
        with reference_server(upstream=through(f"socks5h://localhost:{plain.port}?gssapi")) as server:
            assert ask(client, server, name("example.test", 80))[1] == 1
            assert "the proxy does not accept GSSAPI" in server.seen[0].outcome


def test_the_chain_is_read_from_its_urls():
    chain = Upstream(
        [parse_proxy("socks5h+tls://localhost?pin=" + "0" * 64), parse_proxy("socks5h://h?gssapi")]
    )
    assert [hop.is_secured for hop in chain.secured_hops] == [True, True]


def test_a_refusal_within_tls_is_told(client, authority, front, refusing_port):
    with reference_server(upstream=through(over_tls(front, ca=authority.ca))) as server:
        sock, code = ask(client, server, b"\x01\x7f\0\0\1" + refusing_port.to_bytes(2, "big"))
        assert code == 5
        receive_all(sock)
