"""A server behind other proxies: chains, routes, datagrams, and whose refusal is told."""

import contextlib
import socket

import pytest

from pywrap.errors import ConfigError
from pywrap.server.access_rules import parse_access
from pywrap.server.server import Server
from pywrap.server.udp.peer_names import DENIED
from tests.support import peers
from tests.support.raw_sockets import receive, receive_all
from tests.support.servers import PATIENCE, reference_server
from tests.support.upstream import ask, listening, name, through, visit


@contextlib.contextmanager
def behind_one_another(count, **kw):
    """Servers, each of which goes through the one before it; the last one is for clients."""
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(reference_server())]
        for _ in range(count - 1):
            servers.append(stack.enter_context(reference_server(upstream=through(servers[-1].url()), **kw)))
        yield servers


def test_a_server_behind_a_server_behind_a_server(client, target):
    with behind_one_another(3) as servers:
        sock, code = ask(client, servers[-1], name("localhost", target.port))
        assert code == 0
        peer = target.accept()
        peer.sendall(b"answer")
        assert receive(sock, 6 + 6)[6:] == b"answer"
        sock.sendall(b"question")
        assert receive(peer, 8) == b"question"
        # Only the first of them, at the end, looks the name up.
        for server in servers:
            assert server.asked == [("CONNECT", "localhost", target.port)]


@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("more", [(), ("socks5h://192.0.2.1",)])
def test_a_server_that_is_its_own_proxy_does_not_start(listen, host, more):
    with socket.create_server((listen, 0)) as listener, socket.socket(fileno=listener.detach()) as own:
        itself = f"{host}:{own.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"^the proxy is this server itself: {itself}$"):
            Server([], sockets=[own], upstream=through(f"socks5h://{itself}", *more))


def test_a_way_that_leads_on_from_this_server_is_one(target):
    with Server([("127.0.0.1", 0)]) as server:
        itself = f"socks5h://{server.addresses[0]}"
        routes = ["127.0.0.0/8 direct"]
        server.set_upstream(through(itself, f"socks5h://127.0.0.1:{target.port}", routes=routes))
        with pytest.raises(ConfigError):
            server.set_upstream(through(itself, routes=routes))


def test_datagrams_too(client):
    with behind_one_another(3) as servers, socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(PATIENCE)
        port = peer.getsockname()[1]
        sock, code = ask(client, servers[-1], b"\x01" + bytes(6), 3)
        assert code == 0
        relay = ("127.0.0.1", int.from_bytes(receive(sock, 6)[-2:], "big"))
        with socket.socket(type=socket.SOCK_DGRAM) as udp:
            udp.settimeout(PATIENCE)
            udp.bind(("127.0.0.1", 0))
            for header in (
                b"\0\0\0\x01" + b"\x7f\0\0\1" + port.to_bytes(2, "big"),
                b"\0\0\0" + name("localhost", port),
            ):
                udp.sendto(header + b"question", relay)
                data, where = peer.recvfrom(100)
                assert data == b"question"
                peer.sendto(b"answer", where)
                answer = udp.recv(100)
                assert answer.startswith(b"\0\0\0\x01" + b"\x7f\0\0\1") and answer.endswith(b"answer")
            # In two fragments, which are put together here and sent whole.
            udp.sendto(b"\0\0\x01" + header[3:] + b"que", relay)
            udp.sendto(b"\0\0\x82" + header[3:] + b"stion", relay)
            assert peer.recv(100) == b"question"
        sock.close()
        for server in servers:
            server.wait_for_udp_closed(1)


def test_an_association_ends_with_the_one_behind_it(client):
    with contextlib.ExitStack() as stack:
        far = stack.enter_context(reference_server())
        with reference_server(upstream=through(far.url())) as near:
            sock, code = ask(client, near, b"\x01" + bytes(6), 3)
            assert code == 0
            receive(sock, 6)
            stack.close()
            assert receive_all(sock) == b""


@pytest.mark.parametrize(
    "urls", [["socks5://{2}", "socks4a://{0}"], ["socks4a://{0}"], ["http://{1}", "socks5://{0}"]]
)
def test_chains_of_foreign_proxies(client, target, urls):
    try:
        with peers.dante() as dante, peers.tinyproxy() as tinyproxy, peers.microsocks() as microsocks:
            places = [f"{peer.host}:{peer.port}" for peer in (dante, tinyproxy, microsocks)]
            with reference_server(upstream=through(*[url.format(*places) for url in urls])) as server:
                sock, code = ask(client, server, b"\x01" + target.address)
                assert code == 0
                receive(sock, 6)
                sock.sendall(b"x")
                assert receive(target.accept(), 1) == b"x"
    except peers.Missing as err:
        pytest.skip(str(err))


