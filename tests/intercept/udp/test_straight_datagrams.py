"""The straight road of datagrams: what is as before takes it, and nothing that is not goes wrong by it.

Each program sends and receives twice before, so that what is usual is known.
"""

from __future__ import annotations

import os
import select
import socket
import sys

import pytest

from pywrap.intercept.udp import channel
from pywrap.intercept.udp.channel import Usual
from tests.support.child import talk
from tests.support.datagram_servers import answering
from tests.support.datagrams import udp_echo
from tests.support.inside import PATIENCE, descriptors, end_association, outcome, say, udp
from tests.support.servers import reference_server


def usual(host, port, **how):
    """A socket whose datagrams to ``host`` are as before."""
    sock = udp(**how)
    for _ in range(2):
        sock.sendto(b"before", (host, port))
        assert sock.recvfrom(100) == (b"before", (host, port))
    return sock


def straight(sock, *calls):
    """Which methods of ``sock`` the calls come to that are not the straight road's own."""
    import sys

    seen = []

    def note(frame, event, arg):
        if event == "call" and frame.f_code.co_filename.endswith("datagram_methods.py"):
            seen.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        for call in calls:
            call()
    finally:
        sys.setprofile(None)
    return seen


def test_what_is_as_before_comes_to_no_general_method(proxy, echo):
    def program(host, port):
        sock = usual(host, port, timeout=None)
        by_address = straight(sock, lambda: sock.sendto(b"x", (host, port)), lambda: sock.recvfrom(10))
        sock.connect((host, port))
        sock.send(b"x")
        sock.recv(10)
        by_peer = straight(sock, lambda: sock.send(b"x"), lambda: sock.recv(10))
        say(by_address=by_address, by_peer=by_peer)

    assert talk(proxy, program, echo.host, echo.port) == {"by_address": [], "by_peer": []}


def test_a_chain_has_a_straight_road_too(proxy, echo):
    def program(host, port):
        sock = usual(host, port, timeout=None)
        say(general=straight(sock, lambda: sock.sendto(b"x", (host, port)), lambda: sock.recvfrom(10)))

    with reference_server() as second:
        assert talk(proxy, program, echo.host, echo.port, options=("-x", second.url())) == {"general": []}
        assert second.udp_peers == [(echo.host, echo.port)]


# ---------------------------------------------------------------- what is not quite as usual


def test_sizes_types_and_flags_keep_their_meaning(proxy, echo):
    def program(host, port):
        there = host, port
        sock = usual(host, port)
        got = []
        for data in b"", b"0123456789", bytearray(b"an array"), memoryview(b"a view"):
            got.append([sock.sendto(data, there), sock.recvfrom(4)[0].decode()])
        sock.sendto(b"0123456789", there)
        got.append([sock.recvfrom(4, socket.MSG_PEEK)[0].decode(), sock.recvfrom(20)[0].decode()])
        sock.sendto(b"with flags", 0, there)
        got.append(len(sock.recv(100)))
        sock.sendto(b"empty", there)
        got.append([sock.recv(0).decode(), sock.recv(True).decode()])
        errors = [outcome(sock.sendto, bytes(65498), there)[1]]
        for call in (
            lambda: sock.sendto("text", there),
            lambda: sock.sendto(b"x", None),
            lambda: sock.sendto(b"x", there, there),
            lambda: sock.sendto(b"x", [host, port]),
            lambda: sock.sendto(b"x"),
            lambda: sock.sendto(b"x", address=there),
            lambda: sock.recvfrom("10"),
            lambda: sock.recvfrom(10.0),
            lambda: sock.recvfrom(-1),
            lambda: sock.recv(-1),
        ):
            try:
                call()
            except (TypeError, ValueError) as err:
                errors.append(type(err).__name__)
        say(got=got, errors=errors)

    assert talk(proxy, program, echo.host, echo.port) == {
        "got": [[0, ""], [10, "0123"], [8, "an a"], [6, "a vi"], ["0123", "0123456789"], 10, ["", "e"]],
        "errors": ["EMSGSIZE", *["TypeError"] * 8, *["ValueError"] * 2],
    }


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_where_nothing_has_come_it_says_so_as_ever(proxy, echo, timeout):
    def program(host, port):
        sock = usual(host, port)
        sock.settimeout(float(sys.argv[3]))
        says = [outcome(sock.recv, 10)[0], outcome(sock.recvfrom, 10)[0]]
        sock.settimeout(PATIENCE)
        sock.sendto(b"after", (host, port))
        say(says=says, got=sock.recv(10).decode())

    error = "TimeoutError" if timeout else "BlockingIOError"
    assert talk(proxy, program, echo.host, echo.port, timeout) == {"says": [error] * 2, "got": "after"}


