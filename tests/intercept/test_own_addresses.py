"""The addresses of this machine's interfaces are this machine, in namespaces with interfaces of their own."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from tests.support import peers
from tests.support.child import source_of
from tests.support.inside import outcome, say
from tests.support.installed import installed
from tests.support.namespaces import alone_with_fast_open
from tests.support.run import pysocksify, run

PROXY = "socks5h://127.0.0.1:1"  # nothing listens there
OWN = "10.9.9.1", "10.9.9.2", "fd00:9::1"


@pytest.fixture
def alone():
    """What to put before a command to run it in a namespace where an interface has OWN."""
    with installed():
        enter = alone_with_fast_open(1)
        ip = peers.find("ip", package="iproute2")
    steps = [
        f"{ip} link add out type veth peer name in",
        # The second of a network is "secondary": connect() and getsockname() tell the first of it.
        *(f"{ip} addr add {address}/24 dev out" for address in OWN[:2]),
        f"{ip} addr add {OWN[2]}/64 dev out nodad",
        f"{ip} link set out up",
        f"{ip} link set in up",
        f"{ip} route add default dev out",
        # Then bind() takes each address there is.
        "echo 1 >/proc/sys/net/ipv4/ip_nonlocal_bind",
    ]
    return *enter, "sh", "-c", " && ".join([*steps, 'exec "$@"']), "sh"


def program():
    def talk(host, kind=socket.SOCK_STREAM):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, kind) as server:
            server.bind((host, 0))
            address = server.getsockname()[:2]
            with socket.socket(family, kind) as client:
                if kind == socket.SOCK_DGRAM:
                    return outcome(client.sendto, b"hello", address)
                server.listen()
                return outcome(client.connect, address)

    def number(found):
        return found[1] if isinstance(found, list) else found

    say(
        streams=[number(talk(host)) for host in sys.argv[1].split(",")],
        datagrams=[number(talk(host, socket.SOCK_DGRAM)) for host in sys.argv[1].split(",")],
        stranger=outcome(socket.socket().connect, ("10.9.9.3", 9)),
        # Not in a confinement (`--children direct`): that has addresses of its own.
        added=subprocess.run(["ip", "addr", "add", "10.9.9.3/24", "dev", "out"]).returncode,
        own=outcome(socket.socket().connect, ("10.9.9.3", 9)),
    )


@pytest.mark.parametrize(
    ("options", "stream", "datagram"),
    [
        ((), None, 5),
        (("--loopback", "deny"), "EPERM", "EPERM"),
        (("--loopback", "proxy"), "ECONNREFUSED", "ECONNREFUSED"),
        # A rule for everything does not mean this machine.
        (("--route", "* block"), None, 5),
        (("--direct", "10.9.0.0/16,fd00::/8", "--loopback", "deny"), None, 5),
    ],
)
def test_the_talk_of_a_machine_with_itself(options, stream, datagram, alone):
    command = pysocksify("-x", PROXY, "--children", "direct", *options)
    said = run(*alone, *command, sys.executable, "-c", source_of(program), ",".join(OWN)).json
    assert said["streams"] == [stream] * 3
    assert said["datagrams"] == [datagram] * 3
    if not options:
        assert "cannot reach the proxy" in said["stranger"][2]
        assert (said["added"], said["own"][2]) == (0, "[Errno 111] Connection refused")


def test_an_own_address_is_no_answer_of_the_far_side(world):
    routes = world().routes
    address = bytes([10, 9, 9, 1])
    routes._is_own = address.__eq__
    assert routes.why_not_from_beyond(address) == "this machine"
    assert routes.verdict("10.9.9.1", 53).kind == "refuse"


def test_the_kernel_is_not_asked_about_what_is_decided_already(world):
    it = world(rules=["10.0.0.0/8 work", "192.0.2.0/24 direct"])
    asked = []
    placeholder = it.names.placeholder("www.example")
    it.routes._is_own = lambda address: bool(asked.append(address))
    for host in ("10.1.2.3", "192.0.2.1", "example.org", placeholder, "127.0.0.1"):
        it.kind(host)
    assert asked == []
    assert it.kind("203.0.113.1") == "tunnel" and len(asked) == 1
