"""Nothing leaves but to the proxy: no destination, no name, as strace sees it.

The destinations of the good programs have names that the proxy alone knows; those of the bad ones are
addresses for documentation, and they run without a network where the kernel lets us.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import functools
import subprocess
import sys

import pytest

from tests.support import datagram_servers
from tests.support.child import source_of
from tests.support.datagrams import udp_echo
from tests.support.destinations import HELLO, ONLY_THE_PROXY_KNOWS
from tests.support.name_server import name_server
from tests.support.naming_proxy import naming_proxy
from tests.support.run import is_confined, program, pysocksify
from tests.support.servers import reference_server

BODY = HELLO.decode()


@pytest.fixture
def proxy():
    with naming_proxy({ONLY_THE_PROXY_KNOWS: "127.0.0.1"}) as proxy:
        yield proxy


def through(proxy, *options):
    return pysocksify("-x", proxy.url(), "--loopback", "proxy", *options)


# A patched program in a confinement asks the broker for placeholders, by the C library (SharedNames): first
# its cache, which is hidden there (test_the_resolver_outside_cannot_be_asked), then port 53. No packet of
# that leaves the namespace. strace follows the broker as well: the trace has what it made of the question.
ASKED_INSIDE = {("100.64.0.53", 53), ("/var/run/nscd/socket", 0)}


def outside(seen):
    """What was reached for, without the name server of the test's confinement."""
    inside = ASKED_INSIDE if is_confined() else set()
    return [found for found in seen.reached if (found.host, found.port) not in inside]


def check_clean(seen, *proxies):
    """Nothing but ``proxies`` was reached for, and no server was asked for a name."""
    left = outside(seen)
    assert {(found.host, found.port) for found in left} == {(p.host, p.port) for p in proxies}, str(seen)
    assert {found.family for found in left} <= {"AF_INET", "AF_INET6"}, str(seen)


# ---------------------------------------------------------------- programs


@pytest.mark.parametrize(
    "name",
    [
        *("fetch_urllib.py", "fetch_requests.py", "fetch_httpx.py", "fetch_httpx_async.py"),
        *("fetch_aiohttp.py", "fetch_tornado.py"),
    ],
)
def test_a_library_reaches_for_the_proxy_alone(name, trace, proxy, https_server):
    url = https_server.url(host=ONLY_THE_PROXY_KNOWS)
    ran, seen = trace(*through(proxy), *program(name), url, https_server.ca_pem)
    assert ran.json == {"status": 200, "body": BODY}
    assert {*proxy.asked} == {("CONNECT", ONLY_THE_PROXY_KNOWS, https_server.port)}
    check_clean(seen, proxy)


@pytest.mark.parametrize("name", ["asyncio_streams.py", "trio_streams.py", "fetch_http_client.py"])
@pytest.mark.confined_too
def test_a_stream_with_tls_reaches_for_the_proxy_alone(name, trace, proxy, https_server):
    words = ONLY_THE_PROXY_KNOWS, https_server.port, https_server.ca_pem
    ran, seen = trace(*through(proxy), *program(name), *words)
    assert ran.json.get("body") == BODY or ran.json["right"]
    check_clean(seen, proxy)


@pytest.mark.parametrize("name", ["fetch_twisted.py", "fetch_futures.py"])
def test_a_page_is_fetched_from_the_proxy_alone(name, trace, proxy, http_server):
    url = http_server.url(host=ONLY_THE_PROXY_KNOWS)
    ran, seen = trace(*through(proxy), *program(name), url)
    assert ran.json["body"] == BODY
    check_clean(seen, proxy)


@pytest.mark.parametrize("reactor", ["epoll", "asyncio"])
def test_twisted_reaches_for_the_proxy_alone(reactor, trace, proxy, echo_server):
    words = ONLY_THE_PROXY_KNOWS, echo_server.port, reactor
    ran, seen = trace(*through(proxy), *program("twisted_endpoint.py"), *words)
    assert ran.json["echoed"] == 1_000_000
    check_clean(seen, proxy)


def test_threads_reach_for_the_proxy_alone(trace, proxy, http_server):
    url = http_server.url(host=ONLY_THE_PROXY_KNOWS)
    ran, seen = trace(*through(proxy), *program("fetch_threads.py"), url, 100)
    assert ran.json["done"] == 100
    assert proxy.asked == [("CONNECT", ONLY_THE_PROXY_KNOWS, http_server.port)] * 100
    check_clean(seen, proxy)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.confined_too
