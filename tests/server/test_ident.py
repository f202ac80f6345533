"""SOCKS4's ident check, with an identd of ours that says what it is told to."""

import re
import socket
import threading

import pytest

from pywrap.server import ident
from tests.support.raw_sockets import receive, receive_all
from tests.support.servers import PATIENCE, reference_server


@pytest.fixture
def identd(monkeypatch):
    """Answers each question with ``identd.answer``, {} being its ports; None: nothing at all."""

    class Identd:
        answer = "{} : USERID : UNIX : alice\r\n"
        asked = []

    listener = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(ident, "PORT", listener.getsockname()[1])
    identd = Identd()

    def serve():
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with sock:
                question = sock.recv(100).decode()
                identd.asked.append(question)
                if identd.answer is None:
                    sock.recv(1)
                else:
                    sock.sendall(identd.answer.format(question.strip()).encode())

    thread = threading.Thread(target=serve)
    thread.start()
    yield identd
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(PATIENCE)


def ask(client, server, target, user=b"alice", data=b""):
    sock = client.connect(server)
    sock.sendall(b"\x04\x01" + target.port_bytes + b"\x7f\0\0\1" + user + b"\0" + data)
    return sock


def test_a_user_that_is_confirmed_is_served(client, target, identd):
    with reference_server(ident="require") as server:
        sock = ask(client, server, target, data=b"early")
        assert receive(sock, 2) == b"\x00\x5a"
        assert receive(target.accept(), 5) == b"early"
        assert identd.asked == [f"{sock.getsockname()[1]}, {server.port}\r\n"]


@pytest.mark.parametrize(
    "answer, code, words",
    [
        ("{} : USERID : UNIX : bob\r\n", 93, "identd says it is 'bob'"),
        ("{} : USERID : UNIX :alice2\r\n", 93, "identd says it is 'alice2'"),
        ("{} : ERROR : NO-USER\r\n", 93, "identd says 'NO-USER'"),
        ("{} : ERROR : HIDDEN-USER", 93, "identd says 'HIDDEN-USER'"),
        ("what?\r\n", 92, "no ident: its answer is none"),
        ("", 92, "no ident: its answer is none"),
        ("x" * 5000, 92, "no ident: its answer is none"),
    ],
)
def test_another_user_and_none_have_replies_of_their_own(client, target, identd, answer, code, words):
    identd.answer = answer
    with reference_server(ident="require") as server:
        assert receive_all(ask(client, server, target)) == bytes([0, code]) + bytes(6)
    assert [seen.outcome for seen in server.seen] == [words]


def test_no_identd(client, target, refusing_port, monkeypatch):
    monkeypatch.setattr(ident, "PORT", refusing_port)
    with reference_server(ident="require") as server:
        assert receive_all(ask(client, server, target)) == b"\x00\x5c" + bytes(6)
    assert server.seen[0].outcome == "no ident: it cannot be reached"


def test_a_silent_identd(client, target, identd, monkeypatch):
    identd.answer = None
    monkeypatch.setattr(ident, "PATIENCE", 0.05)
    with reference_server(ident="require") as server:
        assert receive_all(ask(client, server, target)) == b"\x00\x5c" + bytes(6)
    assert server.seen[0].outcome == "no ident: it does not answer"


def test_a_client_that_leaves_meanwhile(client, target, identd):
    identd.answer = None
    with reference_server(ident="require") as server:
        sock = ask(client, server, target)
        while not identd.asked:
            pass
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
        assert server.wait_for_seen(1)[0].outcome == "the client went away"


def test_logging_only_serves_at_once(client, target, identd):
    identd.answer = "{} : USERID : UNIX : bob\r\n"
    with reference_server(ident="log") as server:
        sock = ask(client, server, target)
        assert receive(sock, 2) == b"\x00\x5a"
        assert re.fullmatch(r"127\.0\.0\.1:\d+: identd says it is 'bob'", server.wait_for_troubles(1)[0])


def test_socks5_is_not_asked_for(client, target, identd):
    with reference_server(ident="require") as server:
        client.tunnel(server, target)
    assert identd.asked == []


def test_a_confirmed_user_has_rules(client, target, identd):
    from pywrap.server.access_rules import parse_access

    rules = [parse_access("allow", "user alice"), parse_access("deny", "*")]
    for mode, code in ("require", 0x5A), ("off", 0x5B):
        with reference_server(ident=mode, rules=rules) as server:
            assert receive(ask(client, server, target), 2) == bytes([0, code])
