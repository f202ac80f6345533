"""A relay that answers only to the port that the request has named is asked again with that port."""

from __future__ import annotations

import asyncio
import os
import socket
import threading

import pytest

from tests.support.child import talk
from tests.support.datagram_servers import answering, nothing
from tests.support.inside import descriptors, left_over, outcome, pause, question, say, udp
from tests.support.minding import DROPS, HANGS_UP, LATE, REFUSES, RELAYS, minding


def hasten(silence, patience):
    """Have the trial begin and end sooner, in seconds."""
    from pywrap.tunnel import request_port

    request_port.SILENCE, request_port._PATIENCE = silence, patience


# ---------------------------------------------------------------- a relay that minds the port


def test_the_second_attempt_of_a_program_is_answered(echo):
    def program(host, port):
        with udp() as sock:
            first = question(sock, b"one", (host, port))
            after = [question(sock, word, (host, port)) for word in (b"two", b"three")]
            own = sock.getsockname()[1]
        with udp() as other:
            say(first=first, after=after, own=own, other=question(other, b"four", (host, port)))

    with minding() as proxy:
        said = talk(proxy, program, echo.host, echo.port)
    there = [echo.host, echo.port]
    assert said["first"] == [2, "one", there]
    assert said["after"] == [[1, "two", there], [1, "three", there]]
    # Remembered: the next socket asks with its port at once.
    assert said["other"] == [1, "four", there]
    nothing_named, with_port, others = proxy.named
    assert (nothing_named, with_port) == (("0.0.0.0", 0), ("127.0.0.1", said["own"]))
    assert others[0] == "127.0.0.1" and others[1] not in (0, said["own"])


def test_so_is_that_of_a_connected_socket(echo):
    def program(host, port):
        with udp() as sock:
            sock.connect((host, port))
            say(first=question(sock, b"one"), peer=sock.getpeername())

    with minding() as proxy:
        said = talk(proxy, program, echo.host, echo.port)
    assert said == {"first": [2, "one", [echo.host, echo.port]], "peer": [echo.host, echo.port]}


def test_and_that_of_an_ipv6_socket(echo):
    def program(port):
        with udp(socket.AF_INET6) as sock:
            say(first=question(sock, b"one", ("::ffff:127.0.0.1", port)))

    with minding() as proxy:
        said = talk(proxy, program, echo.port)
    assert said == {"first": [2, "one", ["::ffff:127.0.0.1", echo.port, 0, 0]]}
    assert [host for host, _ in proxy.named] == ["0.0.0.0", "127.0.0.1"]


def test_the_address_that_a_socket_is_bound_to_is_named(echo):
    def program(host, port):
        with udp() as sock:
            sock.bind(("127.0.0.5", 0))
            say(first=question(sock, b"one", (host, port)), own=sock.getsockname())

    with minding() as proxy:
        said = talk(proxy, program, echo.host, echo.port)
    assert said["first"][0] == 2
    assert proxy.named == [("0.0.0.0", 0), tuple(said["own"])]


def test_and_a_program_that_makes_a_socket_for_each_attempt(echo):
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


def test_an_event_loop_gets_its_answer_and_does_not_wait(echo):
    def program(host, port):
        class Client(asyncio.DatagramProtocol):
            def __init__(self):
                self.got = asyncio.get_running_loop().create_future()

            def datagram_received(self, data, source):
                self.got.set_result((data.decode(), source))

        async def main():
            loop = asyncio.get_running_loop()
            transport, client = await loop.create_datagram_endpoint(Client, remote_addr=(host, port))
            longest, count = 0.0, 0
            while not client.got.done():
                count += 1
                began = loop.time()
                transport.sendto(b"one")
                longest = max(longest, loop.time() - began)
                await asyncio.wait([client.got], timeout=1.0)
            transport.close()
            say(count=count, got=client.got.result(), is_quick=longest < 0.5)

        asyncio.run(main())

    with minding() as proxy:
        said = talk(proxy, program, echo.host, echo.port)
    assert said == {"count": 2, "got": ["one", [echo.host, echo.port]], "is_quick": True}


def test_what_is_sent_meanwhile_is_answered_in_its_order(echo):
    def program(host, port):
        with udp() as sock:
            pause_for = question(sock, b"lost", (host, port), tries=1)
            words = [b"%d" % number for number in range(20)]
            for word in words:
                sock.sendto(word, (host, port))
            say(lost=pause_for, got=[sock.recv(100).decode() for _ in words])

    with minding() as proxy:
        said = talk(proxy, program, echo.host, echo.port)
    assert said == {"lost": None, "got": [str(number) for number in range(20)]}
    assert len(proxy.named) == 2


def test_a_thread_that_sleeps_in_recv_gets_the_answer(echo):
    def program(host, port):
        with udp() as sock:
            sock.sendto(b"lost", (host, port))
            got = []
            receiver = threading.Thread(target=lambda: got.append(sock.recv(100).decode()))
            receiver.start()
            with udp() as clock:
                while receiver.is_alive():
                    pause(clock, 0.2)
                    sock.sendto(b"again", (host, port))
            receiver.join()
        say(got=got)

    with minding() as proxy:
        assert talk(proxy, program, echo.host, echo.port) == {"got": ["again"]}


def test_a_socket_that_was_silent_before_another_found_out_is_moved_as_well(echo):
    def program(host, port):
        with udp() as early, udp() as other:
            early.sendto(b"lost", (host, port))
            found = question(other, b"found", (host, port))
            say(found=found, early=question(early, b"early", (host, port)))

    with minding() as proxy:
        said = talk(proxy, program, echo.host, echo.port)
    assert said["early"][:2] == [1, "early"]
    # Two without the port and two with it, of which the program had two open in the end.
    assert sorted(proxy.with_ports) == [False, False, True, True]


