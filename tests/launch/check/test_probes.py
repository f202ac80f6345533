"""``--check`` against real proxies, and against some that misbehave."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import socketserver
import sys
import threading
import types

import pytest

from pywrap.config.settings import Chain, Proxy
from pywrap.config.url import format_proxy, parse_proxy
from pywrap.errors import ConfigError
from pywrap.launch import check
from pywrap.launch.check import Role, destination, other_clients
from pywrap.launch.check.report import ABSENT, NO, UNKNOWN, YES, Finding, Report, in_json, in_words
from pywrap.socks import serve
from pywrap.socks.datagram import pack_header, unpack_header
from pywrap.socks.wire import Endpoint
from tests.support import destinations
from tests.support.forwarder import forwarder
from tests.support.play import hold
from tests.support.scripted import CHOICE, GREETING, scripted
from tests.support.servers import reference_server
from tests.support.swallower import swallower

# For a question that is answered, on a busy machine; and for one that never is.
PATIENT = 30.0
IMPATIENT = 0.3

NOTHING_ELSE = dict.fromkeys(
    ("method_none", "method_password", "method_gssapi", "connect", "names")
    + ("ipv6", "udp", "udp_names", "bind", "pipelining", "data_behind", "half_close", "resolve"),
    UNKNOWN,
)
METHOD_NONE = {"method_none": YES, "method_password": NO, "method_gssapi": NO}
METHOD_PASSWORD = {"method_none": NO, "method_password": YES, "method_gssapi": NO}
# Ours takes a password that it does not need.
METHODS_OF_OURS = {"method_none": YES, "method_password": YES, "method_gssapi": NO}
NO_METHODS = dict.fromkeys(METHOD_NONE, ABSENT)
TCP = {"reachable": YES, "connect": YES, "names": YES, "ipv6": YES}

UDP = {"udp": YES, "udp_names": YES}
NO_UDP = {"udp": NO, "udp_names": UNKNOWN}
PIPELINING = {"pipelining": YES, "data_behind": YES}
MICROSOCKS = {
    **NO_UDP,
    "bind": NO,
    "pipelining": NO,
    "data_behind": UNKNOWN,
    "half_close": NO,
    "resolve": NO,
}

# CONNECT 127.0.0.1 and a port.
REQUEST_SIZE = 10


def examined(*paths, patience=PATIENT, **how):
    """What the JSON says about each of ``paths``, which are tuples of URLs, or a single URL."""
    hops = [(path,) if isinstance(path, str) else path for path in paths]
    proxies = [tuple(parse_proxy(url) for url in path) for path in hops]
    text, status = check.check(dict.fromkeys(proxies, Role()), patience, json=True, **how)
    told = json.loads(text)
    assert status == (0 if told["works"] else 1)
    return told["proxies"] if len(paths) > 1 else told["proxies"][0]


def verdicts(told):
    return {
        subject: value["verdict"]
        for subject, value in told.items()
        if type(value) is dict and "verdict" in value
    }


def url_of(peer, scheme="socks5h", login=""):
    return f"{scheme}://{login}{peer.host}:{peer.port}"


# ---------------------------------------------------------------- real proxies


def test_our_server_has_all_of_tcp_and_is_asked_for_nothing_but_our_listener():
    with reference_server() as server:
        told = examined(server.url())
        asked = server.asked
    expected = {**TCP, **METHODS_OF_OURS, **UDP, **PIPELINING, "half_close": YES}
    assert verdicts(told).items() >= expected.items()
    assert told["works"] and told["error"] == "" and told["other_clients"] == {}
    (port,) = {port for command, _, port in asked if command == "CONNECT"}
    assert [host for command, host, _ in asked if command == "CONNECT"] == [
        "127.0.0.1",
        "localhost",
        "::1",
        "127.0.0.1",
        "127.0.0.1",
    ]
    assert port != server.port


def test_our_server_with_a_password():
    with reference_server(users={b"alice": b"s cret"}) as server:
        told = examined(server.url("alice", "s cret"))
    expected = {**TCP, **METHOD_PASSWORD, "udp": YES, "pipelining": YES}
    assert verdicts(told).items() >= expected.items()


def test_our_server_as_socks4a():
    with reference_server() as server:
        told = examined(server.url(scheme="socks4a"))
    expected = {**TCP, **NO_METHODS, "ipv6": ABSENT, "udp": ABSENT, "pipelining": YES}
    assert verdicts(told).items() >= expected.items()
    assert told["connect_ms"] > 0
    assert told["reply_ms"] is None


def test_microsocks_hangs_on_a_single_flight(microsocks):
    told = examined(url_of(microsocks))
    assert verdicts(told) == {**TCP, **METHOD_NONE, **MICROSOCKS}
    assert told["udp"]["why"] == "command not supported by the proxy"
    assert told["pipelining"]["why"] == "no answer when all comes at once"


def test_microsocks_with_a_password(microsocks_with_password):
    told = examined(url_of(microsocks_with_password, login="alice:secret@"))
    assert verdicts(told) == {**TCP, **METHOD_PASSWORD, **MICROSOCKS}


def test_dante_relays_datagrams_and_lets_a_peer_in(dante):
    told = examined(url_of(dante))
    assert verdicts(told) == {
        **TCP,
        **METHOD_NONE,
        **UDP,
        "bind": YES,
        **PIPELINING,
        "half_close": YES,
        "resolve": NO,
    }


def test_dante_takes_the_announcement_of_a_name_for_an_address(dante):
    told = examined(url_of(dante, "socks4a"))
    assert told["names"]["verdict"] == NO
    assert told["names"]["why"].startswith("rejected or failed, as without 4a every name is")
    assert (told["connect"]["verdict"], told["bind"]["verdict"]) == (YES, YES)


def test_ssh_has_connect_alone_and_hangs_up_on_the_rest(ssh_dynamic):
    told = examined(url_of(ssh_dynamic))
    assert verdicts(told) == {
        **TCP,
        **METHOD_NONE,
        **NO_UDP,
        "bind": NO,
        **PIPELINING,
        "half_close": YES,
        "resolve": NO,
    }
    assert told["method_password"]["why"] == "it hangs up on that offer"
    assert told["bind"]["why"] == "it hangs up instead of answering"


def test_ssh_as_plain_socks4_has_no_names(ssh_dynamic):
    told = examined(url_of(ssh_dynamic, "socks4"))
    assert verdicts(told).items() >= {"connect": YES, "names": ABSENT, "ipv6": ABSENT}.items()


# ---------------------------------------------------------------- chains


def test_each_hop_alone_and_then_through_those_before_it():
    first, second, third = (Proxy("socks5h", name) for name in ("a", "b", "c"))
    paths = check.paths_of([Chain((first, second, third))])
    assert list(paths.items()) == [
        ((first,), Role()),
        ((second,), Role(counts=False)),
        ((third,), Role(counts=False)),
        ((first, second), Role()),
        ((first, second, third), Role()),
    ]


def test_a_chain_without_an_order_is_its_hops():
    first, second = (Proxy("socks5h", name) for name in ("a", "b"))
    assert check.paths_of([Chain((first, second), type="random")]) == {(first,): Role(), (second,): Role()}


def test_a_hop_counts_when_any_chain_begins_with_it():
    first, second = (Proxy("socks5h", name) for name in ("a", "b"))
    paths = check.paths_of([Chain((second,)), Chain((first, second))])
    assert paths == {(first,): Role(), (second,): Role(), (first, second): Role()}


@pytest.mark.parametrize(("types", "around"), [(["dynamic"], True), (["strict", "dynamic"], False)])
def test_a_dynamic_chain_goes_around_what_does_not_work(types, around):
    hops = tuple(Proxy("socks5h", name) for name in ("a", "b"))
    for order in (types, types[::-1]):
        paths = check.paths_of([Chain(hops, type=each) for each in order])
        assert paths[hops] == Role(around=around)


def test_hops_of_a_dynamic_chain_are_examined_through_those_that_work(refusing_port, dante):
    gone = Proxy("socks5h", "127.0.0.1", refusing_port)
    with reference_server() as server:
        ours, theirs = parse_proxy(server.url()), parse_proxy(url_of(dante))
        for hops, ways in (
            ((gone, ours, theirs), [(gone,), (ours,), (theirs,), (ours, theirs)]),
            ((ours, gone, theirs), [(ours,), (gone,), (theirs,), (ours, gone), (ours, theirs)]),
        ):
            text, status = check.check(check.paths_of([Chain(hops, type="dynamic")]), PATIENT, json=True)
            told = json.loads(text)["proxies"]
            assert [(*each["through"], each["proxy"]) for each in told] == [
                tuple(map(format_proxy, way)) for way in ways
            ]
            assert [each["works"] for each in told] == [way[-1] is not gone for way in ways]
            # To ours directly as well: nobody before it works.
            direct = [each["counts"] for each in told if not each["through"]]
            assert direct == [hop is ours or hop is hops[0] for hop in hops]
            assert status == 1


def test_a_later_hop_may_be_out_of_reach_directly():
    working = f"{YES} " * 5
    reports = [
        reported("socks5h://a", working),
        reported("socks5h://b", counts=False),
        reported("socks5h://b", working, ["socks5h://a"]),
    ]
    assert json.loads(in_json(reports))["works"]
    assert in_words(reports).endswith("\nworks; not seen to work, which is no harm: 2\n")


def test_a_hop_through_another(dante):
    with reference_server() as server:
        told = examined((server.url(), url_of(dante)))
        asked = server.asked
    expected = {**TCP, **METHOD_NONE, "bind": YES, "pipelining": YES}
    assert verdicts(told).items() >= expected.items()
    assert told["udp"]["why"] == "granted; datagrams are tried only without other hops"
    assert told["through"] == [server.url()]
    # And the connection to what Dante has bound.
    assert asked.count(("CONNECT", dante.host, dante.port)) == len(asked) - 1


def test_a_dead_hop_is_named_in_what_fails_behind_it(refusing_port):
    dead = f"socks5h://127.0.0.1:{refusing_port}"
    with reference_server() as server:
        alone, behind, before = examined(server.url(), (dead, server.url()), (server.url(), dead))
    assert alone["works"]
    assert (
        behind["error"] == f"hop 1 of 2: cannot reach the proxy 127.0.0.1:{refusing_port}: Connection refused"
    )
    assert before["error"] == (
        f"proxy {server.host}:{server.port}: connection refused (asked for 127.0.0.1:{refusing_port})"
    )
    assert before["reachable"]["verdict"] == NO
    assert before["other_clients"]["python-socks"]["verdict"] == NO
    assert before["other_clients"]["PySocks"]["why"] == "not tried: it has no chains"


# ---------------------------------------------------------------- raw hops


@pytest.mark.parametrize("kind", ["strict", "dynamic", "random"])
def test_a_raw_hop_does_not_count(kind):
    raw, other = Proxy("raw", "a"), Proxy("socks5h", "b")
    for hops in ((raw, other), (other, raw)):
        paths = check.paths_of([Chain(hops, type=kind)])
        assert {path for path, role in paths.items() if role.counts} == (
            {(other,)} if kind == "random" or hops[0] is other else {hops}
        )


def test_a_hop_behind_a_raw_one_is_checked_through_it():
    with reference_server() as server, forwarder(server.address) as way:
        raw, hop = Proxy("raw", "127.0.0.1", way.port), parse_proxy(server.url())
        text, status = check.check(check.paths_of([Chain((raw, hop))]), PATIENT, json=True)
    alone, direct, behind = json.loads(text)["proxies"]
    assert status == 0
    assert (alone["error"], alone["counts"]) == ("raw hops cannot be checked", False)
    assert (direct["counts"], behind["counts"]) == (False, True)
    assert behind["through"] == [f"raw://127.0.0.1:{way.port}"]
    expected = {"reachable": YES, **METHODS_OF_OURS, "connect": YES, "names": YES, "pipelining": YES}
    assert verdicts(behind).items() >= expected.items()


def test_a_raw_hop_leads_nowhere_else(dante):
    # Dante refuses itself, and lets peers in.
    with forwarder((dante.host, dante.port)) as way:
        told = examined((f"raw://127.0.0.1:{way.port}", url_of(dante)))
    assert told["connect"]["verdict"] == YES
    assert told["bind"]["verdict"] == UNKNOWN
    assert told["bind"]["why"].endswith("raw hops lead to one place alone")


def test_a_refusal_behind_a_raw_hop_may_be_of_another_machine():
    # Where it leads to is not told by the address of the next hop, loopback or not.
    path = Proxy("raw", "127.0.0.1"), Proxy("socks5h", "127.0.0.1")
    with destination.Listener() as listener:
        found = destination.destinations(path, "127.0.0.1", None, listener)
    assert not found.here
    assert found.plain.endpoint == Endpoint("127.0.0.1", 1080)


def test_the_hop_behind_a_raw_one_does_not_work():
    with (
        scripted(3, b"HTTP/1.1 400 Bad Request\r\n\r\n") as proxy,
        forwarder((proxy.host, proxy.port)) as way,
    ):
        told = examined((f"raw://127.0.0.1:{way.port}", url_of(proxy)))
    assert told["error"].endswith("not a SOCKS5 proxy: it answers like an HTTP server")
    assert {opinion["why"] for opinion in told["other_clients"].values()} == {
        "not tried: it has no raw hops",
        "not tried: it has no chains",
    }


# ---------------------------------------------------------------- proxies that misbehave


@pytest.mark.parametrize(
    "script, error",
    [
        ((3, b"HTTP/1.1 400 Bad Request\r\n\r\n"), "not a SOCKS5 proxy: it answers like an HTTP server"),
        ((3,), "it hangs up instead of answering"),
        ((3, None), "no answer in time"),
        ((3, b"\x05\xff"), "the proxy asks for authentication, and no username was given"),
    ],
)
def test_what_is_wrong_is_said_in_words_and_others_are_asked(script, error):
    with scripted(*script) as proxy:
        told = examined(url_of(proxy), patience=IMPATIENT if None in script else PATIENT)
    assert told["error"] == error
    assert told["reachable"]["verdict"] == YES
    assert {name: opinion["verdict"] for name, opinion in told["other_clients"].items()} == {
        "python-socks": NO,
        "PySocks": NO,
    }


def test_who_does_not_speak_socks_is_asked_nothing_else():
    with scripted(3, b"HTTP/1.1 400 Bad Request\r\n\r\n") as proxy:
        told = examined(url_of(proxy))
    assert verdicts(told) == {"reachable": YES, **NOTHING_ELSE}


def test_the_greeting_is_the_first_that_a_proxy_hears():
    with scripted(3, b"HTTP/1.1 400 Bad Request\r\n\r\n") as proxy:
        examined(url_of(proxy))
    assert proxy.received[0] == GREETING


def test_wrong_password(microsocks_with_password):
    told = examined(url_of(microsocks_with_password, login="alice:wrong@"))
    assert told["error"] == "the proxy refused the username or the password"
    assert verdicts(told) == {**NOTHING_ELSE, "reachable": YES, **METHOD_PASSWORD, "connect": NO}


def test_a_refusal_counts_only_if_it_is_about_the_proxy():
    # A proxy here that leaves the net elsewhere finds nothing at our listener's address there.
    with scripted(3, CHOICE, REQUEST_SIZE, b"\x05\x05\x00\x01" + bytes(6)) as proxy:
        told = examined(url_of(proxy))
    assert told["connect"]["verdict"] == UNKNOWN
    assert told["connect"]["why"].startswith("connection refused (asked for 127.0.0.1:")
    assert told["error"].endswith("name a destination that it can reach with --check-target HOST:PORT")
    with scripted(3, CHOICE, REQUEST_SIZE, b"\x05\x07\x00\x01" + bytes(6)) as proxy:
        told = examined(url_of(proxy))
    assert told["connect"]["verdict"] == NO


def test_a_hang_up_is_a_refusal_too():
    with scripted(3, CHOICE, REQUEST_SIZE) as proxy:
        told = examined(url_of(proxy))
    assert told["connect"] == {"verdict": UNKNOWN, "why": "it hangs up instead of answering"}
    assert "--check-target" in told["error"]


def test_a_grant_is_not_believed_without_our_listener_behind_it():
    granted = b"\x05\x00\x00\x01" + bytes(6)
    with scripted(3, CHOICE, REQUEST_SIZE, granted, 16, b"a banner of 16 B") as proxy:
        told = examined(url_of(proxy))
    assert told["connect"]["verdict"] == UNKNOWN
    assert told["connect"]["why"].startswith("granted, but another server answered")


class Promising(socketserver.ThreadingTCPServer):
    """Relays a connection's first answer; grants UDP and BIND as well, and does nothing about them."""

    def __init__(self):
        self.idle = contextlib.ExitStack()
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.host, self.port = self.server_address

    def server_close(self):
        super().server_close()
        self.idle.close()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError, ValueError):
                request = hold(serve.receive_request(), self.request)
                if request.command == 1:
                    there = (request.destination.host, request.destination.port)
                    with socket.create_connection(there) as onward:
                        self.request.sendall(request.reply(0))
                        onward.sendall(self.request.recv(100))
                        self.request.sendall(onward.recv(100))
                    return
                sock = socket.socket(type=socket.SOCK_STREAM if request.command == 2 else socket.SOCK_DGRAM)
                self.server.idle.enter_context(sock).bind(("127.0.0.1", 0))
                if request.command == 2:
                    sock.listen()
                # 0.0.0.0 is the address that we were asked at.
                self.request.sendall(request.reply(0, Endpoint("0.0.0.0", sock.getsockname()[1])))
                self.request.recv(1)


