"""Fixtures for what tests share: foreign SOCKS servers, and destinations."""

from __future__ import annotations

import functools
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.support import destinations, peers, strace
from tests.support import world as worlds
from tests.support.installed import in_ci, installed
from tests.support.play import hold
from tests.support.raw_sockets import Client, Target
from tests.support.run import CONFINE, VERSIONS, Ran, interpreters, is_confined, pysocksify, run
from tests.support.servers import PATIENCE, Running, reference_server
from tests.support.world import World

# On a busy machine a slow example says nothing about the code.
hypothesis.settings.register_profile("pysocksify", deadline=None)
hypothesis.settings.load_profile("pysocksify")

# A shell ignores SIGINT and SIGQUIT for its jobs in the background, and programs would inherit that.
for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)


def pytest_report_header() -> list[str]:
    found = interpreters()
    return [
        "target interpreters: " + ", ".join(f"{version} ({path})" for version, path in found.items()),
        "not tried, because not found: " + (", ".join(v for v in VERSIONS if v not in found) or "none"),
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what is marked ``confined_too`` twice."""
    if metafunc.definition.get_closest_marker("confined_too"):
        metafunc.fixturenames.insert(0, "confinement")
        modes = ["confined"] if is_confined() else ["patched", "confined"]
        metafunc.parametrize("confinement", modes, indirect=True)


@pytest.fixture
def confinement(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, cannot_confine: str) -> None:
    """Have ``pysocksify()`` confine the programs of this test, or not."""
    if request.param == "confined":
        if cannot_confine:
            pytest.skip(cannot_confine)
        monkeypatch.setenv(CONFINE, "on")


@pytest.fixture(scope="session")
def cannot_confine() -> str:
    """What forbids it on this machine; "" where CI runs, which must not."""
    if in_ci():
        return ""
    ran = run(*pysocksify("--confine", "on", "-x", "socks5h://127.0.0.1:1"), "true", status=None)
    return ran.err if ran.status else ""


# Each xdist worker is a session of its own, with its own servers.


@pytest.fixture(scope="session")
def microsocks() -> Iterator[peers.Peer]:
    with installed(), peers.microsocks() as peer:
        yield peer


@pytest.fixture(scope="session")
def microsocks_with_password() -> Iterator[peers.Peer]:
    with installed(), peers.microsocks("alice", "secret") as peer:
        yield peer


@pytest.fixture(scope="session")
def dante() -> Iterator[peers.Peer]:
    with installed(), peers.dante() as peer:
        yield peer


@pytest.fixture(scope="session")
def ssh_dynamic() -> Iterator[peers.Peer]:
    with installed(), peers.ssh_dynamic() as peer:
        yield peer


@pytest.fixture(scope="session")
def tinyproxy() -> Iterator[peers.Peer]:
    with installed(), peers.tinyproxy() as peer:
        yield peer


@pytest.fixture(scope="session")
def tinyproxy_with_password() -> Iterator[peers.Peer]:
    with installed(), peers.tinyproxy("alice", "secret") as peer:
        yield peer


@pytest.fixture(scope="session")
def proxy_py() -> Iterator[peers.Peer]:
    with peers.proxy_py() as peer:
        yield peer


@pytest.fixture(scope="session")
def proxy_py_with_password() -> Iterator[peers.Peer]:
    with peers.proxy_py("alice", "secret") as peer:
        yield peer


@pytest.fixture(scope="session")
def tor() -> Iterator[peers.Peer]:
    with installed(), peers.tor("four.example 192.0.2.7", "six.example [2001:db8::7]") as peer:
        yield peer


@pytest.fixture(scope="session")
def dnsmasq() -> Iterator[peers.Peer]:
    records = ("--host-record=both.example,192.0.2.7,2001:db8::7", "--host-record=four.example,192.0.2.8")
    others = (
        "--cname=www.example,both.example",
        "--mx-host=both.example,mail.example,10",
        "--srv-host=_mongodb._tcp.cluster.test.example,one.test.example,27017",
        "--srv-host=_mongodb._tcp.cluster.test.example,two.test.example,27018",
    )
    with installed(), peers.dnsmasq(*records, *others) as peer:
        yield peer


@pytest.fixture(params=["microsocks", "dante", "ssh_dynamic"])
def peer(request: pytest.FixtureRequest) -> peers.Peer:
    """Each of the foreign servers in turn, without authentication."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def http_server() -> Iterator[destinations.Destination]:
    with destinations.http_server() as destination:
        yield destination


@pytest.fixture
def https_server() -> Iterator[destinations.Destination]:
    with destinations.https_server() as destination:
        yield destination


@pytest.fixture
def echo_server() -> Iterator[destinations.Destination]:
    with destinations.echo_server() as destination:
        yield destination


@pytest.fixture
def sink_server() -> Iterator[destinations.Destination]:
    with destinations.sink_server() as destination:
        yield destination


@pytest.fixture
def greeting_server() -> Iterator[destinations.Destination]:
    with destinations.greeting_server() as destination:
        yield destination


@pytest.fixture
def ssh_server() -> Iterator[destinations.Destination]:
    with destinations.ssh_server() as destination:
        yield destination


@pytest.fixture
def blackhole_proxy() -> Iterator[destinations.Blackhole]:
    with destinations.blackhole_proxy() as blackhole:
        yield blackhole


@pytest.fixture
def refusing_port() -> Iterator[int]:
    with destinations.refusing_port() as port:
        yield port


@pytest.fixture(scope="session")
def trace() -> Callable[..., tuple[Ran, strace.Trace]]:
    """``run`` under strace: ``trace(*command)`` is what it returns, and a ``Trace``."""
    with installed():
        peers.find("strace", package="strace")
    return strace.traced


@pytest.fixture(params=VERSIONS)
def interpreter(request: pytest.FixtureRequest) -> str:
    """The path of each CPython in turn that programs may be run with."""
    if request.param not in interpreters():
        pytest.skip(f"no CPython {request.param} on this machine")
    return interpreters()[request.param]


# ---------------------------------------------------------------- a server, a target, and raw sockets


@pytest.fixture
def server() -> Iterator[Running]:
    with reference_server() as running:
        yield running


@pytest.fixture
def target() -> Iterator[Target]:
    target = Target()
    yield target
    target.close()


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.close()


@pytest.fixture
def world(tmp_path: Path) -> Callable[..., World]:
    """``world(chain=..., direct=..., rules=..., dnat=..., **settings)``."""
    return functools.partial(worlds.world, tmp_path)


@pytest.fixture
def reach():
    """``reach(peer, dialogue)``: a socket to ``peer`` on which ``dialogue`` has been held."""
    sockets = []

    def reach(peer, dialogue):
        sock = socket.create_connection((peer.host, peer.port), timeout=PATIENCE)
        sockets.append(sock)
        hold(dialogue, sock)
        return sock

    yield reach
    for sock in sockets:
        sock.close()
