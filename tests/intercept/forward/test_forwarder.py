"""The thread that carries the bytes of libraries which are given a port of ours."""

from __future__ import annotations

import os
import select
import socket

import pytest

from pywrap.intercept.forward.forwarder import _Running


@pytest.fixture
def running():
    made = _Running()
    yield made
    made.close()


def test_an_event_is_not_for_the_next_connection_with_the_number_of_a_closed_one(running):
    called = []
    (first, sender), (second, gone), (third, kept) = (socket.socketpair() for _ in range(3))
    number = second.fileno()

    def close_second(_):
        called.append("first")
        running.watch(first.fileno(), 0, close_second)
        running.watch(number, 0, called.append)
        os.dup2(third.fileno(), number)
        running.watch(number, select.EPOLLIN, lambda _: called.append("third"))

    running.watch(first.fileno(), select.EPOLLIN, close_second)
    sender.send(b"!")
    running.watch(number, select.EPOLLIN, lambda _: called.append("second"))
    gone.close()
    running.turn()
    # The kernel lists what was ready first first.
    assert called == ["first"]
    kept.send(b"!")
    running.turn()
    assert called == ["first", "third"]
    for sock in (first, sender, second, third, kept):
        sock.close()