def test_children_reach_for_the_proxy_alone(method, trace, proxy, http_server):
    url = http_server.url(host=ONLY_THE_PROXY_KNOWS)
    ran, seen = trace(*through(proxy), *program("fetch_multiprocessing.py"), url, method)
    assert ran.json == {"before": BODY, "children": [BODY, BODY], "after": BODY}
    check_clean(seen, proxy)


@pytest.mark.parametrize("name", ["send_mail.py", "read_banner.py", "create_connection.py"])
@pytest.mark.confined_too
def test_a_plain_socket_reaches_for_the_proxy_alone(name, trace, proxy, greeting_server, echo_server):
    server = echo_server if name == "create_connection.py" else greeting_server
    _, seen = trace(*through(proxy), *program(name), ONLY_THE_PROXY_KNOWS, server.port)
    assert {*proxy.asked} == {("CONNECT", ONLY_THE_PROXY_KNOWS, server.port)}
    check_clean(seen, proxy)


def test_smtplib_does_not_look_up_the_name_of_this_machine(trace, proxy, greeting_server):
    code = "import smtplib, sys; smtplib.SMTP(sys.argv[1], int(sys.argv[2]), timeout=20).quit()"
    words = ONLY_THE_PROXY_KNOWS, greeting_server.port
    _, seen = trace(*through(proxy), sys.executable, "-c", code, *words)
    assert proxy.asked == [("CONNECT", ONLY_THE_PROXY_KNOWS, greeting_server.port)]
    check_clean(seen, proxy)


@pytest.mark.confined_too
def test_a_chain_reaches_for_its_first_hop_alone(trace, proxy, https_server):
    with reference_server() as first:
        command = pysocksify("-x", first.url(), "-x", proxy.url(), "--loopback", "proxy")
        url = https_server.url(host=ONLY_THE_PROXY_KNOWS)
        ran, seen = trace(*command, *program("fetch_aiohttp.py"), url, https_server.ca_pem)
    assert ran.json["body"] == BODY
    check_clean(seen, first)


def test_a_script_that_protects_itself_reaches_for_the_proxy_alone(trace, proxy, http_server, tmp_path):
    url = http_server.url(host=ONLY_THE_PROXY_KNOWS)
    env = {"PYSOCKSIFY_CONF": str(configuration(tmp_path, proxy))}
    ran, seen = trace(*program("fetch_after_imports.py"), url, env=env)
    assert ran.json["body"] == ran.json["asyncio"] == BODY
    check_clean(seen, proxy)


@pytest.mark.parametrize("name", ["fetch_urllib.py", "fetch_httpx_async.py", "fetch_aiohttp.py"])
def test_a_name_is_looked_up_by_a_server_behind_the_proxy_alone(name, trace, proxy, https_server):
    with name_server(f"{ONLY_THE_PROXY_KNOWS} 60 A 127.0.0.1") as server:
        url = https_server.url(host=ONLY_THE_PROXY_KNOWS)
        command = through(proxy, "--dns", server.setting)
        ran, seen = trace(*command, *program(name), url, https_server.ca_pem)
    assert ran.json == {"status": 200, "body": BODY}
    asked = [*dict.fromkeys(proxy.asked)]
    assert asked == [("CONNECT", *server.server_address), ("CONNECT", "127.0.0.1", https_server.port)]
    check_clean(seen, proxy)


@pytest.mark.confined_too
def test_a_name_is_looked_up_by_tor_alone(trace, proxy, http_server):
    url = http_server.url(host=ONLY_THE_PROXY_KNOWS)
    ran, seen = trace(*through(proxy, "--dns", "tor"), *program("fetch_futures.py"), url)
    assert ran.json["body"] == BODY
    assert proxy.asked[0] == ("RESOLVE", ONLY_THE_PROXY_KNOWS, 0)
    assert {*proxy.asked[1:]} <= {proxy.asked[0], ("CONNECT", "127.0.0.1", http_server.port)}
    check_clean(seen, proxy)


