"""The flows of a process: found by descriptor and by object, and ended by the garbage collector."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace

import pytest

from pywrap.intercept.registry import SocketRegistry
from pywrap.intercept.socket_inodes import inode
from pywrap.intercept.udp.flow_table import FlowTable, table_of


class Flow:
    """What the table asks of a flow."""

    def __init__(self, sock):
        self.number = inode(sock.fileno())
        self.fds = set()
        self.said = []
        self.closing = SimpleNamespace(keep_queued=lambda fd: self.said.append("keep_queued"))

    def let_go(self, fd):
        self.said.append("let_go")


@pytest.fixture
def table():
    return FlowTable(SocketRegistry())


def test_there_is_one_table_for_a_registry():
    registry = SocketRegistry()
    assert registry.flows is None
    assert table_of(registry) is table_of(registry) is registry.flows


def test_a_flow_is_found_by_any_of_its_descriptors(table):
    with socket.socket(type=socket.SOCK_DGRAM) as sock, sock.dup() as other, socket.socket() as stranger:
        flow = Flow(sock)
        table.add(flow)
        assert [table.at(each.fileno()) for each in (sock, other, stranger)] == [flow, flow, None]
    assert table.at(-1) is None


def test_an_object_is_one_of_a_flow_until_it_is_deleted(table):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        flow = Flow(sock)
        table.add(flow)
        other = sock.dup()
        table.join(other, flow)
        assert table.of(other) is flow and flow.fds == {other.fileno()}
        number = id(other)
        other.close()
        del other
        assert number not in table.by_object
        assert flow.said == ["keep_queued", "let_go"]


def test_a_finalizer_in_the_middle_of_a_change_leaves_the_flow_to_the_next_holder(table):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        flow = Flow(sock)
        with table.registry.lock:
            table.drop(flow, 5, lambda: flow.said.append("close"))
            assert flow.said == ["close"]
        with table.registry.lock:
            table.reap()
        assert flow.said == ["close", "let_go"]


def test_a_finalizer_does_not_wait_for_another_thread(table):
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        flow = Flow(sock)
        with table.registry.lock:
            other = threading.Thread(target=table.drop, args=(flow, 5, lambda: flow.said.append("close")))
            other.start()
            other.join(30)
            assert not other.is_alive() and flow.said == ["close"]
            table.reap()
        assert flow.said == ["close", "let_go"]


def test_a_flow_whose_file_was_replaced_has_the_new_inode(table):
    with socket.socket(type=socket.SOCK_DGRAM) as sock, socket.socket(type=socket.SOCK_DGRAM) as fresh:
        flow = Flow(sock)
        table.add(flow)
        table.renumber(flow.number, inode(fresh.fileno()))
        assert (table.at(sock.fileno()), table.at(fresh.fileno())) == (None, flow)
        table.forget(inode(fresh.fileno()))
        assert not table
