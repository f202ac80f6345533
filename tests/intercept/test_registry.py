"""What is remembered of sockets: it is forgotten when they are closed, and not before."""

from __future__ import annotations

import contextlib
import gc
import os
import socket

import pytest

from pywrap.intercept.registry import SocketRegistry
from pywrap.intercept.socket_inodes import inode, is_open


@pytest.fixture
def sockets():
    """``sockets(count)``: that many, open to the end of the test."""
    with contextlib.ExitStack() as stack:
        yield lambda count: [stack.enter_context(socket.socket()) for _ in range(count)]


def establish(registry, sock):
    registry.establish(inode(sock.fileno()), ("192.0.2.1", 80))
    return inode(sock.fileno())


def test_what_is_closed_is_forgotten(sockets):
    registry = SocketRegistry()
    kept = [establish(registry, sock) for sock in sockets(10)]
    for _ in range(1000):
        # Closed in a way that passes no patch.
        with socket.socket() as sock:
            establish(registry, sock)
    assert {*kept} <= registry.established.keys()
    assert len(registry.established) < 100


def test_what_is_open_is_kept_however_many_there_are(sockets):
    registry = SocketRegistry()
    kept = [establish(registry, sock) for sock in sockets(300)]
    assert registry.established.keys() == {*kept}


def test_a_tunnel_that_another_thread_opens_during_a_sweep_is_kept(sockets, monkeypatch):
    registry = SocketRegistry()
    present = sockets(64)
    late = []
    listdir = os.listdir

    def list_and_be_overtaken(path):
        names = listdir(path)
        if not late:
            # One for the descriptor that belonged to the listing itself.
            late.append(sockets(2)[1])
            establish(registry, late[0])
        return names

    monkeypatch.setattr(os, "listdir", list_and_be_overtaken)
    for sock in present:
        establish(registry, sock)
    assert inode(late[0].fileno()) in registry.established


def test_threads_that_come_during_a_sweep_do_not_sweep_as_well(sockets, monkeypatch):
    registry = SocketRegistry()
    sweeps = []
    listdir = os.listdir

    def list_while_others_connect(path):
        sweeps.append(path)
        for sock in sockets(100):
            establish(registry, sock)
        return listdir(path)

    monkeypatch.setattr(os, "listdir", list_while_others_connect)
    for sock in sockets(64):
        establish(registry, sock)
    assert len(sweeps) == 1


def test_a_finalizer_that_opens_a_tunnel_during_a_sweep_does_not_end_it(sockets):
    """The garbage collector of Python 3.11 may run whenever an object is made, also in C code."""
    registry = SocketRegistry()
    (kept,) = sockets(1)
    opened = []

    class Cycle:
        def __init__(self):
            self.me = self

        def __del__(self):
            # In the table alone, lest this sweeps as well.
            opened.append(len(opened) - 1000)
            registry.established[opened[-1]] = ("192.0.2.2", 80)
            if len(opened) < 500:
                Cycle()

    # More tuples than the interpreter keeps for reuse.
    registry.established.update((number, ("192.0.2.3", 80)) for number in range(5000))
    thresholds = gc.get_threshold()
    Cycle()
    gc.set_threshold(1, 1000, 1000)
    try:
        establish(registry, kept)
    finally:
        gc.set_threshold(*thresholds)
    assert opened
    assert inode(kept.fileno()) in registry.established


@pytest.mark.parametrize("error", [FileNotFoundError, OSError(24, "Too many open files")])
def test_no_connect_fails_because_there_is_no_listing(error, sockets, monkeypatch):
    def fail(path):
        raise error

    monkeypatch.setattr(os, "listdir", fail)
    registry = SocketRegistry()
    kept = [establish(registry, sock) for sock in sockets(200)]
    assert registry.established.keys() == {*kept}


def test_a_descriptor_is_still_a_socket_only_while_it_is_that_one(sockets, tmp_path):
    first, second = sockets(2)
    assert is_open(first.fileno(), inode(first.fileno()))
    assert not is_open(second.fileno(), inode(first.fileno()))
    with open(tmp_path / "file", "w") as file:
        # Of the same number, and another file system.
        assert not is_open(file.fileno(), inode(file.fileno()))
        closed = os.dup(file.fileno())
    os.close(closed)
    assert not is_open(closed, inode(first.fileno()))
