"""Which hops support pipelining, as told by a greeting and an impossible command in one piece."""

from __future__ import annotations

import select
import socket

import pytest

from pywrap.config.settings import Proxy, Settings
from pywrap.errors import SocksError
from pywrap.socks.wire import Endpoint
from pywrap.tunnel.attempt import TunnelAttempt, wait_for
from pywrap.tunnel.deadline import Deadline
from pywrap.tunnel.hops import Hops
from pywrap.tunnel.pipelining_probe import PassingProbe, PipeliningProbe, unknown, unseen
from pywrap.tunnel.retry_policy import RetryPolicy
from pywrap.tunnel.selection import Fixed
from tests.support.scripted import CHOICE, GREETING, scripted
from tests.support.servers import reference_server

IMPOSSIBLE = b"\x05\x7f\x00\x01" + b"\x00\x00\x00\x00" + b"\x00\x00"
QUESTION = GREETING + IMPOSSIBLE


@pytest.fixture
def hops():
    return Hops(socket.getaddrinfo)


def proxy(server, *login):
    return Proxy("socks5h", server.host, server.port, *login)


def ask_in_background(question, timeout=20.0):
    """Put ``question``, and have it learn the answer."""
    with socket.socket() as sock:
        sock.setblocking(False)
        attempt = TunnelAttempt(sock, question, Deadline(Settings(timeout=timeout)))
        try:
            wait_for(attempt, select.poll)
        except SocksError:
            pass
        attempt.abandon()
        if attempt.sock is not sock:
            attempt.sock.close()


def learn(hops, *path, timeout=20.0):
    """What is known of the last hop after it was asked."""
    ask_in_background(PipeliningProbe(hops, path), timeout)
    return hops.supports_pipelining(path[-1])


@pytest.mark.parametrize(
    ("script", "supports"),
    [
        ((len(QUESTION), CHOICE + b"\x05\x07"), True),
        ((len(QUESTION), CHOICE + b"\x05\x01\x00\x01" + b"\x00" * 6), True),
        # Who grants it is mad, but has read it.
        ((len(QUESTION), CHOICE + b"\x05\x00\x00\x01" + b"\x00" * 6), True),
        ((len(QUESTION), b"\x05\xff"), False),
        ((len(QUESTION), b"HTTP/1.1 400"), False),
        ((len(QUESTION), CHOICE, None), False),
    ],
)
def test_what_an_answer_tells(hops, script, supports):
    with scripted(*script) as server:
        assert learn(hops, proxy(server), timeout=0.3 if None in script else 20.0) is supports
    assert server.received == [QUESTION]


def in_turn(server, *scripts):
    """Have ``server`` play one of ``scripts`` to each client, in this order."""
    left = list(scripts)
    play = server._play

    def play_next(client):
        server.script = left.pop(0)
        play(client)

    server._play = play_next


LET_IN = (len(GREETING), CHOICE, len(IMPOSSIBLE))


@pytest.mark.parametrize(
    ("step_by_step", "supports", "candidate"),
    [
        # OpenSSH 10.6, or a server that wants its greeting alone.
        (LET_IN, None, True),
        # The latter, when it says so of an impossible command (trojan).
        ((*LET_IN, b"\x05\x07"), False, False),
        # It hangs up on anything.
        ((len(GREETING),), None, False),
    ],
)
def test_a_hang_up_without_a_byte_is_compared_too(hops, step_by_step, supports, candidate):
    with scripted() as server:
        in_turn(server, (len(QUESTION),), step_by_step)
        assert learn(hops, proxy(server)) is supports
        assert hops.is_candidate(proxy(server)) is candidate


# An OpenSSH 10.6 that is sent everything at once: both of its replies in one write.
REQUEST = b"\x05\x01\x00\x03" + b"\x0bexample.org" + b"\x01\xbb"
REPLY = b"\x05\x00\x00\x01" + b"\x00" * 6


def connect(hops, server, pipeline="auto"):
    """Open a tunnel to example.org:443 through ``server`` as a program's connect() does."""
    plan = RetryPolicy(hops, Fixed((proxy(server),)), Endpoint("example.org", 443), pipeline=pipeline)
    with socket.socket() as sock:
        sock.setblocking(False)
        attempt = TunnelAttempt(sock, plan, Deadline(Settings(timeout=20.0)))
        wait_for(attempt, select.poll)
        attempt.sock.close()


def test_a_candidate_is_tried_by_a_connection_that_costs_two_round_trips(hops):
    with scripted(len(GREETING + REQUEST), CHOICE + REPLY) as server:
        hops.may_support_pipelining(proxy(server))
        connect(hops, server)
        assert hops.supports_pipelining(proxy(server)) is True
        connect(hops, server)
    assert server.received == [GREETING + REQUEST] * 2