def test_a_limit_of_the_kernels_own_is_waited_for_once(proxy, echo):
    def program(host, port):
        import struct
        import time

        sock = usual(host, port, timeout=None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 200_000))
        started = time.monotonic()
        error = outcome(sock.recv, 10)[0]
        say(error=error, limits=int((time.monotonic() - started) / 0.2))

    assert talk(proxy, program, echo.host, echo.port) == {"error": "BlockingIOError", "limits": 1}


def test_a_send_that_has_waited_long_enough_says_so_on_either_road(proxy, echo):
    def program(host, port):
        from pywrap.intercept import originals

        real, is_full = originals.sendto, []

        def sendto(*args):
            if is_full:
                raise TimeoutError("timed out")
            return real(*args)

        # A network that takes nothing more; the loopback interface takes everything.
        originals.sendto = sendto
        sock = usual(host, port)
        is_full.append(True)
        straight, general = (outcome(sock.sendto, b"x", *rest, (host, port)) for rest in ((), (0,)))
        say(straight=straight, general=general)

    error = ["TimeoutError", None, "timed out"]
    assert talk(proxy, program, echo.host, echo.port) == {"straight": error, "general": error}


def test_strangers_are_dropped_whatever_their_datagrams_begin_with(proxy, echo):
    def program(host, port):
        sock = usual(host, port)
        from pywrap.intercept import originals

        stranger = originals.Socket(socket.AF_INET, socket.SOCK_DGRAM)
        header = b"\0\0\0\1" + socket.inet_aton(host) + port.to_bytes(2, "big")
        # Past the patches, whose check lets pass what goes to a relay.
        from pywrap.intercept import patch_on_import

        mine = "127.0.0.1", sock.getsockname()[1]
        patch_on_import._registry.relays[mine] = 1
        originals.sendto(stranger, header + b"forged", mine)
        sock.sendto(b"asked", (host, port))
        got = sock.recv(100).decode()
        sock.settimeout(0)
        say(got=got, more=outcome(sock.recv, 100)[0])

    assert talk(proxy, program, echo.host, echo.port) == {"got": "asked", "more": "BlockingIOError"}


def test_what_the_program_puts_in_the_place_of_a_method_is_called(proxy, echo):
    def program(host, port):
        from unittest import mock

        sock = usual(host, port)
        said = []
        for name, args in ("sendto", (b"x", (host, port))), ("recvfrom", (10,)), ("recv", (10,)):
            with mock.patch.object(socket.socket, name, lambda self, *args: "the program's"):
                said.append(getattr(sock, name)(*args))
        sock.sendto(b"after", (host, port))
        say(said=said, got=sock.recvfrom(10)[0].decode())

    assert talk(proxy, program, echo.host, echo.port) == {"said": ["the program's"] * 3, "got": "after"}


# ---------------------------------------------------------------- when something changes