@pytest.mark.parametrize("piece", [1, 1000])
def test_nothing_beyond_the_reply_is_read(client, piece):
    """The proxy's answers come in pieces, and what the destination says first right behind them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"socks5://user:secret@127.0.0.1:{listener.getsockname()[1]}"
        with reference_server(upstream=through(url)) as server:
            sock = client.connect(server)
            sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00" + name("example.org", 22))
            proxy, _ = listener.accept()
            proxy.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with proxy:
                reply = b"\x05\x00\x00\x03" + b"\x05where" + b"\x00\x16" + b"SSH-2.0"
                for size, answer in (
                    (4, b"\x05\x02"),
                    (13, b"\x01\x00"),
                    (18, reply),
                ):
                    assert len(receive(proxy, size)) == size
                    for start in range(0, len(answer), piece):
                        proxy.sendall(answer[start : start + piece])
                assert receive(sock, 2 + 12 + 7)[2:] == reply


@pytest.mark.parametrize("code", range(1, 9))
def test_the_last_proxy_s_refusal_is_told(client, code):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"socks5://127.0.0.1:{listener.getsockname()[1]}"
        with reference_server(upstream=through(url)) as server:
            sock = client.connect(server)
            sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00" + name("example.org", 22))
            proxy, _ = listener.accept()
            with proxy:
                receive(proxy, 3)
                proxy.sendall(b"\x05\x00")
                receive(proxy, 18)
                proxy.sendall(bytes([5, code, 0, 1]) + bytes(6))
                assert receive(sock, 4)[3] == code


def test_other_failures_of_a_proxy(client, refusing_port, target):
    for url, words in (
        (f"socks5://127.0.0.1:{refusing_port}", "connection refused"),
        (f"socks5://127.0.0.1:{target.port}", "hung up"),
    ):
        with reference_server(upstream=through(url)) as server:
            sock = client.connect(server)
            sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00" + name("example.org", 22))
            if words == "hung up":
                proxy = target.accept()
                receive(proxy, 3)
                proxy.close()
            assert receive(sock, 4)[3] == 1
            assert words in server.seen[0].outcome and f"proxy {url[9:]}" in server.seen[0].outcome


def test_a_hop_that_refuses_the_next_one(client, refusing_port):
    with reference_server() as first:
        chain = through(first.url(), f"socks5://127.0.0.1:{refusing_port}")
        with reference_server(upstream=chain) as server:
            # Its "connection refused" is not about the destination.
            assert ask(client, server, name("example.org", 80))[1] == 1
            assert server.seen[0].outcome.startswith(
                f"hop 1 of 2, 127.0.0.1:{first.port}: connection refused"
            )


def test_a_silent_proxy(client, target):
    with reference_server(
        upstream=through(f"socks5://127.0.0.1:{target.port}"), connect_timeout=0.05
    ) as server:
        assert ask(client, server, name("example.org", 80))[1] == 6


def test_a_client_that_leaves_takes_its_way_along(client, target):
    with reference_server(upstream=through(f"socks5://127.0.0.1:{target.port}")) as server:
        sock = client.connect(server)
        sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00" + name("example.org", 22))
        proxy = target.accept()
        receive(proxy, 3)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
        assert proxy.recv(1) == b""


@pytest.mark.parametrize("far_away", [False, True])
@pytest.mark.parametrize(
    "host",
    [
        *("127.1", "0x7f000001", "2130706433", "0177.0.0.1", "::ffff:7f00:1", "0:0:0:0:0:ffff:127.0.0.1"),
        *("[::FFFF:7F00:1]", "::ffff:127.0.0.1%lo"),
    ],
)
def test_no_spelling_of_an_address_is_a_way_around_a_rule(client, target, udp, host, far_away):
    denied = [parse_access("deny", "127.0.0.1")]
    with contextlib.ExitStack() as stack:
        far = stack.enter_context(reference_server())
        upstream = through(far.url()) if far_away else through()
        server = stack.enter_context(reference_server(upstream=upstream, rules=denied))
        assert ask(client, server, name(host, target.port))[1] == 2
        assert [seen.outcome for seen in server.seen] == ["not allowed: deny 127.0.0.1"]
        assert not far.seen
        sock, code = ask(client, server, b"\x01" + bytes(6), 3)
        assert code == 0
        relay = socket.inet_ntoa(receive(sock, 4)), int.from_bytes(receive(sock, 2), "big")
        udp.sendto(b"\0\0\0" + name(host, target.port) + b"question", relay)
        sock.close()
        ((_, traffic, _),) = server.wait_for_udp_closed(1)
        assert traffic.dropped == {DENIED: 1}


def test_routes(client, target):
    with reference_server() as far:
        routes = ["127.0.0.1 direct", "*.blocked.test block", "udp *:53 block"]
        with reference_server(upstream=through(far.url(), routes=routes)) as server:
            assert ask(client, server, b"\x01" + target.address)[1] == 0
            assert far.seen == []
            assert ask(client, server, name("localhost", target.port))[1] == 0
            assert far.asked == [("CONNECT", "localhost", target.port)]
            assert ask(client, server, name("www.blocked.test", target.port))[1] == 2


def test_names_are_resolved_there(client):
    with reference_server() as far, reference_server(upstream=through(far.url())) as server:
        sock, code = ask(client, server, name("localhost", 0), 0xF0)
        assert (code, receive(sock, 4)) == (0, b"\x7f\0\0\1")
        assert far.asked == [("RESOLVE", "localhost", 0)]
        # What does not go there is not done here in its place.
        assert ask(client, server, b"\x01" + b"\x7f\0\0\1" + bytes(2), 0xF1)[1] == 7


# ---------------------------------------------------------------- datagrams through a chain


def exchange(udp, relay, peer):
    """A datagram to an address and one to a name, and the answers."""
    port = peer.getsockname()[1]
    for destination in b"\x01\x7f\0\0\1" + port.to_bytes(2, "big"), name("localhost", port):
        udp.sendto(b"\0\0\0" + destination + b"question", relay)
        data, where = peer.recvfrom(100)
        assert data == b"question"
        peer.sendto(b"answer", where)
        assert udp.recv(100) == b"\0\0\0\x01\x7f\0\0\1" + port.to_bytes(2, "big") + b"answer"


@pytest.fixture
def udp():
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.bind(("127.0.0.1", 0))
        yield sock


@pytest.fixture
def datagram_peer():
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.bind(("127.0.0.1", 0))
        yield sock


@pytest.mark.parametrize("hops", [2, 3])
def test_datagrams_through_a_chain(client, udp, datagram_peer, hops):
    with contextlib.ExitStack() as stack:
        chain = [stack.enter_context(reference_server()) for _ in range(hops)]
        with reference_server(upstream=through(*[each.url() for each in chain])) as server:
            sock, code = ask(client, server, b"\x01" + bytes(6), 3)
            assert code == 0, server.seen
            relay = ("127.0.0.1", int.from_bytes(receive(sock, 6)[-2:], "big"))
            exchange(udp, relay, datagram_peer)
            # Each of them was asked for an association, and the last one alone has sent to the peer.
            assert [seen.command for each in chain for seen in each.seen].count("UDP ASSOCIATE") == hops
            assert ("localhost", datagram_peer.getsockname()[1]) in chain[-1].udp_peers
            sock.close()
            for each in (server, *chain):
                each.wait_for_udp_closed(1)


def test_datagrams_through_foreign_proxies(client, udp, datagram_peer):
    try:
        with peers.dante() as dante, reference_server() as own:
            places = f"socks5://{dante.host}:{dante.port}", own.url()
            for urls in places[:1], places, places[::-1]:
                with reference_server(upstream=through(*urls)) as server:
                    sock, code = ask(client, server, b"\x01" + bytes(6), 3)
                    assert code == 0, server.seen
                    relay = ("127.0.0.1", int.from_bytes(receive(sock, 6)[-2:], "big"))
                    exchange(udp, relay, datagram_peer)
    except peers.Missing as err:
        pytest.skip(str(err))


@pytest.mark.parametrize("ends", [0, 1])
def test_an_association_ends_with_each_hop_of_its_chain(client, udp, datagram_peer, ends):
    with contextlib.ExitStack() as stack:
        stacks = [contextlib.ExitStack(), contextlib.ExitStack()]
        chain = [stack.enter_context(each).enter_context(reference_server()) for each in stacks]
        with reference_server(upstream=through(*[each.url() for each in chain])) as server:
            sock, code = ask(client, server, b"\x01" + bytes(6), 3)
            assert code == 0
            receive(sock, 6)
            stacks[ends].close()
            assert receive_all(sock) == b""


@pytest.mark.parametrize("at", [0, 1])
def test_a_hop_without_udp_is_a_refusal(client, at):
    with reference_server() as one, reference_server() as other:
        urls = [one.url(), other.url()]
        urls[at] = urls[at].replace("socks5h", "socks4a")
        with reference_server(upstream=through(*urls)) as server:
            assert ask(client, server, b"\x01" + bytes(6), 3)[1] == 7
        for each in one, other:
            while each.server.connections:
                pass
    with reference_server(upstream=through("http://127.0.0.1:9")) as server:
        assert ask(client, server, b"\x01" + bytes(6), 3)[1] in (1, 7)


# ---------------------------------------------------------------- BIND


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("how", ["chain", "behind one another", "socks4a"])
def test_bind_at_the_last_proxy(client, version, how):
    with contextlib.ExitStack() as stack:
        if how == "behind one another":
            *others, server = stack.enter_context(behind_one_another(3))
        else:
            others = [stack.enter_context(reference_server()) for _ in range(2)]
            urls = [each.url(scheme="socks4a" if how == "socks4a" else "socks5h") for each in others]
            server = stack.enter_context(reference_server(upstream=through(*urls)))
        last = others[0] if how == "behind one another" else others[-1]
        sock = client.connect(server)
        if version == 4:
            sock.sendall(b"\x04\x02\0\x15\x7f\0\0\1\0" + b"early")
        else:
            sock.sendall(b"\x05\x01\x00" + b"\x05\x02\x00\x01\x7f\0\0\1\0\x15" + b"early")
            assert receive(sock, 2) == b"\x05\x00"
        place = listening(sock, version)
        assert last.seen[0].command == "BIND" and last.seen[0].answer.port == place[1]
        with visit(place) as peer:
            assert listening(sock, version) == peer.getsockname()
            assert receive(peer, 5) == b"early"
            peer.sendall(b"answer")
            assert receive(sock, 6) == b"answer"
            sock.shutdown(socket.SHUT_WR)
            peer.settimeout(PATIENCE)
            assert peer.recv(1) == b""
        assert server.wait_for_arrived(1)[0].answer.port


def test_a_client_of_bind_that_leaves_ends_it_there(client):
    with reference_server() as far, reference_server(upstream=through(far.url())) as server:
        sock = client.connect(server)
        sock.sendall(b"\x05\x01\x00" + b"\x05\x02\x00\x01\x7f\0\0\1\0\x15")
        receive(sock, 2)
        place = listening(sock)
        sock.close()
        assert far.wait_for_arrived(1)[0].outcome == "the client went away"
        with pytest.raises(ConnectionRefusedError):
            visit(place)


def test_no_peer_comes_to_the_last_proxy(client):
    with reference_server(bind_timeout=0.05) as far, reference_server(upstream=through(far.url())) as server:
        sock = client.connect(server)
        sock.sendall(b"\x05\x01\x00" + b"\x05\x02\x00\x01\x7f\0\0\1\0\x15")
        receive(sock, 2)
        listening(sock)
        assert receive(sock, 10)[1] == 6
    with reference_server() as far:
        with reference_server(upstream=through(far.url()), bind_timeout=0.05) as server:
            sock = client.connect(server)
            sock.sendall(b"\x05\x01\x00" + b"\x05\x02\x00\x01\x7f\0\0\1\0\x15")
            receive(sock, 2)
            listening(sock)
            assert receive(sock, 10)[1] == 6
            far.wait_for_arrived(1)


def test_bind_through_dante(client):
    try:
        with peers.dante() as dante:
            with reference_server(upstream=through(f"socks5://{dante.host}:{dante.port}")) as server:
                sock = client.connect(server)
                sock.sendall(b"\x05\x01\x00" + b"\x05\x02\x00\x01\x7f\0\0\1\0\x15")
                receive(sock, 2)
                with visit(listening(sock)) as peer:
                    assert listening(sock) == peer.getsockname()
                    peer.sendall(b"x")
                    assert receive(sock, 1) == b"x"
    except peers.Missing as err:
        pytest.skip(str(err))


def test_a_hop_without_bind(client):
    with reference_server(upstream=through("http://127.0.0.1:9")) as server:
        assert ask(client, server, b"\x01\x7f\0\0\1\0\x15", 2)[1] in (1, 7)