def test_a_candidate_that_wants_its_greeting_alone_costs_one_connection(hops):
    alone = (len(GREETING), CHOICE, len(REQUEST), REPLY)
    with scripted() as server:
        in_turn(server, (len(GREETING + REQUEST),), alone, alone)
        hops.may_support_pipelining(proxy(server))
        connect(hops, server)
        assert hops.supports_pipelining(proxy(server)) is False
        connect(hops, server)
    assert server.received == [GREETING + REQUEST] * 3


@pytest.mark.parametrize(
    ("behind", "passes"),
    [
        ((len(QUESTION), CHOICE + b"\x05\x07"), True),
        # `ssh -D`, and one that grants anything.
        ((len(QUESTION), CHOICE), True),
        ((len(QUESTION), CHOICE + REPLY), True),
        # It has swallowed it.
        ((None,), False),
        # Nobody knows: it does no harm not to try.
        ((), False),
    ],
)
def test_what_a_hop_passes_on_is_told_by_the_one_behind(hops, behind, passes):
    last = Proxy("socks5h", "127.0.0.1", 1081)
    ask = GREETING + b"\x05\x01\x00\x01" + b"\x7f\x00\x00\x01" + b"\x04\x39"
    with scripted(len(ask), CHOICE + REPLY, *behind) as server:
        hops.set_pipelining(proxy(server), True)
        hops.set_pipelining(last, True)
        path = proxy(server), last
        assert unseen(hops, path) == [path]
        # It has just been asked.
        assert unseen(hops, path) == []
        ask_in_background(PassingProbe(hops, path), 0.3 if None in behind else 20.0)
        assert hops.is_passer(proxy(server)) is passes


def test_behind_another_hop_that_passes_on(hops):
    with reference_server() as one, reference_server() as other:
        first, last = proxy(one), Proxy("socks4a", other.host, other.port)
        assert unseen(hops, (first, last)) == []
        hops.set_pipelining(first, True)
        assert unseen(hops, (first, Proxy("raw", other.host, other.port))) == []
        (path,) = unseen(hops, (first, last))
        ask_in_background(PassingProbe(hops, path))
        assert hops.is_passer(first) is True
        assert unseen(hops, (first, last)) == []


@pytest.mark.parametrize(
    ("step_by_step", "supports"),
    [
        # `ssh -D` has no other refusal.
        ((), True),
        # It had swallowed the command, and given up, or come to its end.
        ((b"\x05\x07",), False),
        ((b"\x05\x00\x00\x01" + b"\x00" * 6,), False),
        # Nobody knows.
        ((None,), None),
    ],
)
def test_a_hang_up_is_compared_with_what_is_said_step_by_step(hops, step_by_step, supports, monkeypatch):
    ended = (len(GREETING), CHOICE, len(IMPOSSIBLE))
    with scripted(*ended) as server:
        scripts = [ended, (*ended, *step_by_step)]
        play = server._play

        def play_next(client):
            server.script = scripts.pop(0)
            play(client)

        monkeypatch.setattr(server, "_play", play_next)
        hops.used(proxy(server))
        assert learn(hops, proxy(server), timeout=0.5 if None in step_by_step else 20.0) is supports
        # Asked another time, where it is not known.
        assert hops.used(proxy(server)) == (1 if supports is None else 2)
    assert server.received == [QUESTION] * 2


def test_a_hop_that_is_not_reached_is_probed_another_time(hops, refusing_port):
    gone = Proxy("socks5h", "127.0.0.1", refusing_port)
    with reference_server() as server:
        for path in ((gone,), (proxy(server), gone)):
            hops.used(gone)
            assert learn(hops, *path) is None
            assert hops.used(gone) == 1


def test_behind_another_hop(hops):
    with reference_server() as one, reference_server() as other:
        assert learn(hops, proxy(one), proxy(other)) is True
        assert hops.supports_pipelining(proxy(one)) is None
        assert one.asked == [("CONNECT", other.host, other.port)]


@pytest.mark.parametrize(
    ("server", "login", "supports"),
    [
        ("microsocks", (), False),
        ("microsocks_with_password", (b"alice", b"secret"), False),
        ("dante", (), True),
        ("ssh_dynamic", (), True),
    ],
)
def test_servers_that_others_wrote(server, login, supports, request, hops):
    peer = request.getfixturevalue(server)
    assert learn(hops, proxy(peer, *login), timeout=20.0 if supports else 0.3) is supports


def test_a_hop_that_is_used_a_second_time_is_probed_once(hops):
    one, other = Proxy("socks5h", "192.0.2.1"), Proxy("socks5h", "192.0.2.2")
    http, raw = Proxy("http", "192.0.2.3"), Proxy("raw", "192.0.2.4")
    path = one, http, other, raw
    assert unknown(hops, path) == []
    assert unknown(hops, path) == [(one,), (one, http, other)]
    assert unknown(hops, path) == []
    hops.unused(other)
    hops.set_pipelining(one, True)
    assert unknown(hops, path) == []
    assert unknown(hops, path) == [(one, http, other)]
