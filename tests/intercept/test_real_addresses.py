"""Addresses of the placeholders' network that something else has given, as on a machine with Clash."""

from __future__ import annotations

import socket
import sys

import pytest

from pywrap.config.settings import Proxy
from tests.support import peers
from tests.support.child import source_of
from tests.support.inside import outcome, say
from tests.support.installed import installed
from tests.support.namespaces import alone_with_fast_open
from tests.support.run import run


@pytest.fixture
def clash():
    """What to put before a command to run it where two of the addresses are an interface's."""
    with installed():
        enter = alone_with_fast_open(1)
        peers.find("ip", package="iproute2")
    steps = ["ip addr add 198.18.0.1/32 dev lo", "ip addr add 198.18.0.2/32 dev lo", 'exec "$@"']
    return *enter, "sh", "-c", " && ".join(steps), "sh"


# The proxy itself is at 198.18.0.1, and connects to whatever is at 198.18.0.2.
def serve():
    import json
    import subprocess
    import sys

    sys.path.insert(0, sys.argv[1])
    from tests.support.servers import reference_server

    with reference_server(listen=[("198.18.0.1", 0)]) as proxy:
        command = [sys.executable, "-m", "pywrap", "-x", proxy.url(), sys.executable, "-c", sys.argv[2]]
        ran = subprocess.run(command, capture_output=True, text=True)
        sys.stderr.write(ran.stderr)
        print(json.dumps([json.loads(ran.stdout), proxy.asked]))


def program():
    server = socket.create_server(("198.18.0.2", 0))
    port = server.getsockname()[1]
    names = [socket.gethostbyname(name) for name in ("a.example", "b.example")]
    say(
        names=names,
        own=outcome(socket.socket().connect, ("198.18.0.2", port)),
        name=outcome(socket.create_connection, ("nowhere.invalid", 1))[1],
        strange=outcome(socket.socket().connect, ("198.18.0.77", 1))[1:],
    )


def test_a_proxy_and_own_addresses_among_the_placeholders(clash):
    root = str(peers.Path(__file__).parent.parent.parent)
    ran = run(*clash, sys.executable, "-c", source_of(serve), root, source_of(program))
    said, asked = ran.json
    assert said == {
        "names": ["198.18.0.3", "198.18.0.4"],
        "own": None,
        "name": "EHOSTUNREACH",
        "strange": [
            "EHOSTUNREACH",
            "[Errno 113] 198.18.0.77:1 refused: a placeholder address that stands for no name here",
        ],
    }
    assert asked == [["CONNECT", "nowhere.invalid", 1]]


def test_the_address_of_a_proxy_is_no_placeholder(world):
    it = world(chain=[Proxy("socks5h", "198.18.0.1", 1080)])
    assert it.names.placeholder("a.example") == "198.18.0.2"
    assert it.kind("198.18.0.1", 1080) == "direct"
    assert it.kind("198.18.0.1", 80) == "tunnel"
    assert it.kind("198.18.0.2", 1080) == "tunnel"


def test_a_proxy_whose_name_has_the_address_of_a_name(world):
    """It was resolved later: the name stays that name, and we still reach the proxy."""
    it = world(chain=[Proxy("socks5h", "proxy.example", 1080)])
    assert it.names.placeholder("a.example") == "198.18.0.1"
    it.routes.remember("proxy.example", ["198.18.0.1"])
    verdict = it.routes.verdict("198.18.0.1", 1080)
    assert (verdict.kind, verdict.destination.host) == ("tunnel", "a.example")
    assert it.routes.leads_to_first_hop("198.18.0.1", 1080)


def test_an_entry_of_etc_hosts_is_no_placeholder(world, tmp_path):
    it = world()
    (tmp_path / "hosts").write_text("198.18.0.1 clash.example\n")
    assert it.names.placeholder("a.example") == "198.18.0.2"
    verdict = it.routes.verdict("198.18.0.1", 80)
    assert (verdict.kind, verdict.destination.host) == ("tunnel", "198.18.0.1")
    assert it.routes.verdict("clash.example", 80).destination.host == "198.18.0.1"


def test_with_local_dns_all_addresses_are_real(world):
    it = world(dns="local", direct=["198.18.7.0/24"])
    assert it.routes.verdict("198.18.0.1", 80).destination.host == "198.18.0.1"
    assert [it.kind(host) for host in ("198.18.0.0", "198.19.1.1", "198.18.7.1")] == [
        "tunnel",
        "tunnel",
        "direct",
    ]


def test_an_answer_for_a_direct_name_is_real(world):
    it = world(direct=["*.corp"])
    it.routes.learn_from_resolver("db.corp", ["198.18.0.5"])
    assert it.kind("198.18.0.5") == "direct"
    assert it.kind("198.18.0.6") == "refuse"
