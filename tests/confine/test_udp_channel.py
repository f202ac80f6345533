"""A relay that answers only to the port that the request has named is asked again, for confined programs."""

from __future__ import annotations

import sys

import pytest

from tests.support.child import source_of
from tests.support.datagram_servers import answering, nothing
from tests.support.datagrams import udp_echo
from tests.support.inside import outcome, pause, question, say, udp
from tests.support.minding import DROPS, HANGS_UP, LATE, REFUSES, RELAYS, minding
from tests.support.run import pysocksify, run
from tests.support.servers import reference_server


@pytest.fixture
def echo():
    with udp_echo() as echo:
        yield echo


def talk(proxy, program, *args, flags="-ISc"):
    """What ``program`` says, in a Python that is confined and, by these flags, not patched."""
    command = pysocksify("-x", proxy.url(), "--loopback", "proxy", "--confine", "on")
    return run(*command, sys.executable, flags, source_of(program, *args), timeout=60).json


def test_the_second_attempt_of_a_program_is_answered(echo):
    def program(host, port):
        with udp() as sock:
            first = question(sock, b"one", (host, port))
            after = [question(sock, word, (host, port)) for word in (b"two", b"three")]
        with udp() as other:
            other.connect((host, port))
            say(first=first, after=after, other=question(other, b"four"))

    with minding() as proxy:
        said = talk(proxy, program, echo.host, echo.port)
    there = [echo.host, echo.port]
    assert said["first"] == [2, "one", there]
    assert said["after"] == [[1, "two", there], [1, "three", there]]
    # Remembered: what the next socket sends has an association with its port at once.
    assert said["other"] == [1, "four", there]
    (nothing_named, *others) = proxy.named
    assert nothing_named == ("0.0.0.0", 0)
    assert [host for host, _ in others] == ["127.0.0.1"] * 2 and len({port for _, port in others}) == 2


def test_so_is_that_of_a_program_that_makes_a_socket_for_each(echo):
    def program(host, port):
        counts = []
        for _ in range(3):
            with udp() as sock:
                counts.append(question(sock, b"one", (host, port), tries=1))
        say(counts=counts)

    with minding() as proxy:
        said = talk(proxy, program, echo.host, echo.port)
    there = [echo.host, echo.port]
    assert said == {"counts": [None, [1, "one", there], [1, "one", there]]}
    assert proxy.with_ports == [False, True, True]


def test_and_that_of_a_patched_program_inside(echo):
    def program(host, port):
        with udp() as sock:
            say(first=question(sock, b"one", (host, port)), own=sock.getsockname()[1])

    with minding() as proxy:
        said = talk(proxy, program, echo.host, echo.port, flags="-c")
    assert said["first"] == [2, "one", [echo.host, echo.port]]
    # The address that it has inside means nothing outside.
    assert proxy.named == [("0.0.0.0", 0), ("0.0.0.0", said["own"])]


def test_a_server_that_answers_is_asked_once_for_each_socket(echo):
    def program(host, port):
        with udp() as sock:
            counts = [question(sock, b"one", (host, port))[0]]
            # A silence, after there was an answer.
            pause(sock, 1.2)
            counts.append(question(sock, b"two", (host, port))[0])
        say(counts=counts)

    with reference_server() as proxy:
        assert talk(proxy, program, echo.host, echo.port) == {"counts": [1, 1]}
        assert proxy.asked == [("UDP ASSOCIATE", "0.0.0.0", 0)]


def test_a_late_answer_to_the_first_request_ends_the_trial(echo):
    def program(host, port):
        with udp() as sock:
            found = question(sock, b"one", (host, port))
            say(found=found, after=question(sock, b"two", (host, port)))

    with minding(with_port=DROPS, without_port=LATE) as proxy:
        said = talk(proxy, program, echo.host, echo.port)
    there = [echo.host, echo.port]
    assert said == {"found": [2, "one", there], "after": [1, "two", there]}
    assert proxy.with_ports == [False, True]


@pytest.mark.parametrize(
    ("with_port", "arrives"),
    # What hangs up has taken a datagram with it.
    [(REFUSES, [b"0", b"1", b"2", b"3"]), (HANGS_UP, [b"0", b"2", b"3"])],
)
def test_a_server_that_wants_no_port_goes_on_with_the_first_request(with_port, arrives):
    def program(host, port):
        with udp() as sock:
            sent = []
            for number in range(4):
                sent.append(outcome(sock.sendto, b"%d" % number, (host, port)))
                pause(sock, 1.0)
            say(sent=sent)

    with minding(with_port, RELAYS) as proxy, answering(nothing) as log:
        said = talk(proxy, program, log.host, log.port)
        assert log.wait_for_heard(len(arrives)) == arrives
    assert said == {"sent": [1] * 4}
    assert proxy.with_ports == [False, True]


@pytest.mark.parametrize("with_port", [RELAYS, DROPS])
def test_a_flow_without_answers_returns_to_the_first_request(with_port):
    def program(host, port):
        with udp() as sock:
            for number in range(8):
                sock.sendto(b"%d" % number, (host, port))
                pause(sock, 1.9)
        with udp() as sock:
            sock.sendto(b"other", (host, port))
            pause(sock, 0.5)
        say(done=True)

    with minding(with_port, RELAYS) as proxy, answering(nothing) as log:
        talk(proxy, program, log.host, log.port)
        words = [b"%d" % number for number in range(8)]
        if with_port == DROPS:
            # The trial is what a NAT costs: three datagrams, and not for less than its time.
            words = [words[0], *words[4:]]
        assert log.wait_for_heard(len(words) + 1) == [*words, b"other"]
    # Once, and never again.
    assert proxy.with_ports == [False, True, False]


def test_where_all_requests_have_one_relay_nothing_is_tried_for_long(echo):
    def program(host, port):
        with udp() as sock:
            for number in range(4):
                sock.sendto(b"%d" % number, (host, port))
                pause(sock, 1.0)
        say(done=True)

    with minding(DROPS, DROPS, one_relay=True) as proxy:
        talk(proxy, program, echo.host, echo.port)
    assert proxy.with_ports == [False, True]
