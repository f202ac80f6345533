"""Finds processes by their sockets: those of this test, and children that hold one and wait."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys

import pytest

from pywrap.confine import askers
from pywrap.confine.askers import Askers
from tests.support.run import PROGRAMS

ENDS = b"\0\0\0\0", 1, b"\0\0\0\0", 2


class Kernel:
    """Instead of ``Listeners``: what the kernel would say of every connection."""

    inode_now = 0

    def inode(self, *ends):
        return self.inode_now

    udp_inode = inode


@pytest.fixture
def kernel():
    return Kernel()


@pytest.fixture
def found(kernel):
    """The pid that has the socket ``inode``, 0 without one; searches all of /proc only when told so."""
    searching = Askers(kernel, os.getpid())

    def find(inode, datagram=False):
        kernel.inode_now = inode
        asker = searching.of(ENDS, datagram)
        return 0 if asker is None else asker[0]

    return find


@pytest.fixture
def no_search(monkeypatch):
    """Call it: from then on, a search through all processes is an error."""

    def forbid():
        def search(namespace):
            raise AssertionError("it searches all processes")

        monkeypatch.setattr(askers, "processes", search)

    return forbid


@contextlib.contextmanager
def holding(number=5):
    """A child that has a socket at the descriptor ``number``: its pid and the inode."""
    words = sys.executable, "-IS", str(PROGRAMS / "hold_socket.py"), str(number)
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process.pid, int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def test_a_process_is_found_among_all_and_then_at_once_wherever_its_next_socket_is(found, no_search):
    with holding() as (pid, inode), socket.socket() as own:
        assert found(inode) == pid
        no_search()
        assert found(inode, datagram=True) == pid
        # The parent of one that has asked is not looked at, but a child of it is.
        with holding(77) as (other, inode_of_other):
            assert found(inode_of_other) == other
        assert found(inode) == pid
    assert own.fileno() < 0


def test_children_that_are_started_one_after_another_are_found_without_a_search(found, no_search):
    with holding() as (pid, inode):
        assert found(inode) == pid
    no_search()
    for number in (5, 6, 40):
        with holding(number) as (pid, inode):
            assert found(inode) == pid


def test_one_that_has_not_asked_when_its_sister_did_is_found_later(found, no_search):
    with holding() as (first, inode_of_first), holding(9) as (second, inode_of_second):
        assert found(inode_of_first) == first
        no_search()
        assert found(inode_of_second) == second


def test_a_socket_that_no_process_has_is_not_found(found):
    assert found(0) == 0 and found(1) == 0


def test_where_the_first_process_has_ended_before_its_namespace_is_read_none_is_found(kernel):
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    with socket.socket() as sock:
        kernel.inode_now = os.fstat(sock.fileno()).st_ino
        assert Askers(kernel, child.pid).of(ENDS) is None


def test_the_name_is_that_of_the_program_that_it_is_now(kernel):
    # Byte by byte: what it has read is not for cat.
    script = "import os; os.read(0, 1); os.execv('/bin/cat', ['cat'])"
    with socket.socket() as sock:
        sock.set_inheritable(True)
        # It has the socket too; this process is not asked, since ``processes`` leaves it out.
        process = subprocess.Popen(
            [sys.executable, "-ISc", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            close_fds=False,
        )
        searching = Askers(kernel, os.getpid())
        kernel.inode_now = os.fstat(sock.fileno()).st_ino
    with process:
        pid, name = searching.of(ENDS)
        assert pid == process.pid and name.startswith("python")
        process.stdin.write(b"gecho\n")
        process.stdin.flush()
        # cat's: it runs by now.
        assert process.stdout.readline() == b"echo\n"
        assert searching.of(ENDS) == (process.pid, "cat")
        process.stdin.close()


def test_the_descriptors_of_processes_that_have_ended_are_given_back(found):
    with holding() as (_, inode):
        found(inode)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        with holding() as (pid, inode):
            assert found(inode) == pid
    # That of the last process and of its children.
    assert len(os.listdir("/proc/self/fd")) <= before + askers._PARENTS
