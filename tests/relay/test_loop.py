"""Descriptors, and calls from elsewhere."""

import os
import signal
import socket
import threading

import pytest

from pywrap.relay.loop import IN, OUT, Loop


@pytest.fixture
def loop():
    loop = Loop()
    yield loop
    loop.dispose()


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_handler_is_called_again_until_it_has_read(loop, pair):
    calls = []
    loop.watch(pair[0].fileno(), IN, calls.append)
    assert loop.turn(0) == 0
    pair[1].send(b"x")
    loop.turn(0)
    loop.turn(0)
    assert calls == [IN, IN]
    loop.unwatch(pair[0].fileno())
    assert loop.turn(0) == 0
    loop.unwatch(pair[0].fileno())


def test_the_last_word_about_a_descriptor_counts(loop, pair):
    calls = []
    loop.watch(pair[0].fileno(), IN, lambda events: calls.append("first"))
    loop.watch(pair[0].fileno(), OUT, lambda events: calls.append("second"))
    loop.turn(0)
    loop.watch(pair[0].fileno(), OUT, lambda events: calls.append("third"))
    loop.turn(0)
    assert calls == ["second", "third"]


def test_a_number_is_not_used_again_within_a_batch(loop):
    # Two sockets are ready at once. The handler of either closes both and opens a new one:
    # it must not get the events that wait for the other.
    pairs = [socket.socketpair() for _ in range(2)]
    opened = []
    wrong = []

    def handler(events):
        for ours, _ in pairs:
            loop.close(ours)
        new = socket.socket()
        assert new.fileno() not in [ours.fileno() for ours, _ in pairs]
        opened.append(new)
        loop.watch(new.fileno(), 0, wrong.append)

    for ours, theirs in pairs:
        theirs.send(b"x")
        loop.watch(ours.fileno(), IN, handler)
    assert loop.turn(0) == 2
    assert len(opened) == 1
    assert wrong == []
    assert [ours.fileno() for ours, _ in pairs] == [-1, -1]
    for sock in [*opened, *(theirs for _, theirs in pairs)]:
        sock.close()


def test_calls_from_another_thread_run_in_the_thread_of_the_loop(loop):
    ran_in = []

    def ask():
        loop.call(lambda: ran_in.append(threading.current_thread()))
        loop.call(loop.stop)

    thread = threading.Thread(target=ask)
    thread.start()
    loop.run()
    thread.join()
    assert ran_in == [threading.current_thread()]


def test_a_timer_ends_the_wait(loop):
    loop.after(0.001, loop.stop)
    loop.run()


def test_a_signal_handler_may_stop_it(loop):
    before = signal.signal(signal.SIGUSR1, lambda *_: loop.stop())
    try:
        loop.call(lambda: os.kill(os.getpid(), signal.SIGUSR1))
        loop.run()
    finally:
        signal.signal(signal.SIGUSR1, before)


class Party:
    def __init__(self):
        self.errors = []

    def failed(self, err):
        self.errors.append(str(err))


def fail(*args):
    raise ValueError("broken")


def test_what_a_handler_begins_is_its_owners(loop, pair):
    party, other = Party(), Party()

    def begin(events):
        loop.unwatch(pair[0].fileno())
        loop.watch(pair[1].fileno(), OUT, lambda events: (loop.unwatch(pair[1].fileno()), fail()))
        loop.after(0, fail)

    loop.owner = party
    loop.watch(pair[0].fileno(), OUT, begin)
    loop.owner = None
    loop.call(fail, other)
    loop.turn(0)
    loop.turn(0)
    assert (party.errors, other.errors) == (["broken", "broken"], ["broken"])
    assert loop.owner is None


def test_what_is_shared_has_no_owner(pair):
    errors = []
    loop = Loop(errors.append)
    loop.owner = Party()
    loop.after(0, fail, shared=True)
    loop.watch(pair[0].fileno(), OUT, fail, shared=True)
    loop.call(fail)
    loop.turn(0)
    loop.dispose()
    assert [str(err) for err in errors] == ["broken"] * 3


def test_an_owner_can_be_forgotten_whole(loop, pair):
    loop.owner = party = Party()
    loop.watch(pair[0].fileno(), OUT, fail)
    loop.after(0, fail)
    loop.owner = None
    loop.abandon(party)
    assert loop.turn(0) == 0
    assert party.errors == []


def test_an_error_of_no_party_is_raised(loop):
    loop.after(0, fail)
    with pytest.raises(ValueError, match="broken"):
        loop.run()


def test_after_its_end_nothing_is_touched():
    loop = Loop()
    loop.dispose()
    loop.dispose()
    # The number of its eventfd may be another file's by now.
    reused = os.eventfd(0, os.EFD_NONBLOCK)
    loop.call(lambda: None)
    loop.stop()
    with pytest.raises(BlockingIOError):
        os.eventfd_read(reused)
    os.close(reused)
