"""Programs and libraries that speak UDP, under ``pysocksify``: what each got, and which servers it asked.

Through our own server, and through Dante. Loopback goes through the proxy here (``--loopback proxy``), since
that is where the destinations are.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import sys

import pytest

from tests.support import datagram_servers, peers
from tests.support.child import source_of
from tests.support.datagram_servers import answering, http3_server
from tests.support.datagrams import udp_echo
from tests.support.destinations import HELLO, ONLY_THE_PROXY_KNOWS
from tests.support.run import PROGRAMS, program, pysocksify, run
from tests.support.scripted import scripted
from tests.support.servers import reference_server

ASSOCIATE = ("UDP ASSOCIATE", "0.0.0.0", 0)

# Documentation addresses (RFC 5737), which are never dialled.
FOREIGN = "192.0.2.1"


@pytest.fixture
def ours():
    with reference_server() as running:
        yield running


@pytest.fixture(params=["ours", "dante"])
def proxy(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def echo():
    with udp_echo() as echo:
        yield echo


@contextlib.contextmanager
def echo_at(host):
    with contextlib.ExitStack() as stack:
        try:
            echo = stack.enter_context(udp_echo(host))
        except OSError as err:
            pytest.skip(f"no {host} on this machine: {err.strerror}")
        yield echo


def through(*proxies, options=()):
    """The words before a program that goes through ``proxies``."""
    words = [word for proxy in proxies for word in ("-x", f"socks5h://{proxy.host}:{proxy.port}")]
    return pysocksify(*words, "--loopback", "proxy", *options)


def ask(command, name, *args, **options):
    """Run one of our programs; return its result, and make sure that it was given nothing else to say."""
    ran = run(*command, *program(name), *args, **options)
    assert ran.err == "", str(ran)
    return ran.json


def came_through(proxy, destination):
    """``destination`` was reached, and by the relay alone."""
    sources = {*(destination.seen if hasattr(destination, "seen") else destination.sources)}
    assert sources
    if isinstance(proxy, peers.Peer):
        # At the end of each association, Dante tells the address that it had outside.
        for host, port in sources:
            peers.wait_for_log(proxy, f"-> {host}.{port} ")
    else:
        assert {*proxy.asked} == {ASSOCIATE}
        assert (destination.host, destination.port) in proxy.udp_peers


# ---------------------------------------------------------------- sizes

# The largest that an IPv4 packet has room for, less the header of SOCKS for each family.
LONGEST = 65507
SIZES = [0, 1, 2, 3, 9, 10, 11, 47, 48, 64, 255, 256, 508, 511, 512, 513, 1200, 1472, 1473, 4096, 8192, 9000]
SIZES += [16384, 32767, 32768, 40000, 60000, 65000]


@pytest.mark.parametrize(("host", "header"), [("127.0.0.1", 10), ("::1", 22)], ids=["IPv4", "IPv6"])
def test_datagrams_of_all_sizes(proxy, host, header):
    sizes = [*SIZES, LONGEST - header - 1, LONGEST - header]
    with echo_at(host) as echo:
        said = ask(through(proxy), "udp_sizes.py", echo.host, echo.port, *sizes)
        assert said["wrong"] == []
        assert said["sources"] == [[echo.host, echo.port]]
        assert len(echo.seen) == len(sizes)
        came_through(proxy, echo)


def test_an_interpreter_without_libraries(ours, echo, interpreter):
    ran = run(*through(ours), interpreter, PROGRAMS / "udp_sizes.py", echo.host, echo.port, 0, 64, 1200)
    assert ran.json["wrong"] == [] and ran.err == ""
    came_through(ours, echo)


def test_asyncio_of_each_interpreter(ours, echo, interpreter):
    words = echo.host, echo.port, 200
    ran = run(*through(ours), interpreter, PROGRAMS / "udp_asyncio.py", *words, "connected")
    assert ran.json["received"] == 200 and ran.err == ""
    came_through(ours, echo)


# ---------------------------------------------------------------- sockets


def test_two_sockets_in_turns_and_one_that_changes_its_peer(proxy, echo):
    with udp_echo() as other:
        # It calls connect() of the C library, to take back the peer: that sends nothing.
        command = through(proxy, options=("--foreign", "quiet"))
        said = ask(command, "udp_sockets.py", echo.host, echo.port, other.port)
        names = "second", "first"
        assert said["in turns"] == [[f"{name} {number}" for number in range(10)] for name in names]
        ports = echo.port, other.port, echo.port
        assert said["changed"] == [[f"to {port}", port] for port in ports]
        assert said["unspec"] == ["before", "after", other.port]
        came_through(proxy, echo)
        came_through(proxy, other)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_child_processes(method, proxy, echo):
    said = ask(through(proxy), "udp_multiprocessing.py", echo.host, echo.port, method)
    assert said == {"got": ["before", "one", "two", "the parent's socket", "after"]}
    came_through(proxy, echo)


# ---------------------------------------------------------------- event loops


@pytest.mark.parametrize("connected", [[], ["connected"]], ids=["with addresses", "connected"])
def test_asyncio_loses_none_of_ten_thousand(proxy, echo, connected):
    said = ask(through(proxy), "udp_asyncio.py", echo.host, echo.port, 10_000, *connected)
    assert said["received"] == 10_000
    assert said["sources"] == [[echo.host, echo.port]]
    assert said["peer"] == ([echo.host, echo.port] if connected else None)
    came_through(proxy, echo)


@pytest.mark.parametrize("connected", [[], ["connected"]], ids=["with addresses", "connected"])
def test_asyncio_over_ipv6(proxy, connected):
    with echo_at("::1") as echo:
        said = ask(through(proxy), "udp_asyncio.py", echo.host, echo.port, 500, *connected)
        assert said["received"] == 500
        assert said["sources"] == [[echo.host, echo.port]]
        came_through(proxy, echo)


@pytest.mark.parametrize("connected", [[], ["connected"]], ids=["with addresses", "connected"])
def test_asyncio_is_told_of_a_refusal(connected):
    refused = b"\x05\x07\x00\x01" + bytes(6)
    with scripted(3, b"\x05\x00", 10, refused) as proxy:
        ran = run(*through(proxy), *program("udp_asyncio.py"), FOREIGN, 9, 1, *connected)
    words = f"proxy {proxy.host}:{proxy.port}: command not supported by the proxy (asked for UDP)"
    assert ran.json["error"] == ["OSError", f"[Errno {errno.EOPNOTSUPP}] {words}"]
    assert ran.json["received"] == 0
    assert f"no UDP: {words}" in ran.err


def test_trio(proxy, echo):
    said = ask(through(proxy), "udp_trio.py", echo.host, echo.port)
    there = [echo.host, echo.port]
    assert said == {"got": ["sendto", "sendmsg", "send", "later"], "source": there, "peer": there}
    came_through(proxy, echo)


@pytest.mark.parametrize("connected", [[], ["connected"]], ids=["with addresses", "connected"])
@pytest.mark.parametrize(
    ("reactor", "name"),
    [("epoll", "EPollReactor"), ("select", "SelectReactor"), ("asyncio", "AsyncioSelectorReactor")],
)
def test_twisted(proxy, echo, connected, reactor, name):
    said = ask(through(proxy), "udp_twisted.py", echo.host, echo.port, reactor, *connected)
    assert said == {"right": True, "sources": [[echo.host, echo.port]], "reactor": name}
    came_through(proxy, echo)


@pytest.mark.parametrize(
    ("library", "module"), [("gevent", "gevent._socket3"), ("eventlet", "eventlet.greenio.base")]
)
def test_green_sockets(library, module, proxy, echo):
    # eventlet has something to say about its own future.
    ran = run(*through(proxy), *program("udp_green.py"), echo.host, echo.port, library)
    assert ran.json == {"right": [True] * 10, "socket": module}
    came_through(proxy, echo)


# ---------------------------------------------------------------- protocols


def test_dnspython(proxy):
    zone = datagram_servers.Zone()
    with answering(zone) as server:
        said = ask(through(proxy), "udp_dns.py", server.host, server.port, zone.name)
        assert said.pop("long") > 2000
        assert said == {
            "query": [zone.address],
            "resolver": [zone.address],
            "missing": "NXDOMAIN",
            "asyncio": [zone.address],
        }
        came_through(proxy, server)


def test_http3(proxy):
    with http3_server() as server:
        words = server.host, server.port, "localhost", server.ca_pem, 1_000_000
        said = ask(through(proxy), "udp_http3.py", *words)
        assert said == {"status": 200, "body": HELLO.decode(), "bytes": 1_000_000}
        came_through(proxy, server)


def test_ntp_stun_statsd_and_syslog(proxy):
    with contextlib.ExitStack() as stack:

        def enter(answer):
            return stack.enter_context(answering(answer))

        ntp, stun = map(enter, (datagram_servers.ntp, datagram_servers.stun))
        syslog = enter(lambda data, _: b"ok")
        statsd = enter(lambda data, _: b"ok" if data.startswith(b"took") else None)
        ports = (server.port for server in (ntp, stun, statsd, syslog))
        said = ask(through(proxy), "udp_small.py", ntp.host, *ports)
        assert said["time"] == datagram_servers.NTP_TIME
        # What STUN is for: the address that the world sees is the relay's.
        assert said["mapped"] == stun.sources[0][1]
        assert statsd.heard == [b"visits:1|c", b"load:3|g", b"took:320|ms"]
        plain, pickled = syslog.wait_for_heard(2)
        assert plain == b"<11>something happened\x00"
        assert b"and something else" in pickled
        for server in ntp, stun, statsd, syslog:
            came_through(proxy, server)


@pytest.fixture
def knows(monkeypatch):
    """The servers in this process resolve one name, which no other process can."""
    real = socket._socket.getaddrinfo

    def getaddrinfo(host, *rest):
        return real(b"127.0.0.1" if host == ONLY_THE_PROXY_KNOWS.encode() else host, *rest)

    monkeypatch.setattr("pywrap.server.tcp.dial._socket.getaddrinfo", getaddrinfo)


def test_a_name_that_only_the_proxy_knows(ours, echo, knows):
    said = ask(through(ours), "udp_names.py", ONLY_THE_PROXY_KNOWS, echo.port)
    assert said == {
        "sendto": "by name",
        "connect": "over an IPv6 socket",
        "getaddrinfo": ["looked up", True],
        "asyncio": "by asyncio",
    }
    assert {*ours.udp_peers} == {(ONLY_THE_PROXY_KNOWS, echo.port)}


def test_a_program_that_associates_by_itself_with_the_same_proxy(proxy, echo):
    """PySocks. What it sends to the relay is not for a second association."""

    def associate(proxy_host, proxy_port, host, port):
        import socks

        sock = socks.socksocket(type=socket.SOCK_DGRAM)
        sock.set_proxy(socks.SOCKS5, proxy_host, proxy_port)
        sock.settimeout(30)
        sock.sendto(b"hello", (host, port))
        print(sock.recvfrom(100))

    code = source_of(associate, proxy.host, proxy.port, echo.host, echo.port)
    ran = run(*through(proxy, options=["-v"]), sys.executable, "-c", code)
    assert ran.out == f"(b'hello', ({echo.host!r}, {echo.port}))\n"
    assert "associated" not in ran.err