def test_what_is_granted_and_not_done_is_no():
    with Promising() as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,))
        thread.start()
        try:
            # Over the greeting there is nothing to be slow about, but about the rest it never answers.
            told = examined(url_of(proxy), patience=3)
        finally:
            proxy.shutdown()
            thread.join()
    assert told["works"]
    assert told["udp"]["verdict"] == NO
    assert told["udp"]["why"].startswith("granted, but no datagram came through its relay to 127.0.0.1:")
    assert told["bind"]["verdict"] == NO
    assert told["bind"]["why"].startswith("granted, but the connection to 127.0.0.1:")


class Relaying(socketserver.ThreadingTCPServer):
    """Relays a connection's first answer, datagrams, and what the peer of a BIND says first.

    ``names``: also datagrams to names? ``wants_port``: only those from the port that the request tells?
    ``at_peer``: for a BIND, does it listen at the peer's address? ``relay``: what it calls its relay.
    """

    def __init__(self, names=True, wants_port=False, at_peer=False, relay=None):
        self.names, self.wants_port, self.at_peer, self.relay = names, wants_port, at_peer, relay
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.host, self.port = self.server_address

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError, ValueError):
                request = hold(serve.receive_request(), self.request)
                (self.connect, self.bind, self.associate)[request.command - 1](request)

        def connect(self, request):
            with socket.create_connection((request.destination.host, request.destination.port)) as onward:
                self.request.sendall(request.reply(0))
                onward.sendall(self.request.recv(100))
                self.request.sendall(onward.recv(100))

        def bind(self, request):
            host = request.destination.host if self.server.at_peer else "127.0.0.1"
            with socket.create_server((host, 0)) as listener:
                listener.settimeout(PATIENT)
                self.request.sendall(request.reply(0, Endpoint(*listener.getsockname())))
                if self.server.at_peer:
                    self.request.recv(1)
                    return
                peer, address = listener.accept()
                with peer:
                    self.request.sendall(request.reply(0, Endpoint(*address)))
                    self.request.sendall(peer.recv(100))

        def associate(self, request):
            with (
                socket.socket(type=socket.SOCK_DGRAM) as near,
                socket.socket(type=socket.SOCK_DGRAM) as far,
            ):
                near.bind(("127.0.0.1", 0))
                relay = self.server.relay or Endpoint(*near.getsockname())
                self.request.sendall(request.reply(0, relay))
                client = None
                while True:
                    ready, _, _ = select.select((self.request, near, far), (), ())
                    if self.request in ready:
                        return
                    if far in ready:
                        data, source = far.recvfrom(1 << 16)
                        near.sendto(pack_header(Endpoint(*source)) + data, client)
                        continue
                    data, client = near.recvfrom(1 << 16)
                    header = unpack_header(data)
                    host = header.endpoint.host
                    if self.server.wants_port and client[1] != request.destination.port:
                        continue
                    if host == "localhost" and self.server.names:
                        host = "127.0.0.1"
                    if host == "127.0.0.1":
                        far.sendto(data[header.size :], (host, header.endpoint.port))


