"""Answers of the far side never choose the direct path: addresses, names, sources of datagrams."""

from __future__ import annotations

import contextlib
import errno
import socket
import socketserver
import sys
import threading

import pytest

from pywrap.socks import v5
from pywrap.socks.serve import receive_request
from tests.support.child import source_of
from tests.support.inside import PATIENCE, say
from tests.support.name_server import name_server
from tests.support.naming_proxy import naming_proxy
from tests.support.play import hold
from tests.support.run import pysocksify, run

EAI_FAIL = f"[Errno {socket.EAI_FAIL}] Non-recoverable failure in name resolution"


@contextlib.contextmanager
def answering(reply, after=lambda client: client.recv(1)):
    """A SOCKS5 server that says ``reply`` to whatever it is asked for; its URL, and what it was asked for.

    ``reply``: bytes, or a function that makes them of the server's port.
    """
    asked = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            request = hold(receive_request(), self.request)
            asked.append((request.command, request.destination.host))
            self.request.sendall(reply(server.server_address[1]) if callable(reply) else reply)
            with contextlib.suppress(OSError):
                after(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"socks5h://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


def kernel(url, code, *args, options=(), **how):
    """As those of ``child``, but this machine is direct, which is the default."""
    return run(
        *pysocksify("-x", url, *options), sys.executable, "-c", source_of(code, *args), *map(str, args), **how
    )


LOOK_UP = """
say(said=[outcome(socket.gethostbyname, "example.org"), outcome(socket.getaddrinfo, "example.org", port),
          outcome(socket.create_connection, ("example.org", port)),
          outcome(socket.socket().connect, ("example.org", port)),
          outcome(socket.socket(type=socket.SOCK_DGRAM).sendto, b"x", ("example.org", port))])
"""

# What v2ray 4.34 says to each RESOLVE: success, and its own inbound address.
V2RAY = b"\x05\x00\x00\x01" + b"\x7f\x00\x00\x01" + b"\x0b\xc1"


@pytest.mark.parametrize(
    ("reply", "options", "why"),
    [
        (V2RAY, (), "127.0.0.1, this machine"),
        (b"\5\0\0\1" + b"\x7f\0\0\2" + b"\0\0", (), "127.0.0.2, this machine"),
        (b"\5\0\0\4" + bytes(15) + b"\1" + b"\0\0", (), "::1, this machine"),
        (b"\5\0\0\4" + bytes(10) + b"\xff\xff\x7f\0\0\1" + b"\0\0", (), "::ffff:127.0.0.1, this machine"),
        (b"\5\0\0\1" + bytes(4) + b"\0\0", (), "0.0.0.0, this machine"),
        (
            b"\5\0\0\1" + b"\x0a\1\2\3" + b"\0\0",
            ("--direct", "10.0.0.0/8:443"),
            "10.1.2.3, in a direct network",
        ),
        (b"\5\0\0\1" + b"\xa9\xfe\xa9\xfe" + b"\0\0", (), "169.254.169.254, a link-local address"),
        (b"\5\0\0\1" + b"\xe0\0\0\xfb" + b"\0\0", (), "224.0.0.251, a multicast or broadcast address"),
        (b"\5\0\0\1" + b"\xc6\x12\0\1" + b"\0\0", (), "198.18.0.1, a placeholder address"),
        (
            b"\5\0\0\1" + b"\xc0\0\2\1" + b"\0\0",
            ("--dnat", "192.0.2.1 127.0.0.1"),
            "192.0.2.1, rewritten to this machine",
        ),
    ],
)
def test_an_address_of_the_far_side_never_leads_to_what_is_direct(reply, options, why, echo_server):
    where = echo_server.host, echo_server.port
    with answering(reply) as (url, asked):
        ran = kernel(url, LOOK_UP, *where, options=("--dns", "tor", "-v", *options))
    said = ran.json["said"]
    assert len(said) == 5
    # An IPv6 answer is none for a caller that wants IPv4 alone.
    wanted = said[1:3] if reply[3] == v5.IPV6 else said
    for kind, _, words in wanted:
        assert kind == "gaierror"
        assert words.startswith(EAI_FAIL) and f"example.org was answered with {why}" in words
    assert why in ran.err
    assert {command for command, _ in asked} == {v5.RESOLVE}
    assert echo_server.seen == []


def test_the_proxys_own_address_is_no_answer():
    """Wherever it is: through the chain as well, the program would be connected to the proxy."""

    def own(port: int) -> bytes:
        return b"\5\0\0\1" + b"\xcb\0\x71\x05" + port.to_bytes(2, "big")

    with answering(own) as (url, _):
        said = kernel(url, 'say(said=outcome(socket.gethostbyname, "x.example"))', options=("--dns", "tor"))
    assert said.json["said"][2].startswith(f"{EAI_FAIL} (proxy 127.0.0.1:")
    assert "answers RESOLVE with an address of its own: 203.0.113.5:" in said.json["said"][2]


def test_good_addresses_are_kept_beside_others(echo_server, proxy):
    with name_server("x.example 60 A 127.0.0.2", "x.example 60 AAAA 2001:db8::7") as server:
        code = 'say(found=[row[4][0] for row in socket.getaddrinfo("x.example", 1, type=socket.SOCK_STREAM)])'
        options = ("--dns", server.setting, "-v")
        ran = kernel(proxy.url(), code, options=options)
    assert ran.json == {"found": ["2001:db8::7"]}
    assert "refused: x.example was answered with 127.0.0.2, this machine" in ran.err


def test_a_name_of_the_far_side_never_leads_to_what_is_direct():
    """Programs connect to the name of an address, and to the canonical name of a name."""
    names = {
        "203.0.113.1": "localhost",
        "203.0.113.2": "db.corp",
        "203.0.113.3": "www.example",
    }
    code = """
say(said=[outcome(socket.gethostbyaddr, f"203.0.113.{last}")[:2] for last in (1, 2, 3)],
    info=outcome(socket.getnameinfo, ("203.0.113.1", 80), 0)[0], fqdn=socket.getfqdn("203.0.113.2"))
"""
    with naming_proxy(names) as proxy:
        ran = kernel(proxy.url(), code, options=("--dns", "tor", "--direct", "*.corp", "-v"))
    assert ran.json == {
        "said": [["herror", "ESRCH"], ["herror", "ESRCH"], ["www.example", []]],
        "info": "gaierror",
        "fqdn": "203.0.113.2",
    }
    assert "203.0.113.2 was answered with db.corp, which is known here" in ran.err


def test_a_canonical_name_that_is_direct_is_not_told(proxy):
    records = ("a.example 60 CNAME db.corp.", "db.corp 60 A 192.0.2.7")
    code = (
        'say(said=[socket.gethostbyname_ex("a.example"), socket.getaddrinfo("a.example", 1, flags=2)[0][3]])'
    )
    with name_server(*records) as server:
        ran = kernel(proxy.url(), code, options=("--dns", server.setting, "--direct", "*.corp"))
    assert ran.json["said"] == [["a.example", [], ["192.0.2.7"]], "a.example"]


# ---------------------------------------------------------------- addresses that names share


def test_the_address_of_a_direct_name_is_no_answer_for_another(world):
    routes = world(direct=["*.corp"]).routes
    assert routes.why_not_from_beyond(socket.inet_aton("192.0.2.7")) == ""
    routes.remember("db.corp", ["192.0.2.50"])
    assert routes.why_not_from_beyond(socket.inet_aton("192.0.2.50")) == (
        "the address of db.corp, which is direct"
    )


def test_an_address_of_a_direct_name_and_of_another_is_neither(world):
    """Of one server behind a content network: which of them the program means, cannot be told."""
    for dns in ("remote", "local"):
        it = world(direct=["*.corp"], dns=dns)
        it.routes.learn_from_beyond("other.example", ["192.0.2.50"])
        assert it.kind("192.0.2.50") == "tunnel"
        it.routes.learn_from_resolver("db.corp", ["192.0.2.50"])
        verdict = it.routes.verdict("192.0.2.50", 80)
        assert (verdict.kind, verdict.errno) == ("refuse", errno.EHOSTUNREACH)
        assert "it is the address of other.example as well, which is not direct" in verdict.reason
        # By its name, there is no doubt.
        assert it.kind("db.corp") == "direct"


def test_a_first_hop_that_the_far_side_names_is_not_meant(world):
    it = world()
    assert it.kind("192.0.2.99", 1080) == "direct"
    it.routes.learn_from_beyond("evil.example", ["192.0.2.99"])
    assert it.kind("192.0.2.99", 1080) == "tunnel"
    # We ourselves still reach it.
    assert it.routes.leads_to_first_hop("192.0.2.99", 1080)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (["10.1.0.0/16 work", "10.0.0.0/8 direct"], ""),
        (["10.1.0.0/16:80 work", "10.0.0.0/8 direct"], "in a direct network (`route 10.0.0.0/8 direct`)"),
        (["tcp *:22 direct"], ""),
        (["10.0.0.0/8 block"], ""),
    ],
)
def test_which_rules_make_an_answer_direct(world, rules, expected):
    assert world(rules=rules).routes.why_not_from_beyond(socket.inet_aton("10.1.2.3")) == expected


