"""The last words to a client are read, whatever the client still sends."""

from __future__ import annotations

import socket

import pytest

from pywrap.relay import lingering_close
from pywrap.relay.lingering_close import LingeringClose
from pywrap.relay.loop import Loop

PATIENCE = 30


class Closing:
    """A connection whose near end is closed in this way, in a loop that runs until it is."""

    def __init__(self):
        self.loop = Loop()
        near, self.far = socket.socketpair()
        self.far.settimeout(PATIENCE)
        near.setblocking(False)
        self.near = near
        self.ended = 0
        self.closing = LingeringClose(self.loop, memoryview(bytearray(65536)), near, self._done)

    def _done(self):
        self.ended += 1
        self.loop.stop()

    def close(self):
        self.far.close()
        self.near.close()
        self.loop.dispose()


@pytest.fixture
def closing():
    closing = Closing()
    yield closing
    closing.close()


def test_the_client_reads_the_last_words_though_it_was_not_heard_out(closing):
    closing.near.send(b"why not")
    closing.far.sendall(b"unread" * 1000)
    closing.closing.start()
    closing.far.shutdown(socket.SHUT_WR)
    closing.loop.run()
    assert closing.far.recv(100) == b"why not"
    assert closing.far.recv(100) == b""
    assert closing.ended == 1


def test_a_client_that_does_not_close_is_cut_off_in_time(monkeypatch):
    monkeypatch.setattr(lingering_close, "PATIENCE", 0.01)
    closing = Closing()
    closing.closing.start()
    closing.loop.run()
    assert closing.ended == 1
    assert closing.near.fileno() == -1
    closing.close()


def test_a_client_that_goes_on_sending_is_cut_off(closing, monkeypatch):
    monkeypatch.setattr(closing.closing, "_left", 1000)
    closing.closing.start()
    closing.far.sendall(bytes(2000))
    closing.loop.run()
    assert closing.ended == 1
    assert closing.near.fileno() == -1


def test_a_client_that_is_gone_is_closed_at_once():
    closing = Closing()
    with socket.socket() as never_connected:
        other = LingeringClose(closing.loop, memoryview(bytearray(10)), never_connected, closing._done)
        other.start()
        assert closing.ended == 1
    closing.closing.abort()
    assert closing.ended == 2
    closing.close()