@contextlib.contextmanager
def relaying(**how):
    with Relaying(**how) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()


def test_a_server_that_relays_everything():
    with relaying() as proxy:
        told = examined(url_of(proxy))
    # One exchange, and then it is over.
    assert verdicts(told).items() >= {**UDP, "bind": YES, "half_close": NO}.items()


def test_datagrams_to_names_that_get_lost():
    with relaying(names=False) as proxy:
        told = examined(url_of(proxy), patience=2)
    assert verdicts(told).items() >= {"udp": YES, "udp_names": NO}.items()
    assert told["udp_names"]["why"].startswith("no datagram came through its relay to localhost:")


def test_a_relay_that_wants_the_port_in_the_request():
    with relaying(wants_port=True) as proxy:
        told = examined(url_of(proxy), patience=2)
    assert told["udp"]["verdict"] == NO
    assert told["udp"]["why"].endswith("; it does when the request tells the port that they come from")


def test_a_relay_at_port_0():
    with relaying(relay=Endpoint("0.0.0.0", 0)) as proxy:
        told = examined(url_of(proxy))
    assert told["udp"] == {"verdict": NO, "why": "granted, but with a relay at port 0"}


def test_a_bind_at_the_peers_address_is_none():
    with relaying(at_peer=True) as proxy:
        told = examined(url_of(proxy))
    assert told["bind"]["verdict"] == NO
    assert told["bind"]["why"].startswith("granted, but: it listens at the address of the peer")


