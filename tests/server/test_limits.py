"""What one client may have, and all of them: connections, handshakes, bytes per second, time."""

import socket

import pytest

from pywrap.relay import bucket as bucket_module
from pywrap.relay.bucket import Bucket
from pywrap.server.limits import Census, Limits
from tests.support.raw_sockets import receive, receive_all
from tests.support.servers import PATIENCE, reference_server

USERS = {b"alice": b"secret", b"bob": b"hidden"}


def ask(client, server, target, command=1, user=b""):
    """Ask for a connection; return the socket and the reply's code."""
    sock = client.connect(server)
    if user:
        sock.sendall(b"\x05\x01\x02" + b"\x01" + bytes([len(user)]) + user + b"\x06" + USERS[user])
        assert receive(sock, 4) == b"\x05\x02" + b"\x01\x00"
    else:
        sock.sendall(b"\x05\x01\x00")
        assert receive(sock, 2) == b"\x05\x00"
    where = bytes(6) if command != 1 else target.address
    sock.sendall(bytes([5, command, 0, 1]) + where)
    return sock, receive(sock, 10)[1]


@pytest.mark.parametrize(
    "limit, words",
    [
        (Limits(connections=2), "too many connections"),
        (Limits(per_client=2), "too many connections of this client"),
        (Limits(per_user=2), "too many connections of this user"),
        (Limits(associations=2), "too many associations of this client"),
        (Limits(binds=2), "too many BINDs of this client"),
    ],
)
def test_beyond_a_limit_is_refused_in_words_until_there_is_room(target, client, limit, words):
    command = 3 if limit.associations else 2 if limit.binds else 1
    users = USERS if limit.per_user else None
    with reference_server(limits=limit, users=users) as server:
        user = b"alice" if users else b""
        first, code = ask(client, server, target, command, user)
        assert code == 0
        assert ask(client, server, target, command, user)[1] == 0
        assert ask(client, server, target, command, user)[1] == 1
        assert server.seen[-1].outcome == words
        if users:
            assert ask(client, server, target, command, b"bob")[1] == 0
        first.close()
        if command == 1:
            target.accept().close()
        while ask(client, server, target, command, user)[1]:
            pass


def test_another_client_has_limits_of_its_own(target, client):
    with reference_server(limits=Limits(per_client=1), listen=[("0.0.0.0", 0)]) as server:
        assert ask(client, server, target)[1] == 0
        assert ask(client, server, target)[1] == 1
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE, ("127.0.0.2", 0)) as sock:
            sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x01" + target.address)
            assert receive(sock, 4) == b"\x05\x00" + b"\x05\x00"


def test_half_open_handshakes_give_way(target, client):
    with reference_server(limits=Limits(handshakes=3)) as server:
        waiting = [client.connect(server) for _ in range(3)]
        for sock in waiting:
            sock.sendall(b"\x05\x01\x00")
            assert receive(sock, 2) == b"\x05\x00"
        # The oldest of the client with the most, and one of another client stays.
        with socket.create_connection(server.address, PATIENCE, ("127.0.0.2", 0)) as other:
            other.sendall(b"\x05\x01\x00")
            assert receive(other, 2) == b"\x05\x00"
            assert waiting[0].recv(1) == b""
            assert ask(client, server, target)[1] == 0
            other.sendall(b"\x05\x01\x00\x01" + target.address)
            assert receive(other, 2) == b"\x05\x00"
        assert waiting[1].recv(1) == b""
        waiting[2].sendall(b"\x05\x01\x00\x01" + target.address)
        assert receive(waiting[2], 2) == b"\x05\x00"


def test_300_half_open_clients_stop_no_other(target, client):
    with reference_server(limits=Limits(handshakes=50)) as server:
        for _ in range(300):
            client.connect(server)
        assert ask(client, server, target)[1] == 0


def test_an_idle_tunnel_ends(target, client):
    with reference_server(limits=Limits(idle=0.05)) as server:
        near, far = client.tunnel(server, target)
        for sock in near, far:
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
    assert server.troubles[0].endswith("nothing has passed for 0.05 s")


def test_an_idle_association_ends(target, client):
    with reference_server(limits=Limits(idle=0.05)) as server:
        sock, code = ask(client, server, target, 3)
        assert code == 0
        assert receive_all(sock) == b""


def test_what_is_not_idle_stays(target, client):
    with reference_server(limits=Limits(idle=0.2)) as server:
        near, far = client.tunnel(server, target)
        idle, _ = client.tunnel(server, target)
        idle.settimeout(0.02)
        # The other one has ended, so the time was over for this one as well.
        while True:
            near.sendall(b"x")
            assert receive(far, 1) == b"x"
            try:
                idle.recv(1)
            except TimeoutError:
                continue
            except ConnectionResetError:
                break
        near.sendall(b"y")
        assert receive(far, 1) == b"y"


def test_a_rate_is_kept_by_all_tunnels_of_a_client(target, client, monkeypatch):
    monkeypatch.setattr(bucket_module, "_LEAST_BURST", 10_000)
    with reference_server(limits=Limits(rate=100_000)) as server:
        tunnels = [client.tunnel(server, target) for _ in range(2)]
        started = bucket_module.monotonic()
        for _, far in tunnels:
            far.sendall(bytes(100_000))
        for near, _ in tunnels:
            receive(near, 100_000)
        # Half of them at once, and at the end each is an eighth of a second ahead.
        assert bucket_module.monotonic() - started > 0.7
        # The other direction has a rate of its own.
        near, far = tunnels[0]
        near.sendall(b"up")
        assert receive(far, 2) == b"up"
        near.shutdown(socket.SHUT_WR)
        assert far.recv(1) == b""


def test_datagrams_beyond_the_rate_are_dropped(client, target):
    with reference_server(limits=Limits(rate=1000)) as server, socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(PATIENCE)
        sock = client.connect(server)
        sock.sendall(b"\x05\x01\x00" + b"\x05\x03\x00\x01" + bytes(6))
        relay = ("127.0.0.1", int.from_bytes(receive(sock, 12)[-2:], "big"))
        with socket.socket(type=socket.SOCK_DGRAM) as udp:
            header = b"\0\0\0\x01" + b"\x7f\0\0\1" + peer.getsockname()[1].to_bytes(2, "big")
            for number in range(30):
                udp.sendto(header + bytes([number]) * 1000, relay)
            assert peer.recv(2000) == bytes(1000)
        sock.close()
        (_, traffic, _) = server.wait_for_udp_closed(1)[0]
        assert traffic.dropped["beyond the client's rate"] >= 10


# ---------------------------------------------------------------- counting


def test_a_bucket_may_be_overdrawn(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(bucket_module, "monotonic", lambda: now[0])
    bucket = Bucket(100_000)
    bucket.take(100_000)
    assert bucket.wait() == 0
    bucket.take(50_000)
    assert bucket.wait() == pytest.approx(0.5)
    now[0] += 0.25
    assert bucket.wait() == pytest.approx(0.25)
    now[0] += 1000
    bucket.take(100_001)
    assert bucket.wait() == pytest.approx(0.00001)


def test_nothing_is_left_of_those_that_went():
    class Session:
        party = "192.0.2.1"

    census = Census(Limits(rate=1))
    sessions = [Session() for _ in range(5)]
    for session in sessions:
        census.enter(session)
        census.begun(session)
    assert census.take("user", b"alice", 1)
    assert not census.take("user", b"alice", 1)
    census.give_back("user", b"alice")
    for session in sessions:
        census.leave(session)
    assert (census.total, census._counts, census._half_open) == (0, {}, {})