@pytest.mark.confined_too
def test_failures_reach_for_the_proxy_alone(trace):
    ways = "blocking timeout connect_ex nonblocking create_connection asyncio trio urllib".split()
    with naming_proxy() as proxy:
        ran, seen = trace(*through(proxy), *program("fail.py"), "elsewhere.test", 80, *ways)
        assert {said["errno"] for said in ran.json.values()} == {"EHOSTUNREACH"}
        check_clean(seen, proxy)
        _, seen = trace(*through(proxy), *program("fail.py"), "192.0.2.1", 80, *ways)
        check_clean(seen, proxy)


@pytest.mark.confined_too
def test_a_dead_proxy_is_no_reason_to_go_directly(trace, refusing_port):
    ways = "blocking nonblocking create_connection asyncio trio urllib".split()
    command = pysocksify("-x", f"socks5h://127.0.0.1:{refusing_port}")
    _, seen = trace(*command, *program("fail.py"), "elsewhere.test", 80, *ways)
    assert {(found.host, found.port) for found in outside(seen)} == {("127.0.0.1", refusing_port)}


# ---------------------------------------------------------------- datagrams


@pytest.fixture
def relay(monkeypatch):
    """A proxy with UDP that is alone at its address, and alone knows a name."""
    real = _socket.getaddrinfo

    def getaddrinfo(host, *rest):
        return real(b"127.0.0.1" if host == ONLY_THE_PROXY_KNOWS.encode() else host, *rest)

    monkeypatch.setattr("pywrap.server.tcp.dial._socket.getaddrinfo", getaddrinfo)
    with reference_server(listen=[("127.0.0.2", 0)]) as proxy:
        yield proxy


def check_datagrams(seen, proxy):
    """Connections to ``proxy``, datagrams to its relays, and nothing else; no server was asked for a name."""
    left = outside(seen)
    assert {found.host for found in left} == {proxy.host}, str(seen)
    assert {found.family for found in left} <= {"AF_INET", "AF_INET6"}, str(seen)
    calls = {(found.call, found.port == proxy.port) for found in left}
    assert calls <= {("connect", True), ("sendto", False), ("sendmsg", False)}, str(seen)
    assert {("connect", True), ("sendto", False)} <= calls, str(seen)


