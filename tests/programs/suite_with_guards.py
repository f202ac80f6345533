"""A suite that pytest-socket guards: pytest suite_with_guards.py; $HOST and $PORT are an echo server's."""

from __future__ import annotations

import asyncio
import os
import socket
import urllib.request

import pytest
from pytest_socket import SocketBlockedError, SocketConnectBlockedError

HOST, PORT = os.environ["HOST"], int(os.environ["PORT"])
ELSEWHERE = ("192.0.2.1", 80)

pytestmark = pytest.mark.filterwarnings("ignore:A test tried to use")


def talk() -> str:
    with socket.create_connection((HOST, PORT)) as sock:
        sock.sendall(b"hello")
        return sock.recv(5).decode()


async def talk_in_a_loop() -> str:
    reader, writer = await asyncio.open_connection(HOST, PORT)
    writer.write(b"hello")
    said = await reader.readexactly(5)
    writer.close()
    return said.decode()


def test_it_is_disabled_by_the_option():
    with pytest.raises(SocketBlockedError):
        socket.socket()
    with pytest.raises(SocketBlockedError):
        socket.create_connection((HOST, PORT))
    with pytest.raises(SocketBlockedError):
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with pytest.raises(SocketBlockedError):
        socket.getaddrinfo("elsewhere.test", 80)
    with pytest.raises(SocketBlockedError):
        urllib.request.urlopen(f"http://{HOST}:{PORT}/")


def test_an_event_loop_is_disabled_too():
    with pytest.raises(SocketBlockedError):
        asyncio.run(talk_in_a_loop())


def test_what_is_local_is_allowed_by_the_option():
    for sock in socket.socketpair():
        sock.close()


@pytest.mark.enable_socket
def test_it_is_enabled_by_a_mark():
    assert talk() == "hello"
    assert asyncio.run(talk_in_a_loop()) == "hello"


@pytest.mark.allow_hosts([HOST])
def test_a_host_is_allowed_and_no_other():
    assert talk() == "hello"
    assert asyncio.run(talk_in_a_loop()) == "hello"
    for connect in (socket.create_connection, lambda address: socket.socket().connect(address)):
        with pytest.raises(SocketConnectBlockedError):
            connect(ELSEWHERE)


def test_the_fixture_enables_it(socket_enabled):
    assert talk() == "hello"
