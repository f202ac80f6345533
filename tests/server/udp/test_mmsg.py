"""Datagrams of one length to one address are one message for the kernel; and machines that cannot do that."""

import _socket
import ctypes
import errno
import socket
import struct
import sys

import pytest

from pywrap.server.udp import mmsg
from pywrap.server.udp.batch import STARTS, PlainBatch
from pywrap.server.udp.mmsg import KernelBatch, make_batch
from pywrap.server.udp.sockaddr import pack_sockaddr

UDP_GRO = 104


def address(sock):
    return pack_sockaddr(sock.family, sock.getsockname())


def fail(datagram, to):
    raise AssertionError((datagram, to))


@pytest.fixture
def whole(udp):
    """A socket that gets a message as it was sent, with the length of its segments."""
    sock = udp()
    sock.setsockopt(socket.SOL_UDP, UDP_GRO, 1)

    def receive():
        data, ancillary, _, _ = sock.recvmsg(65536, 64)
        return len(data), *(struct.unpack("i", value)[0] for _, _, value in ancillary)

    return sock, receive


def test_datagrams_of_one_length_are_one_message(udp, whole):
    sock, receive = whole
    batch, to = KernelBatch(), address(sock)
    for start, size in zip(STARTS, (100, 100, 100, 99, 100, 100), strict=False):
        batch.add(start, size, to)
    assert batch.send(udp(), fail) == (6, 599)
    assert [receive() for _ in range(3)] == [(300, 100), (99,), (200, 100)]


def test_one_message_is_no_longer_than_the_kernel_takes(udp, whole):
    sock, receive = whole
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    batch, start = KernelBatch(), STARTS[0]
    batch.add_many(start, 10, 10, 130, address(sock))
    batch.add_many(start, 1400, 1400, 50, address(sock))
    assert batch.send(udp(), fail) == (180, 1300 + 70000)
    assert [receive() for _ in range(5)] == [
        (640, 10),
        (640, 10),
        (20, 10),
        (46 * 1400, 1400),
        (4 * 1400, 1400),
    ]


def test_datagrams_in_one_message_are_received_in_one(udp):
    sock, batch = udp(), KernelBatch()
    batch.prepare(sock)
    batch.add_many(STARTS[0], 100, 100, 10, address(sock))
    batch.add(STARTS[0], 99, address(sock))
    batch.send(udp(), fail)
    sock.setblocking(False)
    assert [(length, size) for _, _, length, size in batch.receive(sock)] == [(1000, 100), (99, 99)]


def test_segments_that_fit_into_no_packet_are_sent_each_by_itself(udp, monkeypatch):
    monkeypatch.setattr(mmsg, "_LONGEST_SEGMENT", 65536)
    monkeypatch.setattr(mmsg, "_LONGEST_MESSAGE", 2 * 65536)
    sock, end = udp(), udp()
    batch, to = KernelBatch(), address(end)
    # More than a message can be.
    for start in STARTS[:2]:
        batch.add(start, 40000, to)
    alone = []
    assert batch.send(sock, lambda *part: alone.append(part)) == (0, 0)
    assert alone == [(bytes(40000), to)] * 2


def test_a_network_interface_that_cannot_take_segments_is_asked_once(udp):
    sock, end = udp(), udp()
    batch, to = KernelBatch(), address(end)
    real, calls = batch._sendmmsg, []

    def sendmmsg(fd, at, count, flags):
        (pieces,) = struct.unpack_from("Q", ctypes.string_at(at + 24, 8))
        calls.append(pieces)
        if pieces == 1:
            return real(fd, at, count, flags)
        ctypes.set_errno(errno.EIO)
        return -1

    batch._sendmmsg = sendmmsg
    alone = []
    for _ in range(2):
        for number, start in enumerate(STARTS[:3]):
            batch.memory[start : start + 10] = bytes([number]) * 10
            batch.add(start, 10, to)
        batch.send(sock, lambda datagram, to: alone.append(datagram))
    assert alone == [bytes([number]) * 10 for number in range(3)]
    assert calls == [3, 1]


@pytest.fixture(params=["no ctypes", "no function", "no system call", "another machine"])
def lacking(request, monkeypatch):
    if request.param == "no ctypes":
        monkeypatch.setitem(sys.modules, "ctypes", None)
    elif request.param == "no function":
        monkeypatch.setattr(ctypes, "CDLL", lambda *args, **kw: object())
    elif request.param == "another machine":
        monkeypatch.setattr(sys, "byteorder", "big")
    else:
        monkeypatch.setattr(ctypes, "get_errno", lambda: errno.ENOSYS)


@pytest.mark.usefixtures("lacking")
def test_a_machine_that_lacks_it_has_the_plain_batch():
    assert type(make_batch()) is PlainBatch


def test_this_machine_has_it():
    assert type(make_batch()) is KernelBatch


def test_a_kernel_without_segments_gets_none(monkeypatch, udp):
    class Old(_socket.socket):
        def getsockopt(self, *args):
            raise OSError(errno.ENOPROTOOPT, "")

    monkeypatch.setattr(mmsg._socket, "socket", Old)
    batch = KernelBatch()
    monkeypatch.undo()
    sock, end = udp(), udp()
    end.setsockopt(socket.SOL_UDP, UDP_GRO, 1)
    to = address(end)
    for start in STARTS[:2]:
        batch.add(start, 50, to)
    assert batch.send(sock, fail) == (2, 100)
    assert [len(end.recv(999)) for _ in range(2)] == [50, 50]
