"""Which process has sent a SYN: found by the descriptors of a socket's inode, and remembered."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pywrap.confine import askers
from pywrap.confine.askers import Askers


class Listeners:
    """The kernel's answer: the inode of ``sock``."""

    def __init__(self, number):
        self.number = number

    def inode(self, *place):
        return self.number


class Syn:
    source = destination = bytes(4)
    port = destination_port = 80


@pytest.fixture
def sock():
    with socket.socket() as sock:
        yield sock


def test_the_process_that_has_the_socket_is_found_with_its_name(sock):
    found = Askers(Listeners(os.fstat(sock.fileno()).st_ino), os.getpid()).of(Syn())
    assert found == (os.getpid(), Path("/proc/self/comm").read_text().strip())


def test_a_socket_that_no_process_has_any_more_is_not_found(sock):
    asked = Askers(Listeners(os.fstat(sock.fileno()).st_ino), os.getpid())
    sock.close()
    assert asked.of(Syn()) is None
    assert Askers(Listeners(0), os.getpid()).of(Syn()) is None


def test_one_that_has_asked_before_is_not_searched_for(sock, monkeypatch):
    asked = Askers(Listeners(os.fstat(sock.fileno()).st_ino), os.getpid())
    first = asked.of(Syn())
    monkeypatch.setattr(askers, "processes", lambda namespace: pytest.fail("searched"))
    assert asked.of(Syn()) == first


def test_a_process_that_has_ended_before_its_namespace_is_read_is_unknown(sock):
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass
    assert Askers(Listeners(os.fstat(sock.fileno()).st_ino), child.pid).of(Syn()) is None