def test_a_server_that_swallows_what_is_behind_a_request():
    with swallower() as proxy:
        told = examined(url_of(proxy), patience=3)
    assert verdicts(told).items() >= {"pipelining": YES, "data_behind": NO}.items()
    assert told["data_behind"]["why"] == (
        "no answer when all comes at once; not when the data wait for its answer"
    )


@pytest.mark.parametrize("speaks_first", [False, True])
def test_a_server_that_grants_everything_is_not_seen_to_work(speaks_first):
    granted = b"\x05\x00\x00\x01" + bytes(6)
    banner = (b"SSH-2.0",) if speaks_first else ()
    with scripted(3, CHOICE, REQUEST_SIZE, granted, *banner, None) as proxy:
        told = examined(url_of(proxy), target=Endpoint("192.0.2.1", 443), patience=0.5)
    assert told["works"] == speaks_first
    assert told["connect"]["verdict"] == (YES if speaks_first else UNKNOWN)
    if not speaks_first:
        assert told["error"].startswith("granted, but so is what is impossible")
        # They would say that it works.
        assert told["other_clients"] == {}


class Http(socketserver.StreamRequestHandler):
    """An HTTP proxy for one exchange through each tunnel. What is no CONNECT it does not understand."""

    def handle(self):
        with contextlib.suppress(OSError):
            words = self.rfile.readline().split()
            while self.rfile.readline().strip():
                pass
            if words[:1] != [b"CONNECT"]:
                self.wfile.write(b"HTTP/1.0 501 Not Implemented\r\n\r\n")
                return
            host, _, port = words[1].decode().rpartition(":")
            with socket.create_connection((host.strip("[]"), int(port))) as onward:
                self.wfile.write(b"HTTP/1.0 200 Connection established\r\n\r\n")
                onward.sendall(self.rfile.read1(100))
                self.wfile.write(onward.recv(100))


