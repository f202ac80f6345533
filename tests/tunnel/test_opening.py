"""One tunnel on a real socket, to a proxy that plays a script: the state machine and its waiter."""

from __future__ import annotations

import errno
import select
import socket

import pytest

from pywrap.config.settings import Chain, Proxy, Settings
from pywrap.errors import ProtocolError, ProxyClosed, ProxyTimeout, Rejected, SocksError
from pywrap.socks.wire import Endpoint
from pywrap.tunnel.chain import handshake
from pywrap.tunnel.deadline import Deadline
from pywrap.tunnel.dial import FirstHop
from pywrap.tunnel.opening import Opening, wait_for
from tests.tunnel.scripted import CHOICE, GREETING, PATIENCE, REPLY, REQUEST, scripted

TARGET = Endpoint("example.org", 443)
MS = 0.001


def new_opening(sock, proxy, program=None, getaddrinfo=socket.getaddrinfo, **limits):
    """An ``Opening`` on ``sock``; ``proxy`` is a (host, port)."""
    settings = Settings((Chain((Proxy("socks5h", *proxy),)),), **{"timeout": PATIENCE, **limits})
    first = FirstHop(settings.chain[0], getaddrinfo)
    sock.setblocking(False)
    return Opening(sock, first, lambda: handshake(settings.chain, TARGET), Deadline(settings, program))


def open_through(proxy, sock=None, **how):
    """Open a tunnel in this thread."""
    sock = sock or socket.socket()
    try:
        return wait_for(new_opening(sock, proxy, **how), select.poll)
    except BaseException:
        sock.close()
        raise


def test_what_follows_the_reply_stays_in_the_socket():
    with scripted(len(GREETING), CHOICE, len(REQUEST), REPLY + b"SSH-2.0-server", None) as proxy:
        with open_through((proxy.host, proxy.port)) as sock:
            sock.settimeout(PATIENCE)
            assert sock.recv(100) == b"SSH-2.0-server"
    assert proxy.received == [GREETING + REQUEST]


def test_each_message_is_one_segment():
    # microsocks wants it so: nothing of the request before the answer to the greeting.
    with scripted(100, None) as proxy:
        with socket.socket() as sock:
            opening = new_opening(sock, (proxy.host, proxy.port))
            if not opening.start():
                select.select([], [sock], [], PATIENCE)
                opening.advance()
            assert opening.wants == select.POLLIN
            assert not opening.advance()
    assert proxy.received == [GREETING]


def test_a_reply_one_byte_at_a_time():
    script = [len(GREETING), *(bytes([byte]) for byte in CHOICE), len(REQUEST)]
    script += [bytes([byte]) for byte in REPLY]
    with scripted(*script, None) as proxy, open_through((proxy.host, proxy.port)) as sock:
        assert sock.getpeername() == (proxy.host, proxy.port)


@pytest.mark.parametrize("cut", range(len(CHOICE + REPLY)))
def test_a_proxy_that_hangs_up_anywhere_is_a_reset(cut):
    choice, reply = CHOICE[:cut], REPLY[: max(0, cut - len(CHOICE))]
    script = [len(GREETING), choice, *([len(REQUEST), reply] if cut >= len(CHOICE) else [])]
    with scripted(*script) as proxy, pytest.raises(ProxyClosed) as caught:
        open_through((proxy.host, proxy.port))
    assert caught.value.errno == errno.ECONNRESET
    assert f"proxy {proxy.host}:{proxy.port}" in str(caught.value)


def test_a_reset_in_the_handshake_is_a_reset():
    with scripted(len(GREETING), "RESET") as proxy, pytest.raises(ProxyClosed) as caught:
        open_through((proxy.host, proxy.port))
    assert caught.value.errno == errno.ECONNRESET


def test_a_refusal_without_the_rest_of_it():
    with (
        scripted(len(GREETING), CHOICE, len(REQUEST), b"\x05\x03") as proxy,
        pytest.raises(Rejected) as caught,
    ):
        open_through((proxy.host, proxy.port))
    assert caught.value.errno == errno.ENETUNREACH


def test_an_http_server_is_recognised():
    with scripted(len(GREETING), b"HTTP/1.1 400 Bad Request\r\n\r\n") as proxy:
        with pytest.raises(ProtocolError, match="HTTP") as caught:
            open_through((proxy.host, proxy.port))
    assert caught.value.errno == errno.EPROTO


def test_a_proxy_that_is_not_there_is_the_kernels_errno_and_named(refusing_port):
    with pytest.raises(SocksError, match=f"cannot reach the proxy 127.0.0.1:{refusing_port}") as caught:
        open_through(("127.0.0.1", refusing_port))
    assert caught.value.errno == errno.ECONNREFUSED


def test_a_silent_proxy_ends_at_the_read_timeout():
    with scripted(len(GREETING), None) as proxy, pytest.raises(ProxyTimeout, match="no answer") as caught:
        open_through((proxy.host, proxy.port), read_timeout=50 * MS)
    assert caught.value.errno == errno.ETIMEDOUT


def test_a_trickling_proxy_ends_at_the_timeout_of_the_whole():
    with scripted(len(GREETING), CHOICE[:1], None) as proxy, pytest.raises(ProxyTimeout):
        open_through((proxy.host, proxy.port), timeout=50 * MS)


def test_the_programs_own_timeout_is_worded_as_pythons():
    with scripted(len(GREETING), None) as proxy, pytest.raises(TimeoutError, match="^timed out$") as caught:
        open_through((proxy.host, proxy.port), program=50 * MS)
    assert caught.value.errno is None


def test_the_next_address_of_the_proxy_is_tried(refusing_port):
    def two(host, port, *_):
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", refusing_port)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", proxy.port)),
        ]

    with scripted(len(GREETING), CHOICE, len(REQUEST), REPLY, None) as proxy:
        with open_through(("proxy.example", 1080), getaddrinfo=two) as sock:
            assert sock.getpeername() == ("127.0.0.1", proxy.port)


def test_an_address_that_does_not_answer_is_left_for_the_next():
    # A listener whose queue is full answers no SYN.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())

        def two(host, port, *_):
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", full.getsockname()),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", proxy.port)),
            ]

        with scripted(len(GREETING), CHOICE, len(REQUEST), REPLY, None) as proxy:
            given = socket.socket()
            found = open_through(
                ("proxy.example", 1080), sock=given, getaddrinfo=two, connect_timeout=100 * MS
            )
            assert found.getpeername() == ("127.0.0.1", proxy.port)
            found.close()
            given.close()
        for sock in waiting:
            sock.close()


def test_a_proxys_name_that_does_not_resolve_is_named():
    def none(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(SocksError, match="cannot resolve the proxy proxy.example:1080: Name or") as caught:
        open_through(("proxy.example", 1080), getaddrinfo=none)
    assert caught.value.errno == errno.EHOSTUNREACH