def test_the_first_association_is_closed_when_the_second_answers(echo):
    def program(host, port):
        with udp() as sock:
            lost = question(sock, b"lost", (host, port), tries=1)
            with_one = descriptors()
            found = question(sock, b"found", (host, port))[1]
            say(lost=lost, found=found, left=left_over(with_one))

    with minding() as proxy:
        said = talk(proxy, program, echo.host, echo.port)
    assert said == {"lost": None, "found": "found", "left": 0}


def test_a_child_after_fork_goes_on_with_the_trial(echo):
    def program(host, port):
        with udp() as sock:
            lost = question(sock, b"lost", (host, port), tries=1)
            pid = os.fork()
            if not pid:
                found = question(sock, b"child", (host, port))
                os._exit(0 if found[1] == "child" else 1)
            status = os.waitpid(pid, 0)[1]
            say(lost=lost, status=status, parent=question(sock, b"parent", (host, port))[1])

    with minding() as proxy:
        said = talk(proxy, program, echo.host, echo.port)
    assert said == {"lost": None, "status": 0, "parent": "parent"}


# ---------------------------------------------------------------- a relay that does not


def test_a_server_that_answers_is_asked_once_for_each_socket(proxy, echo):
    def program(host, port):
        with udp() as sock:
            counts = [question(sock, b"one", (host, port))[0]]
            # A silence, after there was an answer.
            pause(sock, 1.2)
            counts.append(question(sock, b"two", (host, port))[0])
        say(counts=counts)

    said = talk(proxy, program, echo.host, echo.port)
    assert said == {"counts": [1, 1]}
    assert proxy.asked == [("UDP ASSOCIATE", "0.0.0.0", 0)]


def test_a_late_answer_to_the_first_request_ends_the_trial(echo):
    def program(host, port):
        with udp() as sock:
            found = question(sock, b"one", (host, port))
            after = [question(sock, word, (host, port)) for word in (b"two", b"three")]
        say(found=found, after=after)

    with minding(with_port=DROPS, without_port=LATE) as proxy:
        said = talk(proxy, program, echo.host, echo.port)
    there = [echo.host, echo.port]
    # What went with the port is lost, and nothing after it.
    assert said == {"found": [2, "one", there], "after": [[1, "two", there], [1, "three", there]]}
    assert proxy.with_ports == [False, True]


@pytest.mark.parametrize(
    ("with_port", "arrives"),
    # What hangs up has taken a datagram with it.
    [(REFUSES, [b"0", b"1", b"2", b"3", b"4"]), (HANGS_UP, [b"0", b"2", b"3", b"4"])],
)
def test_a_server_that_wants_no_port_goes_on_with_the_first_request(with_port, arrives):
    def program(host, port):
        hasten(0.1, 5.0)
        with udp() as sock:
            sent = []
            for number in range(5):
                sent.append(outcome(sock.sendto, b"%d" % number, (host, port)))
                pause(sock, 0.2)
            say(sent=sent)

    with minding(with_port, RELAYS) as proxy, answering(nothing) as log:
        said = talk(proxy, program, log.host, log.port)
        assert log.wait_for_heard(len(arrives)) == arrives
    assert said == {"sent": [1] * 5}
    assert proxy.with_ports == [False, True]


@pytest.mark.parametrize("with_port", [RELAYS, DROPS])
def test_a_flow_without_answers_returns_to_the_first_request(with_port):
    def program(host, port):
        hasten(0.1, 0.5)
        with udp() as sock:
            for number in range(10):
                sock.sendto(b"%d" % number, (host, port))
                pause(sock, 0.2)
        with udp() as sock:
            sock.sendto(b"other", (host, port))
            pause(sock, 0.2)
        say(done=True)

    with minding(with_port, RELAYS) as proxy, answering(nothing) as log:
        talk(proxy, program, log.host, log.port)
        words = [b"%d" % number for number in range(10)]
        if with_port == DROPS:
            # The trial is what a NAT costs: three datagrams, and not for less than its time.
            words = [words[0], *words[4:]]
        assert log.wait_for_heard(len(words) + 1) == [*words, b"other"]
    # Once, and never again.
    assert proxy.with_ports == [False, True, False]


def test_where_all_requests_have_one_relay_nothing_is_tried_for_long(echo):
    def program(host, port):
        hasten(0.1, 5.0)
        with udp() as sock:
            for number in range(4):
                sock.sendto(b"%d" % number, (host, port))
                pause(sock, 0.2)
        say(done=True)

    with minding(DROPS, DROPS, one_relay=True) as proxy:
        talk(proxy, program, echo.host, echo.port)
    assert proxy.with_ports == [False, True]


def test_nothing_is_left_of_a_socket_that_is_closed_in_the_trial(echo):
    def program(host, port):
        hasten(0.1, 5.0)
        with udp() as other:
            other.sendto(b"x", (host, port))
            before = descriptors()
            with udp() as sock:
                sock.sendto(b"one", (host, port))
                pause(sock, 0.2)
                sock.sendto(b"two", (host, port))
                pause(sock, 0.2)
                has_two = len(descriptors()) - len(before)
            say(has_two=has_two, left=left_over(before))

    with minding(DROPS) as proxy:
        said = talk(proxy, program, echo.host, echo.port)
    # The socket, and two control connections.
    assert said == {"has_two": 3, "left": 0}