@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_http_proxy_has_connect_alone(monkeypatch, elsewhere):
    if elsewhere:
        monkeypatch.setattr(destination, "_is_loopback", lambda host: False)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Http) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            text, _ = check.check({(Proxy("http", *server.server_address),): Role()}, PATIENT, json=True)
        finally:
            server.shutdown()
            thread.join()
    (told,) = json.loads(text)["proxies"]
    expected = {
        **TCP,
        **NO_METHODS,
        "udp": ABSENT,
        "udp_names": ABSENT,
        "bind": ABSENT,
        "resolve": ABSENT,
        **PIPELINING,
    }
    # It listens on 127.0.0.1 alone, and hangs up about ::1. After one exchange it closes.
    away = {"ipv6": UNKNOWN, "half_close": UNKNOWN}
    assert verdicts(told) == {**expected, **(away if elsewhere else {"half_close": NO})}


def test_a_proxy_that_never_answers_does_not_hold_up_the_others():
    seen_in_time = []
    with reference_server() as server, socket.create_server(("127.0.0.1", 0)) as silent:

        def listen():
            with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
                client = stack.enter_context(silent.accept()[0])
                # It says nothing as long as the other has not been asked.
                seen_in_time.append(len(server.wait_for_seen(1)) > 0)
                client.shutdown(socket.SHUT_RDWR)
                silent.shutdown(socket.SHUT_RDWR)

        thread = threading.Thread(target=listen)
        thread.start()
        host, port = silent.getsockname()
        first, second = examined(f"socks5h://{host}:{port}", server.url(), patience=600)
        thread.join()
    assert seen_in_time == [True]
    assert not first["works"] and second["works"]


