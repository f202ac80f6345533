"""``--check`` against real proxies, and against some that misbehave."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading

import pytest

from pywrap.config.settings import Chain, Proxy
from pywrap.launch import check
from pywrap.launch.check import Role, destination, other_clients
from pywrap.launch.check.report import ABSENT, NO, UNKNOWN, YES, in_json
from pywrap.socks.wire import Endpoint
from tests.support.examined import (
    IMPATIENT,
    METHOD_NONE,
    METHOD_PASSWORD,
    METHODS_OF_OURS,
    MICROSOCKS,
    NO_UDP,
    PATIENT,
    PIPELINING,
    TCP,
    UDP,
    examined,
    reported,
    url_of,
    verdicts,
)
from tests.support.servers import reference_server

NO_METHODS = dict.fromkeys(METHOD_NONE, ABSENT)


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


def test_microsocks_with_a_password(microsocks_with_password):
    told = examined(url_of(microsocks_with_password, login="alice:secret@"))
    assert verdicts(told) == {**TCP, **METHOD_PASSWORD, **MICROSOCKS}


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


# ---------------------------------------------------------------- raw hops


# ---------------------------------------------------------------- proxies that misbehave


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


def test_what_cannot_be_asked_is_not_guessed_at():
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


def test_ssh_refuses_by_hanging_up(ssh_dynamic, refusing_port):
    told = examined(url_of(ssh_dynamic), target=Endpoint("127.0.0.1", refusing_port))
    assert told["connect"] == {"verdict": NO, "why": "it hangs up instead of answering"}


# ---------------------------------------------------------------- second opinions


# ---------------------------------------------------------------- the report


# ---------------------------------------------------------------- RESOLVE


@pytest.mark.parametrize(
    ("placeholders", "expected"),
    [("198.18.0.0/15", "no"), ("100.64.0.0/10", "no"), ("192.88.99.0/24", "yes")],
)
def test_which_modes_ssrf_guards_let_pass(placeholders, expected):
    told = json.loads(in_json([reported("socks5h://h")], placeholders))
    assert told["guards"] == {"remote": expected, "tor": "unknown", "tcp": "yes", "local": "yes"}
