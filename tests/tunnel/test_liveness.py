"""Which hops are alive, as told by a request that needs no other machine."""

from __future__ import annotations

import select
import socket

import pytest

from pywrap.config.settings import Proxy, Settings
from pywrap.errors import SocksError
from pywrap.tunnel.attempt import TunnelAttempt, wait_for
from pywrap.tunnel.deadline import Deadline
from pywrap.tunnel.hops import Hops
from pywrap.tunnel.liveness import LivenessProbe
from tests.support.scripted import CHOICE, GREETING, scripted
from tests.support.servers import reference_server

QUESTION = b"\x05\x01\x00\x01" + b"\x7f\x00\x00\x01" + b"\x00\x09"
GRANT = b"\x05\x00\x00\x01" + b"\x00" * 6
MS = 0.001


@pytest.fixture
def hops():
    return Hops(socket.getaddrinfo)


def proxy(server, scheme="socks5h", username=None, password=None):
    return Proxy(scheme, server.host, server.port, username, password)


def is_dead(hops, *path, read_timeout=20.0):
    """What is known of the last hop after it was asked."""
    with socket.socket() as sock:
        sock.setblocking(False)
        attempt = TunnelAttempt(
            sock, LivenessProbe(hops, path), Deadline(Settings(read_timeout=read_timeout))
        )
        try:
            wait_for(attempt, select.poll)
        except SocksError:
            pass
    return hops.is_dead(path[-1])


@pytest.mark.parametrize(
    ("script", "dead"),
    [
        ((len(QUESTION), b"\x05\x05"), False),
        ((len(QUESTION), b"\x05\x02"), False),
        ((len(QUESTION), b"\x05\x00\x00\x01" + b"\x00" * 6), False),
        ((len(QUESTION),), False),
        ((len(QUESTION), None), True),
    ],
)
def test_any_answer_is_a_sign_of_life(hops, script, dead):
    with scripted(len(GREETING), CHOICE, *script) as server:
        assert is_dead(hops, proxy(server), read_timeout=100 * MS if dead else 20.0) is dead
    assert server.received == [GREETING + QUESTION]


def test_a_hop_that_does_not_even_greet_is_dead(hops):
    with scripted(None) as server:
        assert is_dead(hops, proxy(server), read_timeout=100 * MS)


def test_a_hop_that_cannot_be_reached_is_dead(hops, refusing_port):
    gone = Proxy("socks5h", "127.0.0.1", refusing_port)
    with reference_server() as server:
        assert is_dead(hops, gone)
        hops.live((gone,))
        assert is_dead(hops, proxy(server), gone)
        assert not hops.is_dead(proxy(server))


def test_the_silence_of_one_is_not_that_of_the_next(hops):
    with scripted(len(GREETING), CHOICE, None) as silent, reference_server() as server:
        assert not is_dead(hops, proxy(silent), proxy(server), read_timeout=100 * MS)


@pytest.mark.parametrize(
    ("server", "how"),
    [
        ("microsocks", ()),
        ("microsocks_with_password", ("socks5h", b"alice", b"secret")),
        ("dante", ()),
        ("dante", ("socks4",)),
        ("ssh_dynamic", ()),
        ("ssh_dynamic", ("socks4a",)),
        ("tinyproxy", ("http",)),
        ("proxy_py", ("http",)),
    ],
)
def test_servers_that_others_wrote_are_alive(server, how, request, hops):
    assert not is_dead(hops, proxy(request.getfixturevalue(server), *how))


# ---------------------------------------------------------------- behind a hop that grants too early


@pytest.mark.parametrize("liar", [(), (None,), (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", None)])
def test_a_hop_that_answers_without_the_one_before_is_not_dead(hops, liar):
    with (
        reference_server() as server,
        scripted(len(GREETING), CHOICE, len(QUESTION), GRANT, 3, *liar) as granting,
    ):
        assert not is_dead(hops, proxy(granting), proxy(server), read_timeout=300 * MS)
        assert hops.is_dead(proxy(granting))
        assert server.asked == [("CONNECT", "127.0.0.1", 9)]


def test_a_hop_that_answers_neither_way_is(hops):
    with (
        scripted(None) as silent,
        scripted(len(GREETING), CHOICE, len(QUESTION), GRANT, 3, None) as granting,
    ):
        assert is_dead(hops, proxy(granting), proxy(silent), read_timeout=300 * MS)
        assert not hops.is_dead(proxy(granting))


@pytest.mark.parametrize(
    "script",
    [(None,), (len(GREETING), b"\x05\xff"), (len(GREETING), CHOICE, len(QUESTION), None)],
)
def test_the_question_is_no_destination_in_what_the_user_is_told(script):
    error_to_report = []
    hops = Hops(socket.getaddrinfo, error_to_report.append)
    with scripted(*script) as server:
        assert is_dead(hops, proxy(server), read_timeout=100 * MS)
    assert "127.0.0.1:9" not in error_to_report[0]
    assert "(asked whether it is alive" in error_to_report[0]
