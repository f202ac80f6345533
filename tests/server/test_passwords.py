"""Hashes of passwords, and log-ins that are checked slowly or were wrong before."""

import threading

import pytest

from pywrap.errors import ConfigError
from pywrap.server import passwords
from pywrap.server.passwords import Failures, hash_password, parse_hash
from pywrap.server.users import add_user, read_users
from tests.support.raw_sockets import receive, receive_all
from tests.support.servers import reference_server

# RFC 7914 section 12: scrypt("pleaseletmein", "SodiumChloride", 16384, 8, 1), of which this is the beginning.
OF_THE_RFC = b"$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU$cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofI"


@pytest.fixture
def cheap(monkeypatch):
    monkeypatch.setattr(passwords, "_COST", 4)
    monkeypatch.setattr(passwords, "_FIRST_DELAY", 0.001)


def test_the_vector_of_the_rfc():
    assert parse_hash(OF_THE_RFC).matches(b"pleaseletmein")
    assert not parse_hash(OF_THE_RFC).matches(b"pleaseletmeout")


def test_a_hash_is_salted_and_read_again(cheap):
    first, second = hash_password(b"secret"), hash_password(b"secret")
    assert first != second
    for each in first, second:
        assert parse_hash(each).matches(b"secret")
        assert not parse_hash(each).matches(b"Secret")


def test_the_default_is_what_it_says():
    assert hash_password(b"x").startswith(b"$scrypt$ln=14,r=8,p=1$")


@pytest.mark.parametrize(
    "text",
    [
        b"$scrypt$",
        b"$scrypt$ln=14,r=8$AAAA$AAAA",
        b"$scrypt$ln=14,r=8,p=1$AAAA",
        b"$scrypt$ln=x,r=8,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA",
        b"$scrypt$ln=63,r=8,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA",
        b"$scrypt$ln=14,r=8,p=1,q=2$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA",
        b"$scrypt$ln=14,r=8,p=1$AAAA$AAAA",
    ],
)
def test_what_is_no_hash(text, tmp_path):
    with pytest.raises(ConfigError):
        parse_hash(text)
    path = tmp_path / "users"
    path.write_bytes(b"alice:" + text + b"\n")
    with pytest.raises(ConfigError, match="users:1: "):
        read_users(str(path))


def test_users_are_added_and_changed_and_the_rest_is_kept(tmp_path, cheap):
    path = tmp_path / "users"
    assert add_user(str(path), b"alice", b"one")
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"# people\n" + path.read_bytes() + b"bob:plain")
    path.chmod(0o640)
    assert add_user(str(path), b"carol", b"three")
    assert not add_user(str(path), b"alice", b"two")
    text = path.read_bytes()
    assert text.startswith(b"# people\nalice:$scrypt$")
    assert b"one" not in text and b"two" not in text
    users = read_users(str(path))
    assert list(users) == [b"alice", b"bob", b"carol"]
    assert users[b"alice"].matches(b"two")
    assert users[b"bob"] == b"plain"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir()] == ["users"]


@pytest.mark.parametrize("name", [b"", b"a:b", b"a\nb", b"#a", b" a", b"a" * 256, b"\xff"])
def test_names_that_the_file_cannot_hold(tmp_path, name, cheap):
    with pytest.raises(ConfigError):
        add_user(str(tmp_path / "users"), name, b"x")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- logging in


def login(client, server, name, password):
    sock = client.connect(server)
    sock.sendall(b"\x05\x01\x02" + b"\x01" + bytes([len(name)]) + name + bytes([len(password)]) + password)
    assert receive(sock, 3) == b"\x05\x02" + b"\x01"
    return sock, receive(sock, 1)[0]


@pytest.fixture
def users(cheap):
    return {b"alice": parse_hash(hash_password(b"secret")), b"bob": b"plain"}


def test_log_ins_against_hashes(client, target, users):
    with reference_server(users=users) as server:
        for _ in range(2):
            sock, status = login(client, server, b"alice", b"secret")
            assert status == 0
            sock.sendall(b"\x05\x01\x00\x01" + target.address)
            assert receive(sock, 2) == b"\x05\x00"
        assert login(client, server, b"bob", b"plain")[1] == 0
        for name, password in (
            (b"alice", b"Secret"),
            (b"carol", b"secret"),
            (b"bob", b"plains"),
            (b"carol", b""),
        ):
            sock, status = login(client, server, name, password)
            assert status == 1
            assert receive_all(sock) == b""
        assert login(client, server, b"alice", b"secret")[1] == 0
        assert server.server.failed_logins == 4


def test_everything_at_once_and_a_byte_at_a_time(client, target, users):
    message = b"\x05\x01\x02" + b"\x01" + b"\x05alice" + b"\x06secret" + b"\x05\x01\x00\x01" + target.address
    with reference_server(users=users) as server:
        for pieces in [message + b"data"], [bytes([byte]) for byte in message + b"data"]:
            sock = client.connect(server)
            for piece in pieces:
                sock.sendall(piece)
            assert receive(sock, 6) == b"\x05\x02" + b"\x01\x00" + b"\x05\x00"
            assert receive(target.accept(), 4) == b"data"


def test_a_hash_is_computed_once_while_it_is_right(client, users, monkeypatch):
    calls = []
    real = passwords.Hashed.matches
    monkeypatch.setattr(
        passwords.Hashed, "matches", lambda self, data: calls.append(data) or real(self, data)
    )
    with reference_server(users=users) as server:
        for password in b"secret", b"secret", b"wrong", b"wrong", b"secret":
            login(client, server, b"alice", password)
        # An unknown user costs as much.
        login(client, server, b"carol", b"any")
    assert calls == [b"secret", b"wrong", b"wrong", b"any"]


def test_a_slow_hash_stops_no_other_client_and_a_client_may_leave(client, target, users, monkeypatch):
    released = threading.Event()
    monkeypatch.setattr(passwords.Hashed, "matches", lambda self, data: released.wait(30))
    with reference_server(users=users) as server:
        waiting = []
        for _ in range(20):
            sock = client.connect(server)
            sock.sendall(b"\x05\x01\x02" + b"\x01\x05alice\x01x")
            assert receive(sock, 2) == b"\x05\x02"
            waiting.append(sock)
        assert login(client, server, b"bob", b"plain")[1] == 0
        waiting[0].close()
        # What it sends meanwhile is not collected.
        waiting[1].setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                waiting[1].send(bytes(100_000))
        released.set()
        assert receive(waiting[2], 2) == b"\x01\x00"


def test_a_client_that_failed_waits_also_when_it_is_right(client, users, monkeypatch):
    monkeypatch.setattr(passwords, "_FIRST_DELAY", 0.2)
    with reference_server(users=users) as server:
        for _ in range(2):
            assert login(client, server, b"bob", b"no")[1] == 1
        started = passwords.monotonic()
        assert login(client, server, b"bob", b"plain")[1] == 0
        assert passwords.monotonic() - started > 0.2


def test_delays_grow_and_log_ins_queue():
    failures = Failures()
    failures.add(100.0)
    assert failures.queue(100.0) == pytest.approx(0.1)
    # Two at the same moment: the second waits for the first.
    assert failures.queue(100.0) == pytest.approx(0.2)
    for _ in range(50):
        failures.add(100.0)
    assert failures.queue(1000.0) == 0
    assert failures.queue(1000.0) == 5
