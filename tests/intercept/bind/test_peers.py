"""Which peers accept() returns: none that connects here, and none with the address of a direct host."""

from __future__ import annotations

import os
import select
import socket
import sys

import pytest

from tests.support.bind import BOUND, CAME, REQUEST, acceptable, at, listening, peer, url
from tests.support.inside import PATIENCE, descriptors, left_over, outcome, say
from tests.support.scripted import CHOICE, GREETING, scripted


def came(kind, address, port=20):
    """The second reply, about a peer at ``address``."""
    return bytes([5, 0, 0, kind]) + address + port.to_bytes(2, "big")


def test_a_connection_to_this_machine_is_no_peer():
    """Neither to the port that the program was bound to, nor to our end of the connection to the proxy."""

    def program():
        from pywrap.intercept import originals

        sock = socket.socket()
        sock.bind(("", 0))
        places = [sock.getsockname()]
        sock.listen()
        sock.getsockname()
        places.append(originals.getsockname(sock))
        tried = [outcome(socket.create_connection, ("127.0.0.1", port))[1] for _, port in places]
        sock.setblocking(False)
        early = outcome(sock.accept)[1]
        # The proxy goes on with its script.
        os.write(sock.fileno(), b"x")
        conn, address = acceptable(sock)
        say(tried=tried, early=early, address=address)

    with scripted(len(GREETING), CHOICE, len(REQUEST), BOUND, 1, CAME, None) as proxy:
        said = at(
            url(proxy),
            program,
        )
    assert said == {"tried": ["ECONNREFUSED"] * 2, "early": "EAGAIN", "address": ["192.0.2.7", 20]}


@pytest.mark.parametrize(
    ("reply", "who", "why"),
    [
        (came(1, b"\x7f\0\0\1"), "127.0.0.1:20", "this machine"),
        (came(4, bytes(15) + b"\1"), "[::1]:20", "this machine"),
        (came(4, bytes(10) + b"\xff\xff\x7f\0\0\2"), "[::ffff:127.0.0.2]:20", "this machine"),
        (came(1, b"\x0a\1\2\3"), "10.1.2.3:20", "in a direct network"),
        (came(1, b"\xc6\x12\0\1"), "198.18.0.1:20", "a placeholder address"),
        (came(1, b"\xa9\xfe\xa9\xfe"), "169.254.169.254:20", "a link-local address"),
        (came(3, b"\x09localhost"), "localhost:20", "a name that is known here"),
        (came(3, b"\x07db.corp"), "db.corp:20", "a name that is known here"),
        (came(3, b"\x09127.0.0.1"), "127.0.0.1:20", "this machine"),
    ],
)
@pytest.mark.parametrize("blocking", [True, False])
def test_a_peer_with_the_address_of_a_direct_host_is_hung_up_on(blocking, reply, who, why):
    """The program may trust such a peer, or connect back to it, directly."""

    def program():
        before = descriptors()
        sock = listening()
        sock.setblocking(sys.argv[1] == "True")
        assert select.select([sock], [], [], PATIENCE)[0]
        refused = outcome(sock.accept)
        # A loop calls accept() once more, which asks for another port.
        assert select.select([sock], [], [], PATIENCE)[0]
        sock.setblocking(False)
        tried = []
        while not tried or tried[-1] == "EAGAIN":
            tried.append(outcome(sock.accept)[1])
            select.select([sock], [], [], PATIENCE)
        sock.close()
        say(refused=refused, again=tried[-1], left=left_over(before))

    with scripted(len(GREETING), CHOICE, len(REQUEST), BOUND, reply + b"secret", None) as proxy:
        said = at(
            url(proxy),
            program,
            blocking,
            options=("--direct", "10.0.0.0/8", "--direct", "*.corp"),
        )
    kind, name, words = said.pop("refused")
    assert (kind, name) == ("ConnectionAbortedError", "ECONNABORTED")
    assert f"{who} refused, as the peer that the proxy has accepted: {why}" in words
    assert said == {"again": "ECONNABORTED", "left": 0}
    assert len(proxy.received) >= 2


def test_asyncio_goes_on_listening_after_such_a_peer():
    """As after a peer of the kernel's that was gone before accept()."""

    def program():
        import asyncio

        async def main():
            errors, rejected = [], asyncio.Event()
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda loop, context: errors.append(repr(context)))
            server = await asyncio.start_server(lambda *_: errors.append("served"), "0.0.0.0", 0)
            real = socket.socket.accept
            counted = []

            def accept(self):
                try:
                    return real(self)
                except ConnectionAbortedError:
                    counted.append(1)
                    if len(counted) == 2:
                        rejected.set()
                    raise

            socket.socket.accept = accept
            await rejected.wait()
            serving = server.is_serving()
            server.close()
            return errors, serving

        errors, serving = asyncio.run(main())
        say(errors=errors, serving=serving)

    with scripted(len(GREETING), CHOICE, len(REQUEST), BOUND, came(1, b"\x7f\0\0\1"), None) as proxy:
        said = at(
            url(proxy),
            program,
        )
    assert said == {"errors": [], "serving": True}


def test_a_proxy_that_names_no_peer_does_not_mean_this_machine():
    def program():
        conn, address = listening().accept()
        back = outcome(socket.create_connection, (address[0], 9))[:2]
        say(address=address, same=conn.getpeername() == address, back=back)

    with scripted(len(GREETING), CHOICE, len(REQUEST), BOUND, came(1, bytes(4), 0), None) as proxy:
        said = at(
            url(proxy),
            program,
        )
    assert said == {"address": ["198.18.0.0", 0], "same": True, "back": ["OSError", "EHOSTUNREACH"]}


def test_where_the_proxy_is_on_this_machine_its_peers_may_be(proxy):
    def program():
        sock = listening()
        other = peer(sock)
        conn, address = sock.accept()
        say(peer=address == other.getsockname(), here=address[0])

    said = at(
        proxy.url(),
        program,
    )
    assert said == {"peer": True, "here": "127.0.0.1"}


def test_with_loopback_proxy_no_address_is_this_machines():
    with scripted(len(GREETING), CHOICE, len(REQUEST), BOUND, came(1, b"\x7f\0\0\1"), None) as proxy:
        said = at(
            url(proxy),
            "say(address=listening().accept()[1])",
            options=("--loopback", "proxy"),
        )
    assert said == {"address": ["127.0.0.1", 20]}
