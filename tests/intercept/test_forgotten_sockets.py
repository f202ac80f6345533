"""A socket whose call has failed is freed with its last reference, as without us."""

from __future__ import annotations

import socket

import pytest

from tests.support.child import kernel
from tests.support.inside import say

REFUSED = ("127.0.0.1", 9)
STREAM, DATAGRAM = 1, 2


def fails(place, kind, call, timeout):
    """Whether a socket of ``kind`` is freed at once when ``call`` of it has failed."""
    import gc
    import weakref

    def attempt():
        sock = socket.socket(socket.AF_INET, kind)
        sock.settimeout(timeout)
        try:
            number = getattr(sock, call)(*((b"x",) if call == "sendto" else ()), tuple(place))
        except OSError as err:
            number = err.errno
        return weakref.ref(sock), number

    gc.disable()
    freed, number = attempt()
    say(freed=freed() is None, errno=number)


def fails_in_loop(place):
    import asyncio
    import gc
    import weakref

    async def attempt():
        sock = socket.socket()
        sock.setblocking(False)
        try:
            number = await asyncio.get_running_loop().sock_connect(sock, tuple(place))
        except OSError as err:
            number = err.errno
        return weakref.ref(sock), number

    async def main():
        freed, number = await attempt()
        # The loop may have one more round to make for it.
        await asyncio.sleep(0)
        say(freed=freed() is None, errno=number)

    gc.disable()
    asyncio.run(main())


@pytest.mark.parametrize("call", ["connect", "connect_ex"])
def test_of_a_connection_that_the_proxy_refuses(proxy, refusing_port, call):
    said = kernel(proxy.url(), fails, ("127.0.0.1", refusing_port), STREAM, call, 20)
    assert said == {"freed": True, "errno": 111}


def test_without_a_proxy(refusing_port):
    said = kernel(f"socks5h://127.0.0.1:{refusing_port}", fails, REFUSED, STREAM, "connect", 20)
    assert said == {"freed": True, "errno": 111}


def test_of_a_connection_that_takes_too_long(hanging):
    said = kernel(hanging, fails, REFUSED, STREAM, "connect", 0.2)
    assert said["freed"]


def test_of_a_connection_of_an_event_loop(proxy, refusing_port):
    said = kernel(proxy.url(), fails_in_loop, ("127.0.0.1", refusing_port))
    assert said == {"freed": True, "errno": 111}


@pytest.mark.parametrize("call", ["sendto", "connect"])
@pytest.mark.parametrize("place", [("239.1.1.1", 9), ("192.0.2.1", 9)])
def test_of_a_datagram_that_is_refused(refusing_port, call, place):
    scheme = "socks5h" if place[0] == "239.1.1.1" else "socks4a"
    said = kernel(f"{scheme}://127.0.0.1:{refusing_port}", fails, place, DATAGRAM, call, 20)
    assert said["freed"]


def test_of_a_datagram_without_an_association(refusing_port):
    said = kernel(f"socks5h://127.0.0.1:{refusing_port}", fails, ("192.0.2.1", 9), DATAGRAM, "sendto", 20)
    assert said["freed"]
