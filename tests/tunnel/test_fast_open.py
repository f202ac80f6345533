"""TCP Fast Open, in a network namespace where servers may do it."""

from __future__ import annotations

import json
import select
import socket
import sys
import threading

import pytest

from pywrap.config.settings import Proxy, Settings
from pywrap.errors import SocksError
from pywrap.socks.wire import Endpoint
from pywrap.tunnel.attempt import TunnelAttempt, wait_for
from pywrap.tunnel.deadline import Deadline
from pywrap.tunnel.hops import Hops
from pywrap.tunnel.retry_policy import RetryPolicy
from pywrap.tunnel.selection import Fixed
from tests.support.child import source_of
from tests.support.namespaces import alone_with_fast_open
from tests.support.peers import Missing
from tests.support.run import run

# Clients may, servers may, and all that listen do.
SETTING = 0x403

# linux/tcp.h: tcpi_options is the sixth byte, and this bit of it says that the SYN carried data.
TCPI_OPT_SYN_DATA = 32


def serve(listener, count):
    for _ in range(count):
        client, _ = listener.accept()
        with client:
            client.recv(1000)
            client.sendall(b"\x05\x00" + b"\x05\x00\x00\x01" + bytes(6))
            client.recv(1000)


def serving(host, port, count):
    listener = socket.create_server((host, port))
    thread = threading.Thread(target=serve, args=(listener, count))
    thread.start()
    return listener, thread


def open_through(hops, *proxies, **limits):
    plan = RetryPolicy(hops, Fixed(proxies), Endpoint("192.0.2.1", 80), pipeline="on", fast_open=True)
    sock = socket.socket()
    sock.setblocking(False)
    try:
        sock = wait_for(TunnelAttempt(sock, plan, Deadline(Settings(timeout=20, **limits))), select.poll)
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
        return bool(info[5] & TCPI_OPT_SYN_DATA), sock.getpeername()[0]
    except SocksError as err:
        return type(err).__name__, str(err)
    finally:
        sock.close()


@pytest.fixture
def alone():
    """``alone(program)``: what ``program`` prints as JSON, in a namespace of its own."""
    try:
        enter = alone_with_fast_open(SETTING)
    except Missing as err:
        pytest.skip(str(err))

    def alone(program):
        return run(*enter, sys.executable, "-c", source_of(program)).json

    return alone


def test_the_first_messages_are_in_the_syn_from_the_second_connection_on(alone):
    def program():
        hops = Hops(socket.getaddrinfo)
        listener, thread = serving("127.0.0.1", 1080, 3)
        proxy = Proxy("socks5h", "127.0.0.1", 1080)
        print(json.dumps([open_through(hops, proxy) for _ in range(3)]))
        thread.join()
        listener.close()

    said = alone(program)
    assert said == [[False, "127.0.0.1"], [True, "127.0.0.1"], [True, "127.0.0.1"]]


def test_a_proxy_that_is_gone_is_not_reached(alone):
    # The kernel has its cookie, so connect() succeeds, and it is recv() that is refused.
    def program():
        hops = Hops(socket.getaddrinfo)
        listener, thread = serving("127.0.0.1", 1080, 2)
        proxy = Proxy("socks5h", "127.0.0.1", 1080)
        before = [open_through(hops, proxy), open_through(hops, proxy)]
        thread.join()
        listener.close()
        print(json.dumps([before[1][0], open_through(hops, proxy)]))

    said = alone(program)
    assert said == [True, ["SocksError", "cannot reach the proxy 127.0.0.1:1080: Connection refused"]]


def test_the_next_address_is_tried_then(alone):
    def program():
        where = ["127.0.0.1", "127.0.0.2"]
        hops = Hops(lambda host, port, *_: [(socket.AF_INET, 1, 6, "", (each, port)) for each in where])
        proxy = Proxy("socks5h", "proxy.example", 1080)
        listener, thread = serving("127.0.0.1", 1080, 2)
        other, other_thread = serving("127.0.0.2", 1080, 1)
        before = [open_through(hops, proxy), open_through(hops, proxy)]
        thread.join()
        listener.close()
        print(json.dumps([before[1], open_through(hops, proxy)[1]]))
        other_thread.join()
        other.close()

    said = alone(program)
    assert said == [[True, "127.0.0.1"], "127.0.0.2"]


def test_a_silent_proxy_ends_at_its_own_limit(alone):
    def program():
        hops = Hops(socket.getaddrinfo)
        listener, thread = serving("127.0.0.1", 1080, 2)
        proxy = Proxy("socks5h", "127.0.0.1", 1080)
        for _ in range(2):
            open_through(hops, proxy)
        thread.join()
        # It takes the SYN and says nothing: connected, so the limit of connecting is not meant.
        print(json.dumps(open_through(hops, proxy, connect_timeout=0.05, read_timeout=0.1)))
        listener.close()

    said = alone(program)
    assert said[0] == "ProxyTimeout"
    assert said[1].startswith("proxy 127.0.0.1:1080: no answer in time")