# ---------------------------------------------------------------- datagrams

FROM = [
    b"\x7f\0\0\1" + b"\0\x09",  # this machine
    b"\x0a\1\2\3" + b"\x01\xbb",  # a direct network
    b"\xc6\x12\0\1" + b"\0\x50",  # a placeholder
    b"\xc0\0\2\1" + b"\0\x07",  # where it was sent to
]


def test_a_datagram_never_comes_from_what_is_direct():
    """The program would answer it, directly."""
    with socket.socket(type=socket.SOCK_DGRAM) as relay:
        relay.bind(("127.0.0.1", 0))
        bound = socket.inet_aton("127.0.0.1") + relay.getsockname()[1].to_bytes(2, "big")

        def answer() -> None:
            _, program = relay.recvfrom(100)
            for source in FROM:
                relay.sendto(b"\0\0\0\1" + source + b"hello", program)

        thread = threading.Thread(target=answer)
        thread.start()
        with answering(b"\5\0\0\1" + bound) as (url, _):

            def program():
                sock = socket.socket(type=socket.SOCK_DGRAM)
                sock.settimeout(PATIENCE)
                sock.sendto(b"x", ("192.0.2.1", 7))
                say(first=sock.recvfrom(100)[1])

            ran = kernel(url, program, options=("--direct", "10.0.0.0/8"))
        thread.join()
    assert ran.json == {"first": ["192.0.2.1", 7]}