@pytest.mark.parametrize(
    "words",
    [
        ("udp_sizes.py", 0, 1, 1200, 65497),
        ("udp_asyncio.py", 200),
        ("udp_asyncio.py", 200, "connected"),
        ("udp_trio.py",),
        ("udp_twisted.py", "epoll"),
        ("udp_twisted.py", "asyncio", "connected"),
        ("udp_green.py", "gevent"),
        ("udp_green.py", "eventlet"),
        ("udp_multiprocessing.py", "fork"),
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_datagrams_reach_for_the_relay_alone(words, trace, relay):
    name, *rest = words
    with udp_echo() as echo:
        _, seen = trace(*through(relay), *program(name), echo.host, echo.port, *rest)
        assert echo.seen
    check_datagrams(seen, relay)


def test_datagrams_of_two_sockets_and_changing_peers_reach_for_the_relay_alone(trace, relay):
    with udp_echo() as echo, udp_echo() as other:
        _, seen = trace(*through(relay), *program("udp_sockets.py"), echo.host, echo.port, other.port)
        assert echo.seen and other.seen
    check_datagrams(seen, relay)


@pytest.mark.confined_too
def test_datagrams_to_a_name_reach_for_the_relay_alone(trace, relay):
    with udp_echo() as echo:
        _, seen = trace(*through(relay), *program("udp_names.py"), ONLY_THE_PROXY_KNOWS, echo.port)
        assert len(echo.seen) == 4
    assert {*relay.udp_peers} == {(ONLY_THE_PROXY_KNOWS, echo.port)}
    check_datagrams(seen, relay)


def test_dnspython_reaches_for_the_relay_alone(trace, relay):
    zone = datagram_servers.Zone()
    with datagram_servers.answering(zone) as server:
        _, seen = trace(*through(relay), *program("udp_dns.py"), server.host, server.port, zone.name)
    check_datagrams(seen, relay)


@pytest.mark.confined_too
def test_http3_reaches_for_the_relay_alone(trace, relay):
    with datagram_servers.http3_server() as server:
        words = server.host, server.port, "localhost", server.ca_pem, 100_000
        ran, seen = trace(*through(relay), *program("udp_http3.py"), *words)
        assert ran.json["bytes"] == 100_000
    check_datagrams(seen, relay)


def test_a_chain_of_relays_is_reached_by_the_first_alone(trace, relay):
    with reference_server(listen=[("127.0.0.3", 0)]) as second, udp_echo() as echo:
        command = pysocksify("-x", relay.url(), "-x", second.url(), "--loopback", "proxy")
        ran, seen = trace(*command, *program("udp_sizes.py"), echo.host, echo.port, 0, 64, 1200)
        assert ran.json["wrong"] == []
    check_datagrams(seen, relay)


@pytest.mark.confined_too
def test_datagrams_do_not_leave_directly_when_there_is_no_association(trace, refusing_port):
    command = pysocksify("-x", f"socks5h://127.0.0.1:{refusing_port}", "--loopback", "proxy")
    ran, seen = trace(*command, *program("udp_asyncio.py"), "192.0.2.1", 9, 1)
    assert ran.json["error"][0] == "ConnectionRefusedError"
    assert seen.destinations == {("127.0.0.1", refusing_port)}, str(seen)


# ---------------------------------------------------------------- attempts to leak

REFUSED = ["EPERM"]
# The kernel may be faster: no such protocol, or not for this user.
REFUSED_BY_SOMEBODY = ["EPERM", "EACCES", "EPROTONOSUPPORT"]
PLACEHOLDER = ["198.18.0.1"]

# What may come of each attempt of leak.py.
OUTCOMES = {
    "udp sendto": REFUSED,
    "udp sendto with flags": REFUSED,
    "udp sendto over ipv6": REFUSED,
    "udp sendto in IPv4-mapped IPv6": REFUSED,
    "udp sendmsg": REFUSED,
    "udp connect": REFUSED,
    "udp connect_ex": REFUSED,
    "udp to a name server": REFUSED,
    "udp sendto a name": REFUSED,
    "udp sendmsg to a name": REFUSED,
    "udp connect to a name": REFUSED,
    "udp multicast": REFUSED,
    "udp broadcast": REFUSED,
    "udp broadcast by its name": REFUSED,
    "udp of asyncio": REFUSED,
    "udp of asyncio, not connected": REFUSED,
    "udp of asyncio, a socket of its own": REFUSED,
    "fast open by sendto": REFUSED,
    "fast open by sendmsg": REFUSED,
    "fast open by sendto, to a name": REFUSED,
    "fast open by an option": REFUSED,
    "_socket sendto": REFUSED,
    "_socket sendmsg": REFUSED,
    "_socket sendto a name": REFUSED,
    "_socket bind to a name": ["gaierror"],
    "c class connect": REFUSED,
    "c class connect_ex": REFUSED,
    "c class connect of a socket": REFUSED,
    "c class sendto": REFUSED,
    "c class sendmsg": REFUSED,
    "a descriptor stated as RDS": REFUSED,
    "a descriptor stated as RDS, connect_ex": REFUSED,
    "a descriptor stated as RDS, by _socket": REFUSED,
    "a descriptor stated as RDS, to a name": REFUSED,
    "a descriptor stated as RDS, bind to a name": ["gaierror"],
    "a descriptor stated as RDS, sendto": REFUSED,
    "a descriptor stated as RDS, sendmsg": REFUSED,
    "sctp": REFUSED_BY_SOMEBODY,
    "raw icmp": REFUSED_BY_SOMEBODY,
    "raw connect": REFUSED_BY_SOMEBODY,
    "ping socket": REFUSED_BY_SOMEBODY,
    "packet": REFUSED,
    "packet by _socket": REFUSED,
    "bind to a name": ["gaierror"],
    "a server at a name": ["OSError"],
    "an address with a scope": ["EHOSTUNREACH"],
    "getaddrinfo": [[PLACEHOLDER]],
    "getaddrinfo of bytes": [PLACEHOLDER],
    "getaddrinfo of _socket": [PLACEHOLDER],
    "getaddrinfo, ipv6": [["fd73:6f63:6b73::c612:1"]],
    "getaddrinfo of asyncio": [PLACEHOLDER],
    "gethostbyname": [PLACEHOLDER],
    "gethostbyname_ex": [[PLACEHOLDER]],
    "gethostbyaddr": ["herror"],
    "gethostbyaddr, ipv6": ["herror"],
    "gethostbyaddr of a name": [["elsewhere.test"]],
    "getfqdn of a name": [["elsewhere.test"]],
    "getfqdn of an address": [["192.0.2.1"]],
    "getfqdn of this machine": [[True]],
    "this machine": [[True]],
    "getnameinfo": [["192.0.2.1"]],
    "getnameinfo, ipv6": [["2001:db8::1"]],
    "getnameinfo, a name required": ["gaierror"],
    "getnameinfo of a name": ["gaierror"],
}

# The C code looks a name up before its audit event, and asks no server in between. Code with the C class,
# by the way that we had to take, or its methods from before us, is beyond our reach.
NAMES_GIVEN_TO_C = ["c class connect to a name", "c class sendto a name", "c class bind to a name"]


@functools.cache
def without_network():
    """The words before a command that shall have no network, where the kernel allows it."""
    for words in (("unshare", "--net"), ("unshare", "--user", "--map-root-user", "--net")):
        with contextlib.suppress(OSError):
            if subprocess.run([*words, "true"], capture_output=True).returncode == 0:
                return words
    return ()


# Nothing listens there, and nothing is to ask for it.
NOBODYS = ("-x", "socks5h://127.0.0.1:1", "--udp", "block")


# What goes past the patches meets the kernel in a confinement, and no audit hook: connections get as far as
# the broker, which has no network in this test either, and datagrams are dropped there.
PAST_THE_PATCHES = {
    "fast open by an option": ["ENETUNREACH"],
    "c class connect": ["ENETUNREACH"],
    "c class connect_ex": [[errno.ENETUNREACH]],
    "c class connect of a socket": ["ENETUNREACH"],
    "a descriptor stated as RDS, by _socket": ["ENETUNREACH"],
    "c class sendto": [[5]],
    "c class sendmsg": [[5]],
}


@pytest.mark.confined_too
def test_attempts_to_leak_are_refused_before_a_packet_is_made(trace):
    command = (*without_network(), *pysocksify(*NOBODYS))
    ran, seen = trace(*command, *program("leak.py"), *OUTCOMES)
    outcomes = {**OUTCOMES, **(PAST_THE_PATCHES if is_confined() else {})}
    assert {name: got for name, got in ran.json.items() if got not in outcomes[name]} == {}
    assert {*ran.json} == {*OUTCOMES}
    if not is_confined():
        # strace cannot tell in which namespace a call was made: tests/confine has a sniffer.
        assert seen.reached == [], str(seen)


# With a server to ask for names, these are asked for, in vain.
ASKED_FOR = {
    name: ["gaierror", "herror"] if "an address" not in name else [["192.0.2.1"]]
    for name in OUTCOMES
    if name.startswith(("getaddrinfo", "gethostby", "getnameinfo", "getfqdn of an address"))
}


@pytest.mark.parametrize("dns", ["tor", "tcp://192.0.2.53"])
def test_names_that_are_looked_up_are_asked_of_the_proxy_alone(dns, trace):
    command = pysocksify(*NOBODYS, "--dns", dns)
    attempts = {**ASKED_FOR, **{name: None for name in OUTCOMES if "name" in name}}
    ran, seen = trace(*without_network(), *command, *program("leak.py"), *attempts)
    assert {name: ran.json[name] for name in ASKED_FOR if ran.json[name] not in ASKED_FOR[name]} == {}
    assert seen.destinations == {("127.0.0.1", 1)}, str(seen)
    assert seen.families <= {"AF_INET", "AF_INET6"}, str(seen)


@pytest.mark.xfail(strict=True, reason="beyond our reach: the C code resolves before its audit event")
@pytest.mark.parametrize("attempt", NAMES_GIVEN_TO_C)
def test_a_name_given_to_the_c_methods_is_not_looked_up(attempt, trace):
    if not without_network():
        pytest.skip("it would be sent to a real name server")
    _, seen = trace(*without_network(), *pysocksify(*NOBODYS), *program("leak.py"), attempt)
    assert seen.reached == [], str(seen)


EARLY = {
    "getaddrinfo": [PLACEHOLDER],
    "getfqdn": [["elsewhere.test"]],
    "getfqdn of an address": [["192.0.2.1"]],
    "gethostbyaddr": REFUSED,
    "gethostbyaddr of a name": REFUSED,
    "gethostbyname": REFUSED,
    "gethostbyname_ex": REFUSED,
    "getnameinfo": REFUSED,
    "connect": REFUSED,
    "connect_ex": REFUSED,
    "connect of a kept socket": REFUSED,
    "sendto": REFUSED,
    "sendmsg": REFUSED,
    "derived class, udp": REFUSED,
}


def configuration(directory, proxy):
    """A file that names ``proxy``, or one that is not there."""
    path = directory / "pysocksify.conf"
    host, port = (proxy.host, proxy.port) if proxy else ("127.0.0.1", 1)
    path.write_text(f"loopback proxy\nudp block\n[ProxyList]\nsocks5 {host} {port}\n")
    return path


def test_functions_that_were_imported_early_do_not_leak(trace, tmp_path):
    env = {"PYSOCKSIFY_CONF": str(configuration(tmp_path, None))}
    ran, seen = trace(*without_network(), *program("leak_early_names.py"), *EARLY, env=env)
    assert {name: got for name, got in ran.json.items() if got not in EARLY[name]} == {}
    assert seen.reached == [], str(seen)


@pytest.mark.xfail(strict=True, reason="beyond our reach: the C code resolves before its audit event")
@pytest.mark.parametrize("attempt", ["connect to a name", "sendto a name"])
def test_a_method_that_was_kept_does_not_look_up_a_name(attempt, trace, tmp_path):
    if not without_network():
        pytest.skip("it would be sent to a real name server")
    env = {"PYSOCKSIFY_CONF": str(configuration(tmp_path, None))}
    _, seen = trace(*without_network(), *program("leak_early_names.py"), attempt, env=env)
    assert seen.reached == [], str(seen)


@pytest.mark.confined_too
def test_a_name_given_to_connect_is_sent_to_the_proxy_and_not_looked_up_here(trace, proxy, echo_server):
    def program():
        import _socket
        import socket
        import sys

        name, port = sys.argv[1], int(sys.argv[2])
        for family in socket.AF_INET, socket.AF_INET6:
            sock = socket.socket(family)
            sock.connect((name, port))
            sock = socket.socket(family)
            assert sock.connect_ex((name.encode(), port)) == 0
            sock = _socket.socket(family)
            sock.connect((name, port))
            _socket.socket.connect(socket.socket(family), (name, port))

    words = ONLY_THE_PROXY_KNOWS, echo_server.port
    ran, seen = trace(*through(proxy), sys.executable, "-c", source_of(program), *words)
    assert proxy.asked == [("CONNECT", ONLY_THE_PROXY_KNOWS, echo_server.port)] * 8
    check_clean(seen, proxy)


def test_fast_open_asked_for_by_an_option_opens_a_tunnel(trace, proxy, echo_server):
    # TCP_FASTOPEN_CONNECT: connect() sends nothing, and the first data goes with the SYN.
    def program():
        import socket
        import sys

        for timeout in None, 20:
            sock = socket.socket()
            sock.settimeout(timeout)
            sock.setsockopt(socket.IPPROTO_TCP, 30, 1)
            sock.connect((sys.argv[1], int(sys.argv[2])))
            sock.sendall(b"hello")
            print(sock.recv(5, socket.MSG_WAITALL).decode())

    words = ONLY_THE_PROXY_KNOWS, echo_server.port
    ran, seen = trace(*through(proxy), sys.executable, "-c", source_of(program), *words)
    assert ran.out == "hello\nhello\n"
    check_clean(seen, proxy)


def test_udp_to_this_machine_is_refused_when_it_is_blocked(trace, proxy):
    def program():
        import socket

        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for host in "127.0.0.1", "localhost", "":
            try:
                sock.sendto(b"hello", (host, 9))
            except PermissionError as err:
                print(err)

    ran, seen = trace(
        *pysocksify("-x", proxy.url(), "--loopback", "proxy", "--udp", "block"),
        sys.executable,
        "-c",
        source_of(program),
    )
    assert ran.out.count("UDP is blocked (--udp)") == 3
    assert seen.reached == [], str(seen)
