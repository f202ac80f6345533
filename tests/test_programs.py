"""Real programs under ``pysocksify``: what each of them got, and what the proxies were asked for.

Loopback goes through the proxy here (``--loopback proxy``), since that is where the destinations are.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import socketserver
import sys
import threading

import pytest

from tests.support import destinations
from tests.support.child import source_of
from tests.support.destinations import HELLO, ONLY_THE_PROXY_KNOWS, known_digest
from tests.support.naming_proxy import naming_proxy
from tests.support.run import is_confined, program, pysocksify, run
from tests.support.servers import reference_server

MIB = 1 << 20
BODY = HELLO.decode()
BANNER = destinations.BANNER.decode()

# Documentation addresses (RFC 5737, RFC 3849) and names (RFC 6761), which our proxies never dial.
FOREIGN = "192.0.2.1"
FOREIGN_NAME = "elsewhere.test"


@pytest.fixture
def proxy():
    with reference_server() as running:
        yield running


@pytest.fixture
def two_more():
    with reference_server() as second, reference_server() as third:
        yield second, third


def through(*proxies, options=()):
    """The words before a program that goes through ``proxies``, given as servers or URLs."""
    words = []
    for proxy in proxies:
        words += ["-x", proxy if isinstance(proxy, str) else url_of(proxy)]
    return pysocksify(*words, "--loopback", "proxy", *options)


def url_of(proxy, scheme="socks5h"):
    """The URL of a server: one of ours, a foreign one, or a silent one."""
    if hasattr(proxy, "url"):
        return proxy.url(scheme=scheme)
    login = f"{proxy.username}:{proxy.password}@" if getattr(proxy, "username", None) else ""
    return f"{scheme}://{login}{proxy.host}:{proxy.port}"


def ask(command, name, *args, **options):
    """Run one of our programs; return its result, and make sure that it was given nothing else to say."""
    ran = run(*command, *program(name), *args, **options)
    # But for the file that its environment names.
    said = [line for line in ran.err.splitlines() if ": settings from " not in line]
    assert said == [], str(ran)
    return ran.json


def connects(destination, count=1):
    """``count`` requests for ``destination``, as servers record them."""
    return [("CONNECT", destination.host, destination.port)] * count


# ---------------------------------------------------------------- HTTP libraries

# Program, and the connections that it makes.
FETCHERS = [
    ("fetch_urllib.py", 1),
    ("fetch_requests.py", 1),
    ("fetch_httpx.py", 1),
    ("fetch_httpx_async.py", 10),
    ("fetch_aiohttp.py", 10),
    ("fetch_tornado.py", 10),
]


@pytest.mark.parametrize(("name", "connections"), FETCHERS[::3])
def test_a_library_fetches_a_page(name, connections, proxy, http_server):
    assert ask(through(proxy), name, http_server.url()) == {"status": 200, "body": BODY}
    assert proxy.asked == connects(http_server, connections)


@pytest.mark.parametrize(("name", "connections"), FETCHERS)
def test_a_library_fetches_a_page_with_tls(name, connections, proxy, https_server):
    result = ask(through(proxy), name, https_server.url(), https_server.ca_pem)
    assert result == {"status": 200, "body": BODY}
    assert proxy.asked == connects(https_server, connections)


def test_http_client_fetches_a_page_with_tls(proxy, https_server):
    words = https_server.host, https_server.port, https_server.ca_pem
    assert ask(through(proxy), "fetch_http_client.py", *words) == {"status": 200, "body": BODY}
    assert proxy.asked == connects(https_server)


# Of Twisted's readBody() about Twisted's Agent (24.3), with us or without.
NO_DEPRECATIONS = {"PYTHONWARNINGS": "ignore::DeprecationWarning"}


def test_twisted_fetches_a_page(proxy, http_server):
    result = ask(through(proxy), "fetch_twisted.py", http_server.url(), env=NO_DEPRECATIONS)
    assert result == {"status": 200, "body": BODY, "reactor": "EPollReactor"}
    assert proxy.asked == connects(http_server, 10)


def test_two_hundred_threads_fetch_at_once(proxy, http_server):
    result = ask(through(proxy), "fetch_threads.py", http_server.url(), 200)
    assert result == {"done": 200, "body": BODY, "different": 1}
    assert proxy.asked == connects(http_server, 200)


# ---------------------------------------------------------------- event loops


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.confined_too
def test_asyncio_streams(tls, proxy, request):
    server = request.getfixturevalue("https_server" if tls else "http_server")
    ca = [server.ca_pem] if tls else []
    result = ask(through(proxy), "asyncio_streams.py", server.host, server.port, *ca)
    assert result == {"status": 200, "right": True, "peer": [server.host, server.port], "tls": tls}
    assert proxy.asked == connects(server)


@pytest.mark.confined_too
def test_asyncio_with_sockets_of_the_programs_own(proxy, echo_server):
    result = ask(through(proxy), "asyncio_sock_connect.py", echo_server.host, echo_server.port, 100)
    assert result == {"connections": 100, "right": True}
    assert proxy.asked == connects(echo_server, 100)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_trio_streams(tls, proxy, request):
    server = request.getfixturevalue("https_server" if tls else "http_server")
    ca = [server.ca_pem] if tls else []
    assert ask(through(proxy), "trio_streams.py", server.host, server.port, *ca) == {"body": BODY}
    assert proxy.asked == connects(server, 10)


def test_tornado_streams(proxy, echo_server):
    result = ask(through(proxy), "tornado_iostream.py", echo_server.host, echo_server.port)
    assert result == {"echoed": [5_000_000, 5_000_000]}
    assert proxy.asked == connects(echo_server, 2)


REACTORS = {
    "epoll": "EPollReactor",
    "poll": "PollReactor",
    "select": "SelectReactor",
    "asyncio": "AsyncioSelectorReactor",
}


@pytest.mark.parametrize("reactor", REACTORS)
def test_each_reactor_of_twisted(reactor, proxy, echo_server):
    result = ask(through(proxy), "twisted_endpoint.py", echo_server.host, echo_server.port, reactor)
    peer = [echo_server.host, echo_server.port]
    assert result == {"echoed": 1_000_000, "peer": peer, "reactor": REACTORS[reactor]}
    assert proxy.asked == connects(echo_server)


@pytest.mark.parametrize("when", ["after", "before"])
@pytest.mark.parametrize("poller", ["select", "poll", "epoll", "epoll-edge", "selectors"])
def test_a_poller_whenever_it_learns_of_the_socket(poller, when, proxy, echo_server):
    result = ask(through(proxy), "nonblocking.py", echo_server.host, echo_server.port, poller, when)
    assert result == {
        "connect_ex": "EINPROGRESS",
        "woken": True,
        "SO_ERROR": 0,
        "again": "EISCONN",
        "peer": [echo_server.host, echo_server.port],
        "echoed": "hello",
    }
    assert proxy.asked == connects(echo_server)


HANG = 2.0


@pytest.mark.parametrize("loop", ["asyncio", "tornado", "trio", "twisted"])
def test_a_proxy_that_never_answers_blocks_no_event_loop(loop, blackhole_proxy):
    # A name, so that its resolution is a part of it.
    result = ask(through(blackhole_proxy), f"tick_{loop}.py", FOREIGN_NAME, 80, HANG)
    assert result["outcome"] == ("TooSlowError" if loop == "trio" else "TimeoutError")
    assert blackhole_proxy.accepted == 1
    # A blocked loop would have one gap as long as all of the attempt, and hardly a tick.
    assert result["took"] >= HANG * 0.9
    assert result["longest"] < HANG / 2
    assert result["ticks"] > 10


# ---------------------------------------------------------------- blocking sockets, other protocols


@pytest.mark.confined_too
def test_blocking_sockets_and_those_with_a_timeout(proxy, echo_server):
    assert ask(through(proxy), "create_connection.py", echo_server.host, echo_server.port) == {
        "create_connection": "hello",
        "timeout": 20.0,
        "connect": "hello",
        "blocking": True,
        "connect_ex": 0,
        "after connect_ex": "hello",
    }
    assert proxy.asked == connects(echo_server, 3)


@pytest.mark.confined_too
def test_a_server_that_speaks_first_is_heard_from_its_first_byte(proxy, greeting_server):
    result = ask(through(proxy), "read_banner.py", greeting_server.host, greeting_server.port)
    assert result == {"banner": BANNER}
    assert proxy.asked == connects(greeting_server)


def test_smtplib_hands_in_a_mail(proxy, greeting_server):
    result = ask(through(proxy), "send_mail.py", greeting_server.host, greeting_server.port)
    assert result == {"refused": {}, "noop": 250}
    assert proxy.asked == connects(greeting_server)


@pytest.mark.confined_too
def test_paramiko_runs_a_command(proxy, ssh_server):
    result = ask(through(proxy), "ssh_exec.py", ssh_server.host, ssh_server.port)
    assert result == {"out": "hi\n", "status": 0}
    assert proxy.asked == connects(ssh_server)


@pytest.mark.confined_too
def test_a_socket_tells_of_its_destination_and_the_kernel_of_the_proxy(proxy, https_server):
    server = https_server
    result = ask(through(proxy), "report.py", server.host, server.port, server.ca_pem)
    assert result["getpeername"] == result["tls peer"] == [server.host, server.port]
    assert result["kernel peer"] == [proxy.host, proxy.port]
    assert result["getsockname"] == result["kernel name"]
    assert result["SO_ERROR"] == 0
    assert result["timeout"] == 20.0
    assert result["class"] == "socket.socket"
    assert (result["family"], result["type"], result["domain"]) == ("AF_INET", "SOCK_STREAM", "AF_INET")
    assert proxy.asked == connects(server)


def test_each_socket_of_many_threads_knows_its_destination(proxy, echo_server):
    result = ask(through(proxy), "peers_of_threads.py", echo_server.host, echo_server.port, 200)
    assert result == {"connections": 200, "right": 200}


# ---------------------------------------------------------------- much data


def test_a_download_of_256_mib_arrives_as_it_was_sent(proxy, http_server):
    size = 256 * MIB
    result = ask(through(proxy), "download.py", http_server.url(f"/bytes/{size}"))
    assert result == {"bytes": size, "sha256": known_digest(size)}
    assert proxy.asked == connects(http_server)


@pytest.mark.confined_too
def test_an_upload_of_256_mib_arrives_as_it_was_sent_and_ends_in_a_half_close(proxy, sink_server):
    size = 256 * MIB
    result = ask(through(proxy), "upload.py", sink_server.host, sink_server.port, size)
    assert result["bytes"] == size
    assert result["received"] == result["sha256"]
    assert proxy.asked == connects(sink_server)


def test_sendfile_sends_a_file(proxy, sink_server):
    result = ask(through(proxy), "send_file.py", sink_server.host, sink_server.port, 20 * MIB)
    assert result["socket.sendfile"] == result["os.sendfile"] == result["sha256"]
    assert proxy.asked == connects(sink_server, 2)


# ---------------------------------------------------------------- children


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_are_covered(method, proxy, http_server):
    result = ask(through(proxy), "fetch_multiprocessing.py", http_server.url(), method)
    assert result == {"before": BODY, "children": [BODY, BODY], "after": BODY}
    assert proxy.asked == connects(http_server, 4)


@pytest.mark.confined_too
def test_pools_of_threads_and_processes_are_covered(proxy, http_server):
    result = ask(through(proxy), "fetch_futures.py", http_server.url())
    assert result == {"threads": 8, "processes": 8, "body": BODY}
    assert proxy.asked == connects(http_server, 16)


# ---------------------------------------------------------------- names


@pytest.fixture
def knows_the_name():
    with naming_proxy({ONLY_THE_PROXY_KNOWS: "127.0.0.1"}) as proxy:
        yield proxy


# All the others with a name: test_leaks.py, which also proves that it was not looked up here.
@pytest.mark.parametrize("name", ["fetch_urllib.py", "fetch_aiohttp.py"])
def test_a_name_that_only_the_proxy_can_resolve(name, knows_the_name, https_server):
    url = https_server.url(host=ONLY_THE_PROXY_KNOWS)
    result = ask(through(knows_the_name), name, url, https_server.ca_pem)
    assert result == {"status": 200, "body": BODY}
    assert {*knows_the_name.asked} == {("CONNECT", ONLY_THE_PROXY_KNOWS, https_server.port)}


def test_the_first_hop_resolves_the_name_of_the_second(proxy, http_server):
    with naming_proxy({"second.test": "127.0.0.1"}) as first:
        second = f"socks5h://second.test:{proxy.port}"
        result = ask(through(first, second), "fetch_urllib.py", http_server.url())
    assert result["body"] == BODY
    assert first.asked == [("CONNECT", "second.test", proxy.port)]
    assert proxy.asked == connects(http_server)


# ---------------------------------------------------------------- IPv6

# A blocking socket, and those of four event loops.
ECHOERS = [
    ("create_connection.py", []),
    ("asyncio_sock_connect.py", [20]),
    ("tornado_iostream.py", []),
    ("twisted_endpoint.py", ["epoll"]),
    ("nonblocking.py", ["epoll"]),
    ("nonblocking.py", ["select", "before"]),
]


@pytest.mark.parametrize(("name", "args"), ECHOERS)
@pytest.mark.parametrize(("proxy_host", "host"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1"), ("::1", "::1")])
def test_destination_and_proxy_may_be_of_different_families(proxy_host, host, name, args):
    with reference_server(listen=[(proxy_host, 0)]) as proxy, destinations.echo_server(host) as server:
        result = ask(through(proxy), name, server.host, server.port, *args)
    assert result.get("peer", [host])[0] == host
    assert {*proxy.asked} == {("CONNECT", host, server.port)}
    assert {record.outcome for record in proxy.seen} == {""}


@pytest.mark.parametrize(
    ("proxy_host", "host", "family", "kernel_peer"),
    [("127.0.0.1", "::1", "AF_INET6", "::ffff:127.0.0.1"), ("::1", "::1", "AF_INET6", "::1")],
)
@pytest.mark.confined_too
def test_an_ipv6_socket_stays_one(proxy_host, host, family, kernel_peer):
    with reference_server(listen=[(proxy_host, 0)]) as proxy, destinations.https_server(host) as server:
        result = ask(through(proxy), "report.py", host, server.port, server.ca_pem)
    assert result["getpeername"] == result["tls peer"] == [host, server.port]
    assert result["family"] == result["domain"] == family
    assert result["kernel peer"] == [kernel_peer, proxy.port]
    # What an FTP client announces that is connected to ::1, whatever the family of the proxy is.
    assert result["getsockname"] == ["::1", result["kernel name"][1]]


@pytest.mark.skipif(is_confined(), reason="of a confined program, the proxy sees the broker's socket")
def test_an_ipv4_socket_does_not_show_that_it_is_an_ipv6_one_underneath():
    with reference_server(listen=[("::1", 0)]) as proxy, destinations.https_server() as server:
        result = ask(through(proxy), "report.py", server.host, server.port, server.ca_pem)
    assert result["getpeername"] == result["tls peer"] == [server.host, server.port]
    assert result["family"] == "AF_INET"
    # No other family has room for the proxy's address.
    assert result["domain"] == "AF_INET6"
    host, port = result["getsockname"]
    assert ipaddress.ip_address(host).version == 4
    assert port == proxy.seen[0].client.port


@pytest.mark.parametrize("name", ["asyncio_streams.py", "trio_streams.py"])
def test_tls_to_an_ipv6_destination_through_an_ipv6_proxy(name):
    with reference_server(listen=[("::1", 0)]) as proxy, destinations.https_server("::1") as server:
        result = ask(through(proxy), name, "::1", server.port, server.ca_pem)
    assert result.get("body") == BODY or result["right"]
    assert {*proxy.asked} == {("CONNECT", "::1", server.port)}


# ---------------------------------------------------------------- versions, credentials, chains


@pytest.mark.parametrize(
    ("scheme", "version"), [("socks4", 4), ("socks4a", 4), ("socks5", 5), ("socks5h", 5)]
)
@pytest.mark.parametrize("name", ["fetch_urllib.py", "fetch_aiohttp.py"])
@pytest.mark.confined_too
def test_each_version_of_the_protocol(scheme, version, name, proxy, https_server):
    command = through(proxy.url(scheme=scheme))
    assert ask(command, name, https_server.url(), https_server.ca_pem) == {"status": 200, "body": BODY}
    assert {*proxy.asked} == {("CONNECT", https_server.host, https_server.port)}
    assert {record.version for record in proxy.seen} == {version}


@pytest.mark.parametrize("scheme", ["socks4a", "socks5", "socks5h"])
def test_names_go_to_the_proxy_in_each_version_that_has_them(scheme, knows_the_name, http_server):
    url = http_server.url(host=ONLY_THE_PROXY_KNOWS)
    assert ask(through(knows_the_name.url(scheme)), "fetch_urllib.py", url)["body"] == BODY
    assert knows_the_name.asked == [("CONNECT", ONLY_THE_PROXY_KNOWS, http_server.port)]


def test_a_user_id_of_socks4(proxy, http_server):
    command = through(f"socks4://b%C3%B6b@{proxy.host}:{proxy.port}")
    assert ask(command, "fetch_urllib.py", http_server.url())["body"] == BODY
    assert [record.user for record in proxy.seen] == ["böb"]


USER, PASSWORD = "jürgen@example.org", "p:ä/s%s wörd?#"


@pytest.mark.parametrize("name", ["fetch_urllib.py", "fetch_httpx_async.py"])
def test_a_username_and_a_password_of_any_characters(name, http_server):
    with reference_server(users={USER.encode(): PASSWORD.encode()}) as proxy:
        result = ask(through(proxy.url(USER, PASSWORD)), name, http_server.url())
    assert result["body"] == BODY
    assert {record.user for record in proxy.seen} == {USER}


def test_a_password_is_in_no_message(http_server):
    with reference_server(users={b"alice": b"right"}) as proxy:
        words = through(proxy.url("alice", "s3cret"), options=["-vv"])
        ran = run(*words, *program("fail.py"), http_server.host, http_server.port)
    assert "s3cret" not in ran.out + ran.err
    assert ran.json["errno"] == "EACCES"


CHAINED = ["fetch_urllib.py", "fetch_aiohttp.py", "fetch_tornado.py"]


@pytest.mark.parametrize("name", CHAINED)
def test_a_chain_of_three(name, proxy, two_more, https_server):
    second, third = two_more
    command = through(proxy, second.url(scheme="socks4a"), third)
    assert ask(command, name, https_server.url(), https_server.ca_pem)["body"] == BODY
    assert {*proxy.asked} == {("CONNECT", second.host, second.port)}
    assert {*second.asked} == {("CONNECT", third.host, third.port)}
    assert {*third.asked} == {("CONNECT", https_server.host, https_server.port)}
    assert len(proxy.asked) == len(second.asked) == len(third.asked)


@pytest.mark.confined_too
def test_a_chain_of_three_with_a_password_for_each(http_server):
    with contextlib.ExitStack() as stack:
        hops = [
            stack.enter_context(reference_server(users={f"user{number}".encode(): b"pass"}))
            for number in range(3)
        ]
        command = through(*(hop.url(f"user{number}", "pass") for number, hop in enumerate(hops)))
        assert ask(command, "fetch_urllib.py", http_server.url())["body"] == BODY
    assert [hop.seen[0].user for hop in hops] == ["user0", "user1", "user2"]


def test_the_bytes_of_a_chain_are_exact(proxy, two_more, greeting_server):
    result = ask(through(proxy, *two_more), "read_banner.py", greeting_server.host, greeting_server.port)
    assert result == {"banner": BANNER}


# ---------------------------------------------------------------- servers of others


@pytest.mark.parametrize(
    "name",
    [
        *("fetch_urllib.py", "fetch_requests.py", "fetch_httpx_async.py", "fetch_aiohttp.py"),
        "fetch_tornado.py",
    ],
)
def test_a_library_through_a_foreign_server(name, peer, https_server):
    command = through(peer, options=["-v"])
    ran = run(*command, *program(name), https_server.url(), https_server.ca_pem)
    assert ran.json == {"status": 200, "body": BODY}
    # These do not tell what they saw; the program's side does.
    assert f"{https_server.host}:{https_server.port} via {peer.host}:{peer.port}: connected" in ran.err


@pytest.mark.parametrize("name", ["asyncio_streams.py", "trio_streams.py"])
def test_a_stream_through_a_foreign_server(name, peer, https_server):
    words = https_server.host, https_server.port, https_server.ca_pem
    result = ask(through(peer), name, *words)
    assert result.get("body") == BODY or result["right"]


def test_the_descriptor_leads_to_the_foreign_server(peer, https_server):
    result = ask(through(peer), "report.py", https_server.host, https_server.port, https_server.ca_pem)
    assert result["kernel peer"] == [peer.host, peer.port]
    assert result["tls peer"] == [https_server.host, https_server.port]


@pytest.mark.parametrize("reactor", ["epoll", "select"])
def test_twisted_through_a_foreign_server(reactor, peer, echo_server):
    result = ask(through(peer), "twisted_endpoint.py", echo_server.host, echo_server.port, reactor)
    assert result["echoed"] == 1_000_000


def test_threads_through_a_foreign_server(peer, http_server):
    # Fewer than sshd and Dante start to refuse at.
    result = ask(through(peer), "fetch_threads.py", http_server.url(), 40)
    assert result == {"done": 40, "body": BODY, "different": 1}


def test_a_server_that_speaks_first_through_a_foreign_server(peer, ssh_server, greeting_server):
    words = greeting_server.host, greeting_server.port
    assert ask(through(peer), "read_banner.py", *words) == {"banner": BANNER}
    assert ask(through(peer), "ssh_exec.py", ssh_server.host, ssh_server.port)["out"] == "hi\n"


def test_a_download_through_a_foreign_server(peer, http_server):
    size = 32 * MIB
    result = ask(through(peer), "download.py", http_server.url(f"/bytes/{size}"))
    assert result == {"bytes": size, "sha256": known_digest(size)}


def test_an_ipv6_destination_through_a_foreign_server(peer):
    with destinations.echo_server("::1") as server:
        result = ask(through(peer), "create_connection.py", "::1", server.port)
    assert result["create_connection"] == result["connect"] == "hello"


def test_a_refusal_through_a_foreign_server(peer, refusing_port):
    result = ask(through(peer), "fail.py", "127.0.0.1", refusing_port, "blocking", "asyncio")
    errors = {how: said["error"] for how, said in result.items()}
    if peer.name == "ssh -D":
        # It has no words for it: it hangs up (OpenSSH's channels.c), and we tell that.
        assert {*errors.values()} <= {"ConnectionRefusedError", "ConnectionResetError"}
    else:
        assert errors == {"blocking": "ConnectionRefusedError", "asyncio": "ConnectionRefusedError"}


def test_a_password_for_a_foreign_server(microsocks_with_password, http_server):
    result = ask(through(microsocks_with_password), "fetch_urllib.py", http_server.url())
    assert result["body"] == BODY


@pytest.mark.parametrize(
    ("server", "scheme"), [("dante", "socks4"), ("ssh_dynamic", "socks4"), ("ssh_dynamic", "socks4a")]
)
def test_socks4_through_a_foreign_server(server, scheme, request, https_server):
    peer = request.getfixturevalue(server)
    command = through(url_of(peer, scheme))
    for name in ("fetch_urllib.py", "fetch_aiohttp.py"):
        assert ask(command, name, https_server.url(), https_server.ca_pem)["body"] == BODY


@pytest.mark.parametrize("name", ["fetch_urllib.py", "fetch_aiohttp.py"])
def test_a_mixed_chain_that_begins_with_ours(name, proxy, microsocks, dante, https_server):
    command = through(proxy, microsocks, dante)
    assert ask(command, name, https_server.url(), https_server.ca_pem)["body"] == BODY
    assert {*proxy.asked} == {("CONNECT", microsocks.host, microsocks.port)}


@pytest.mark.parametrize("name", ["fetch_urllib.py", "fetch_aiohttp.py"])
def test_a_mixed_chain_that_ends_with_ours(name, proxy, microsocks, dante, ssh_dynamic, https_server):
    command = through(ssh_dynamic, dante, microsocks, proxy)
    assert ask(command, name, https_server.url(), https_server.ca_pem)["body"] == BODY
    assert {*proxy.asked} == {("CONNECT", https_server.host, https_server.port)}


# ---------------------------------------------------------------- failures

EVERY_WAY = (
    *("blocking", "timeout", "connect_ex", "nonblocking", "create_connection"),
    *("asyncio", "trio", "urllib"),
)
# What of a failure has words, and not an errno alone.
WORDY = ("blocking", "timeout", "create_connection", "urllib")


def kinds(results):
    return {how: (said["error"], said["errno"], said["outer"]) for how, said in results.items()}


def check_failure(results, error, number):
    """Every way has failed with the class ``error`` and the errno ``number``."""
    assert {*results} == {*EVERY_WAY}
    for how, (seen, seen_number, _) in kinds(results).items():
        assert (seen, seen_number) == (error, number), (how, results[how])


@pytest.mark.confined_too
def test_a_refused_connection_looks_as_it_does_without_us(proxy, refusing_port):
    words = "127.0.0.1", refusing_port, *EVERY_WAY
    results = ask(through(proxy), "fail.py", *words)
    assert kinds(results) == kinds(run(*program("fail.py"), *words).json)
    check_failure(results, "ConnectionRefusedError", "ECONNREFUSED")
    assert proxy.asked == [("CONNECT", "127.0.0.1", refusing_port)] * len(EVERY_WAY)
    for how in WORDY:
        text = f"proxy {proxy.host}:{proxy.port}: connection refused (asked for 127.0.0.1:{refusing_port})"
        assert text in results[how]["text"]


# Twisted looks at the events: an error that is not readable is to it a connection that was lost.
@pytest.mark.parametrize("reactor", ["epoll", "poll", "select", "asyncio"])
def test_a_refused_connection_looks_to_twisted_as_it_does_without_us(reactor, proxy, refusing_port):
    result = ask(through(proxy), "fail_twisted.py", "127.0.0.1", refusing_port, reactor)
    assert result == {"error": "ConnectionRefusedError", "errno": errno.ECONNREFUSED}
    assert proxy.asked == [("CONNECT", "127.0.0.1", refusing_port)]


@pytest.mark.confined_too
def test_a_refused_connection_looks_to_a_poller_as_it_does_without_us(proxy, refusing_port):
    bare = run(*program("fail_events.py"), "127.0.0.1", refusing_port).json
    assert ask(through(proxy), "fail_events.py", "127.0.0.1", refusing_port) == bare


@pytest.mark.parametrize(
    "name", ["fetch_aiohttp.py", "fetch_httpx_async.py", "fetch_tornado.py", "fetch_requests.py"]
)
def test_a_refused_connection_ends_a_library_as_it_does_without_us(name, proxy, refusing_port):
    words = *program(name), f"http://127.0.0.1:{refusing_port}/"
    wrapped = run(*through(proxy), *words, status=1)
    bare = run(*words, status=1)
    # The text of requests' has an object's address and our own words in it.
    last, expected = (ran.err.splitlines()[-1].partition(":")[0] for ran in (wrapped, bare))
    assert last == expected


REPLIES = [
    (1, "ConnectionRefusedError", "ECONNREFUSED"),
    (2, "PermissionError", "EACCES"),
    (3, "OSError", "ENETUNREACH"),
    (4, "OSError", "EHOSTUNREACH"),
    (5, "ConnectionRefusedError", "ECONNREFUSED"),
    (6, "TimeoutError", "ETIMEDOUT"),
    # Linux has one number for ENOTSUP and EOPNOTSUPP.
    (7, "OSError", "ENOTSUP"),
    (8, "OSError", "EAFNOSUPPORT"),
    (99, "ConnectionRefusedError", "ECONNREFUSED"),
]


@pytest.mark.parametrize(("code", "error", "number"), REPLIES)
def test_each_reply_is_an_errno_however_the_program_connects(code, error, number):
    with naming_proxy(replies={FOREIGN: code}) as proxy:
        results = ask(through(proxy), "fail.py", FOREIGN, 80, *EVERY_WAY)
    check_failure(results, error, number)
    assert proxy.asked == [("CONNECT", FOREIGN, 80)] * len(EVERY_WAY)


def test_a_refusal_of_socks4():
    with naming_proxy(replies={FOREIGN: 1}) as proxy:
        results = ask(through(proxy.url("socks4")), "fail.py", FOREIGN, 80, *EVERY_WAY)
    check_failure(results, "ConnectionRefusedError", "ECONNREFUSED")
    assert "rejected or failed" in results["blocking"]["text"]


@pytest.mark.confined_too
def test_a_name_without_an_address_is_an_unreachable_host():
    with naming_proxy() as proxy:
        results = ask(through(proxy), "fail.py", FOREIGN_NAME, 80, *EVERY_WAY)
    check_failure(results, "OSError", "EHOSTUNREACH")
    assert {*proxy.asked} == {("CONNECT", FOREIGN_NAME, 80)}
    assert FOREIGN_NAME in results["create_connection"]["text"]


def test_a_name_that_the_protocol_cannot_carry_is_refused_and_not_looked_up():
    with naming_proxy() as proxy:
        results = ask(through(proxy.url("socks4")), "fail.py", FOREIGN_NAME, 80, *EVERY_WAY)
    check_failure(results, "OSError", "EAFNOSUPPORT")
    assert proxy.asked == []


def test_a_dead_proxy_is_the_kernels_errno_and_is_named(refusing_port):
    results = ask(through(f"socks5h://127.0.0.1:{refusing_port}"), "fail.py", FOREIGN, 80, *EVERY_WAY)
    check_failure(results, "ConnectionRefusedError", "ECONNREFUSED")
    for how in WORDY:
        text = f"cannot reach the proxy 127.0.0.1:{refusing_port}: Connection refused"
        assert text in results[how]["text"]


def test_a_proxy_beyond_reach_is_the_kernels_errno_too():
    # Linux refuses TCP to such an address before a packet is made.
    results = ask(through("socks5h://255.255.255.255:1080"), "fail.py", FOREIGN, 80, *EVERY_WAY)
    check_failure(results, "OSError", "ENETUNREACH")


def test_a_wrong_password_is_a_permission_error():
    with reference_server(users={b"alice": b"right"}) as proxy:
        command = through(proxy.url("alice", "wrong"))
        results = ask(command, "fail.py", FOREIGN, 80, *EVERY_WAY)
    check_failure(results, "PermissionError", "EACCES")
    assert proxy.asked == []


def test_a_proxy_that_wants_a_password_and_gets_none_is_a_permission_error():
    with reference_server(users={b"alice": b"right"}) as proxy:
        results = ask(through(proxy), "fail.py", FOREIGN, 80, *EVERY_WAY)
    check_failure(results, "PermissionError", "EACCES")


def test_a_proxy_that_hangs_is_given_up_when_the_user_says(blackhole_proxy):
    command = through(blackhole_proxy, options=["--timeout", "0.3"])
    results = ask(command, "fail.py", FOREIGN, 80, *EVERY_WAY)
    check_failure(results, "TimeoutError", "ETIMEDOUT")
    assert blackhole_proxy.accepted == len(EVERY_WAY)


@pytest.mark.confined_too
def test_a_programs_own_timeout_ends_as_it_does_without_us(blackhole_proxy):
    def connect():
        try:
            socket.create_connection((FOREIGN, 80), timeout=0.2)
        except TimeoutError as err:
            print(repr(err), err.errno)

    ran = run(*through(blackhole_proxy), sys.executable, "-c", source_of(connect))
    assert ran.out == "TimeoutError('timed out') None\n"
    assert ran.err == ""


class _WebServer(socketserver.BaseRequestHandler):
    def handle(self):
        if self.request.recv(100):
            self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


class _HangsUp(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(100)


@contextlib.contextmanager
def _fake_proxy(handler):
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"socks5h://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_a_web_server_in_the_place_of_the_proxy_is_named_as_such():
    with _fake_proxy(_WebServer) as url:
        results = ask(through(url), "fail.py", FOREIGN, 80, *EVERY_WAY)
    check_failure(results, "OSError", "EPROTO")
    for how in WORDY:
        assert "HTTP" in results[how]["text"]


def test_a_mail_server_in_the_place_of_the_proxy_is_no_socks_either(greeting_server):
    results = ask(
        through(f"socks5h://{greeting_server.host}:{greeting_server.port}"),
        "fail.py",
        FOREIGN,
        80,
        *EVERY_WAY,
    )
    check_failure(results, "OSError", "EPROTO")


@pytest.mark.confined_too
def test_a_proxy_that_hangs_up_is_a_reset():
    with _fake_proxy(_HangsUp) as url:
        results = ask(through(url), "fail.py", FOREIGN, 80, *EVERY_WAY)
    check_failure(results, "ConnectionResetError", "ECONNRESET")


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_an_error_in_a_chain_names_the_hop(broken, proxy, two_more, refusing_port):
    urls = [proxy.url(), *(server.url() for server in two_more)]
    urls[broken] = f"socks5h://127.0.0.1:{refusing_port}"
    results = ask(through(*urls), "fail.py", FOREIGN, 80, *EVERY_WAY)
    check_failure(results, "ConnectionRefusedError", "ECONNREFUSED")
    if broken == 0:
        expected = f"cannot reach the proxy 127.0.0.1:{refusing_port}"
    else:
        expected = f"hop {broken} of 3, proxy {urls[broken - 1].partition('//')[2]}: connection refused"
    assert expected in results["blocking"]["text"]


def test_loopback_can_be_denied(proxy, echo_server):
    command = pysocksify("-x", proxy.url(), "--loopback", "deny")
    results = ask(command, "fail.py", echo_server.host, echo_server.port, *EVERY_WAY)
    check_failure(results, "PermissionError", "EPERM")
    assert proxy.asked == []
    assert echo_server.seen == []


def test_loopback_and_exempted_destinations_are_direct(proxy, http_server):
    assert ask(pysocksify("-x", proxy.url()), "fetch_urllib.py", http_server.url())["body"] == BODY
    command = through(proxy, options=["--direct", f"127.0.0.0/8:{http_server.port}"])
    for name in ("fetch_urllib.py", "fetch_aiohttp.py"):
        assert ask(command, name, http_server.url())["body"] == BODY
    assert proxy.asked == []


# ---------------------------------------------------------------- scripts that protect themselves


@pytest.fixture
def configured(tmp_path):
    """``configured(proxy)``: the environment that names a configuration file with ``proxy`` in it."""

    def configured(proxy):
        path = tmp_path / "pysocksify.conf"
        path.write_text(f"loopback proxy\n[ProxyList]\nsocks5 {proxy.host} {proxy.port}\n")
        return {"PYSOCKSIFY_CONF": str(path)}

    return configured


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_script_that_imports_auto_after_everything_else(tls, configured, proxy, request):
    server = request.getfixturevalue("https_server" if tls else "http_server")
    words = [server.url(), server.ca_pem] if tls else [server.url()]
    result = ask((), "fetch_after_imports.py", *words, env=configured(proxy))
    assert result == {"status": 200, "body": BODY, "asyncio": BODY, "socket class": True}
    assert proxy.asked == connects(server, 3)


def test_auto_changes_nothing_under_the_command(configured, proxy, two_more, http_server):
    ignored, _ = two_more
    result = ask(through(proxy), "fetch_after_imports.py", http_server.url(), env=configured(ignored))
    assert result["body"] == result["asyncio"] == BODY
    assert proxy.asked == connects(http_server, 3)
    assert ignored.asked == []


def test_auto_says_which_file_it_has_found(tmp_path, proxy, http_server):
    path = tmp_path / "pysocksify" / "pysocksify.conf"
    path.parent.mkdir()
    path.write_text(f"loopback proxy\n[ProxyList]\nsocks5 {proxy.host} {proxy.port}\n")
    # And not that of the folder which it is started in.
    (tmp_path / "pysocksify.conf").write_text("route * direct\n")
    command = *program("fetch_after_imports.py"), http_server.url()
    ran = run(*command, env={"XDG_CONFIG_HOME": str(tmp_path)}, cwd=tmp_path)
    assert ran.err.partition(": ")[2] == f"settings from {path}\n"
    assert proxy.asked == connects(http_server, 3)


@pytest.mark.skipif(os.path.exists("/etc/pysocksify.conf"), reason="this machine has a configuration")
def test_auto_without_a_configuration_stops_the_script(tmp_path, http_server):
    home = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": None}
    command = *program("fetch_after_imports.py"), http_server.url()
    ran = run(*command, env=home, cwd=tmp_path, status=1)
    assert "ConfigError: no proxy" in ran.err
    assert http_server.seen == []


def test_uninstall_leaves_no_trace(proxy, echo_server):
    words = proxy.url(), echo_server.host, echo_server.port
    result = ask((), "install_and_uninstall.py", *words)
    peers = [[proxy.host, proxy.port], [echo_server.host, echo_server.port]]
    for round in result["rounds"]:
        assert "socket.socket.connect" in round["installed"]
        assert round["twice"] == "pywrap is installed already; uninstall() it first"
        assert round["through"] == ["hello", "hello", peers[0]]
        assert round["open tunnel"] == "hello"
        assert round["left"] == []
        assert round["direct"] == ["hello", "hello", peers[1]]
    # Three through it and the one that was left open, in each of two rounds.
    assert proxy.asked == connects(echo_server, 8)