def test_a_resolver_that_never_answers_is_not_waited_for(monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: over.wait() and [])
    monkeypatch.setattr(other_clients, "_LIBRARIES", {})
    try:
        told = examined("socks5h://proxy.test", patience=IMPATIENT)
    finally:
        over.set()
    assert told["error"] == "cannot resolve the proxy proxy.test:1080: no answer in time"


def test_who_cannot_be_asked_is_not_guessed_at():
    text, status = check.check(check.paths_of([Chain((Proxy("raw", "127.0.0.1", 3128),))]), json=True)
    (told,) = json.loads(text)["proxies"]
    assert told["error"] == "raw hops cannot be checked"
    assert set(verdicts(told).values()) == {UNKNOWN}
    # No failure, but nothing was seen to work.
    assert (told["counts"], status) == (False, 1)


def test_a_bug_is_not_taken_for_a_finding(monkeypatch):
    def probe_proxy(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(check, "probe_proxy", probe_proxy)
    with pytest.raises(ZeroDivisionError):
        check.check({(Proxy("socks5h", "127.0.0.1"),): Role()})


# ---------------------------------------------------------------- what a proxy is asked for


def test_a_proxy_elsewhere_is_asked_for_itself(monkeypatch):
    monkeypatch.setattr(destination, "_is_loopback", lambda host: False)
    with reference_server() as server:
        told = examined(server.url())
        asked = [(host, port) for command, host, port in server.asked if command == "CONNECT"]
    assert asked == [(host, server.port) for host in ("127.0.0.1", "localhost", "::1", "127.0.0.1")]
    # It listens on 127.0.0.1 alone, which says nothing about its IPv6.
    assert verdicts(told).items() >= {**TCP, "ipv6": UNKNOWN, "pipelining": YES}.items()


def test_a_socks4_proxy_elsewhere_is_asked_for_itself(monkeypatch):
    monkeypatch.setattr(destination, "_is_loopback", lambda host: False)
    with reference_server() as server:
        told = examined(server.url(scheme="socks4"))
    assert verdicts(told).items() >= {"connect": YES, "names": ABSENT, "pipelining": YES}.items()


def test_a_proxy_elsewhere_that_refuses_itself_is_asked_for_us(monkeypatch, dante):
    monkeypatch.setattr(destination, "_is_loopback", lambda host: False)
    told = examined(url_of(dante))
    assert verdicts(told).items() >= {"connect": YES, "udp": YES, "bind": YES, "pipelining": YES}.items()


@pytest.mark.parametrize(
    "proxy, address, loopback",
    [
        ("localhost", "127.0.0.1", True),
        ("127.8.0.1", "127.8.0.1", True),
        ("::1", "::1", True),
        ("proxy.test", "127.0.0.1", True),
        ("proxy.test", "192.0.2.1", False),
        ("2001:db8::1", "2001:db8::1", False),
    ],
)
def test_our_listener_is_for_proxies_on_this_machine(proxy, address, loopback):
    with destination.Listener() as listener:
        found = destination.destinations((Proxy("socks5h", proxy),), address, None, listener)
        assert found.here == loopback
        assert (found.plain.endpoint.port == listener.port) == loopback


def test_our_listener_is_not_for_a_chain_that_leaves_this_machine():
    path = (Proxy("socks5h", "proxy.test"), Proxy("socks5h", "127.0.0.1"))
    with destination.Listener() as listener:
        found = destination.destinations(path, "127.0.0.1", None, listener)
    assert found.plain.endpoint == Endpoint("127.0.0.1", 1080)


def test_our_listener_is_silent_to_strangers():
    with destination.Listener() as listener, socket.create_connection(("127.0.0.1", listener.port)) as sock:
        sock.settimeout(PATIENT)
        sock.sendall(b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(100) == b""


def test_the_users_own_destination(refusing_port):
    with reference_server() as server, destinations.greeting_server() as target:
        told = examined(server.url(), target=Endpoint(target.host, target.port))
        assert told["works"]
        told = examined(server.url(), target=Endpoint("127.0.0.1", refusing_port))
    assert told["connect"]["verdict"] == NO
    assert told["error"] == f"connection refused (asked for 127.0.0.1:{refusing_port})"


def test_ssh_refuses_by_hanging_up(ssh_dynamic, refusing_port):
    told = examined(url_of(ssh_dynamic), target=Endpoint("127.0.0.1", refusing_port))
    assert told["connect"] == {"verdict": NO, "why": "it hangs up instead of answering"}


def test_who_grants_everything_and_then_hangs_up_is_not_believed():
    with scripted(3, CHOICE, REQUEST_SIZE, b"\x05\x00\x00\x01" + bytes(6)) as proxy:
        told = examined(url_of(proxy), target=Endpoint("192.0.2.1", 443))
    assert told["connect"]["verdict"] == NO
    assert told["error"] == "granted, but then it hung up (asked for 192.0.2.1:443)"


@pytest.mark.parametrize(
    "text, endpoint",
    [
        ("Example.org:443", Endpoint("example.org", 443)),
        ("192.0.2.1:80", Endpoint("192.0.2.1", 80)),
        ("[2001:DB8::1]:443", Endpoint("2001:db8::1", 443)),
    ],
)
def test_target(text, endpoint):
    assert check.parse_target(text) == endpoint


@pytest.mark.parametrize(
    "text", ["", "host", "host:", "host:0", "host:http", ":80", "2001:db8::1:443", "[h]:1"]
)
def test_not_a_target(text):
    with pytest.raises(ConfigError):
        check.parse_target(text)


# ---------------------------------------------------------------- second opinions


def test_both_libraries_are_asked_as_their_users_would():
    with reference_server() as server:
        path, there = (parse_proxy(server.url()),), Endpoint(server.host, server.port)
        assert other_clients.ask_other_clients(path, there, PATIENT) == {
            "python-socks": Finding(YES),
            "PySocks": Finding(YES),
        }


def test_what_is_not_installed_is_not_needed(monkeypatch, refusing_port):
    for name in ("python_socks", "socks"):
        monkeypatch.setitem(sys.modules, name, None)
    told = examined(f"socks5h://127.0.0.1:{refusing_port}")
    assert {opinion["why"] for opinion in told["other_clients"].values()} == {"not installed"}


@pytest.mark.parametrize("login", ["alice:s%20cret", "alice:it's", "alice:s%5Ccret", "alice:%FFcret"])
@pytest.mark.parametrize("form", ["cannot log in with {}", "{!r} is wrong", "socks5://alice:{url}@h: no"])
def test_a_library_that_tells_the_password_is_not_quoted(monkeypatch, refusing_port, login, form):
    def create_connection(address, proxy_password, **_):
        raise ValueError(form.format(proxy_password, url=login.partition(":")[2]))

    fake = types.SimpleNamespace(SOCKS4=1, SOCKS5=2, create_connection=create_connection)
    monkeypatch.setitem(sys.modules, "socks", fake)
    told = examined(f"socks5h://{login}@127.0.0.1:{refusing_port}")
    assert told["other_clients"]["PySocks"]["why"] == "ValueError"


@pytest.mark.parametrize("password", ["o", "111", "connect"])
def test_a_password_that_is_in_the_text_by_chance_leaves_no_gap_in_it(refusing_port, password):
    told = examined(f"socks5h://u:{password}@127.0.0.1:{refusing_port}")
    assert {name: opinion["why"] for name, opinion in told["other_clients"].items()} == {
        "python-socks": "ProxyConnectionError: Connection refused",
        "PySocks": "ProxyConnectionError: Connection refused",
    }


def test_other_texts_are_quoted_beside_a_password(refusing_port):
    told = examined(f"socks5h://alice:hunter2@127.0.0.1:{refusing_port}")
    assert told["other_clients"]["python-socks"]["why"].startswith("[Errno 111] Could not connect to proxy")


# ---------------------------------------------------------------- the report


def reported(url, verdicts="", through=(), **attributes):
    """A ``Report`` whose findings are the words of ``verdicts``, in the order of the subjects."""
    report = Report((*map(parse_proxy, through), parse_proxy(url)))
    for subject, verdict in zip(report.findings, verdicts.split(), strict=False):
        report.findings[subject] = Finding(verdict)
    for name, value in attributes.items():
        setattr(report, name, value)
    return report


def test_table():
    good = reported(
        "socks5h://alice:secret@first.example",
        "yes yes yes yes yes yes yes no unknown no yes no no unknown",
        connect_time=0.0001,
        reply_time=0.123,
    )
    good.findings["udp"] = Finding(NO, "command not supported by the proxy")
    bad = reported(
        "socks4a://second.example:1081",
        "no absent absent absent",
        error="cannot reach the proxy second.example:1081: No route to host",
        other_clients={
            "python-socks": Finding(NO, "it said so"),
            "PySocks": Finding(UNKNOWN, "not installed"),
        },
    )
    behind = reported(
        "socks4a://second.example:1081",
        "yes absent absent absent yes",
        ["socks5h://alice:secret@first.example"],
        connect_time=0.0096,
    )
    assert (
        in_words([good, bad, behind])
        == """\
1  socks5h://alice:***@first.example:1080
2  socks4a://second.example:1081
3  2 through 1

   reachable  latency     methods        CONNECT  names  IPv6  UDP  BIND  pipe  half
1  yes        0.1/123 ms  none pass gss  yes      yes    yes   no   no    part  no
2  no         ?           -              ?        ?      ?     ?    ?     ?     ?
3  yes        10 ms       -              yes      ?      ?     ?    ?     ?     ?

1  UDP: command not supported by the proxy
2  error: cannot reach the proxy second.example:1081: No route to host
   python-socks: fails too: it said so
   PySocks: not installed

latency: until connected / until the greeting was answered
pipe: takes greeting, request and data at once, without a wait (pipelining)
half: what a server answers to the end of a client's data (shutdown) comes back
?: cannot be told (--check-target HOST:PORT may help)
-: its protocol has no such thing
part: greeting and request at once; data right behind them gets lost

SSRF guards take the addresses of --dns remote no, tor ?, tcp yes, local yes

2 of 3 work, not seen to work: 2
"""
    )


def test_one_proxy_without_trouble_needs_few_words():
    good = reported(
        "socks5h://h",
        "yes yes no no yes yes yes yes yes yes yes yes yes yes",
        connect_time=0.001,
        reply_time=0.001,
    )
    assert in_words([good]).splitlines()[2:] == [
        "   reachable  latency     methods  CONNECT  names  IPv6  UDP  BIND  pipe  half",
        "1  yes        1.0/1.0 ms  none     yes      yes    yes   yes  yes   yes   yes",
        "",
        "latency: until connected / until the greeting was answered",
        "pipe: takes greeting, request and data at once, without a wait (pipelining)",
        "half: what a server answers to the end of a client's data (shutdown) comes back",
        "",
        "SSRF guards take the addresses of --dns remote no, tor yes, tcp yes, local yes",
        "",
        "works",
    ]


def test_lines_fit_a_terminal_and_addresses_stay_whole():
    told = in_words([reported("socks5h://h", "yes", error="many words " * 30 + "[2001:db8::1]:1080")] * 12)
    assert max(map(len, told.splitlines())) <= 80
    assert "[2001:db8::1]:1080" in told


def test_keys_of_the_json():
    finding = {"verdict": "unknown", "why": "not asked"}
    assert json.loads(in_json([reported("socks4://u@h", error="it burns")])) == {
        "works": False,
        "guards": {"remote": "no", "tor": "unknown", "tcp": "yes", "local": "yes"},
        "before_pysocksify": [],
        "proxies": [
            {
                "proxy": "socks4://u@h:1080",
                "through": [],
                "counts": True,
                "works": False,
                "error": "it burns",
                "connect_ms": None,
                "reply_ms": None,
                "reachable": finding,
                **dict.fromkeys(NOTHING_ELSE, finding),
                "other_clients": {},
            }
        ],
    }


# ---------------------------------------------------------------- RESOLVE


class Resolving(Promising):
    """Says ``answer`` to RESOLVE."""

    answer = b""

    class Handler(Promising.Handler):
        def handle(self):
            with contextlib.suppress(OSError, ValueError):
                request = hold(serve.receive_request(), self.request)
                if request.command == 0xF0:
                    self.request.sendall(self.server.answer)
                else:
                    self.request.sendall(request.reply(7))


@pytest.mark.parametrize(
    ("answer", "verdict", "why"),
    [
        (b"\5\0\0\1" + bytes([127, 79, 67, 75]) + b"\0\0", YES, ""),
        # v2ray 4.34, whatever it is asked for.
        (b"\5\0\0\1" + b"\x7f\0\0\1" + b"\x0b\xc1", NO, "it answers 127.0.0.1:3009 for 127.79.67.75"),
        (
            b"\5\0\0\1" + bytes([127, 79, 67, 75]) + b"\x0b\xc1",
            UNKNOWN,
            "suspicious: its answer has the port 3009",
        ),
        (b"\5\7\0\1" + bytes(6), NO, ""),
    ],
)
def test_what_resolve_answers(answer, verdict, why):
    with Resolving() as proxy:
        proxy.answer = answer
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,))
        thread.start()
        try:
            told = examined(url_of(proxy), patience=PATIENT)
        finally:
            proxy.shutdown()
            thread.join()
    assert told["resolve"]["verdict"] == verdict
    assert why in told["resolve"]["why"]


def test_tor_resolves(tor):
    told = examined(url_of(tor), patience=PATIENT)
    assert told["resolve"] == {"verdict": YES, "why": ""}


@pytest.mark.parametrize(
    ("placeholders", "expected"),
    [("198.18.0.0/15", "no"), ("100.64.0.0/10", "no"), ("192.88.99.0/24", "yes")],
)
def test_which_modes_ssrf_guards_let_pass(placeholders, expected):
    told = json.loads(in_json([reported("socks5h://h")], placeholders))
    assert told["guards"] == {"remote": expected, "tor": "unknown", "tcp": "yes", "local": "yes"}