def test_a_peer_is_the_only_source_from_its_connect_on(proxy, echo):
    def program(host, port):
        sock = usual(host, port)
        other = "127.0.0.1", int(sys.argv[3])
        # An answer has come already.
        sock.sendto(b"from the first", (host, port))
        assert select.select([sock], [], [], PATIENCE)[0]
        sock.connect(other)
        sent = sock.send(b"from the other")
        got = sock.recv(100).decode()
        sock.connect((host, port))
        sock.send(b"again")
        say(sent=sent, got=got, again=sock.recv(100).decode())

    with udp_echo() as other:
        said = talk(proxy, program, echo.host, echo.port, other.port)
    assert said == {"sent": 14, "got": "from the other", "again": "again"}


def test_nothing_is_usual_until_a_hop_has_shown_which_request_it_wants(proxy):
    def program(host, port):
        from pywrap.intercept import patch_on_import

        sock = udp()
        for _ in range(3):
            sock.sendto(b"into silence", (host, port))
        latest = patch_on_import._registry.flows.of(sock).latest
        say(unknown=latest.request_port is not None, usual=len(latest.usual.to))

    with answering(lambda data, source: None) as silent:
        assert talk(proxy, program, silent.host, silent.port) == {"unknown": True, "usual": 0}


def test_what_was_found_out_before_a_change_is_not_usual_after_it():
    now = Usual(("192.0.2.1", 1080))
    holder = {"usual": now}
    taken = holder["usual"]
    # The change comes between the two steps of one who adds.
    holder["usual"] = Usual(now.relay)
    taken.add_destination("address", b"front")
    taken.add_source(b"front", ("192.0.2.2", 53))
    assert not holder["usual"].to and not holder["usual"].sources


def test_a_peer_that_changes_while_another_thread_sends_is_not_sent_to_again(proxy, echo):
    def program(host, port):
        import threading

        from pywrap.intercept.udp import flow as flows

        sock = udp()
        sock.connect((host, port))
        sock.send(b"before")
        assert sock.recv(100) == b"before"
        other = "127.0.0.1", int(sys.argv[3])
        sending, may_send = threading.Event(), threading.Event()
        real = flows.originals.sendto

        def sendto(*args):
            # The other thread has taken the route, and has not sent yet.
            flows.originals.sendto = real
            sending.set()
            assert may_send.wait(30)
            return real(*args)

        flows.originals.sendto = sendto
        # By flags, so that it is not on the straight road.
        thread = threading.Thread(target=sock.send, args=(b"to the first", socket.MSG_NOSIGNAL))
        thread.start()
        assert sending.wait(30)
        sock.connect(other)
        may_send.set()
        thread.join()
        sock.send(b"to the other")
        say(got=sock.recv(100).decode())

    with udp_echo() as other:
        assert talk(proxy, program, echo.host, echo.port, other.port) == {"got": "to the other"}
        assert len(other.seen) == 1


def test_the_end_of_the_association_is_told_and_the_next_one_is_used(proxy, echo):
    def program(host, port):
        before = descriptors()
        sock = usual(host, port)
        opened = len(descriptors()) - len(before)
        end_association(int(sys.argv[3]))
        # The socket and the background thread's own are left: the control connection is closed.
        while len(descriptors()) >= len(before) + opened:
            os.sched_yield()
        error = outcome(sock.recv, 100)[1]
        got = []
        for _ in range(3):
            sock.sendto(b"after", (host, port))
            got.append(sock.recv(100).decode())
        say(error=error, got=got)

    said = talk(proxy, program, echo.host, echo.port, proxy.port, timeout=20)
    assert said == {"error": "ECONNREFUSED", "got": ["after"] * 3}
    assert len(proxy.asked) == 2


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(channel, "_MOST", 8)
    kept = Usual()
    for number in range(100):
        kept.add_destination(("192.0.2.1", number), b"%d" % number)
        kept.add_source(b"%d" % number, ("192.0.2.1", number))
        assert len(kept.to) <= 8 and len(kept.sources) <= 8
    kept.add_destination((bytearray(b"192.0.2.1"), 1), b"")
    assert ("192.0.2.1", 99) in kept.to
