"""Datagrams received and sent together, in one system call or in many: the results are the same."""

import socket

import pytest

from pywrap.server.udp.batch import DATAGRAMS, MEMORY, STARTS, PlainBatch, datagrams_of
from pywrap.server.udp.mmsg import KernelBatch
from pywrap.server.udp.sockaddr import pack_sockaddr

# Nothing can be sent to port 0.
NOWHERE = pack_sockaddr(socket.AF_INET, ("127.0.0.1", 0))


@pytest.fixture(params=[PlainBatch, KernelBatch])
def batch(request):
    return request.param()


def address(sock):
    return pack_sockaddr(sock.family, sock.getsockname())


def fail(datagram, to):
    raise AssertionError((datagram, to))


def put(batch, sock, *datagrams):
    """Let ``batch`` have the datagrams in its memory; return where they begin."""
    with socket.socket(sock.family, socket.SOCK_DGRAM) as source:
        for datagram in datagrams:
            source.sendto(datagram, sock.getsockname())
    found = []
    sock.setblocking(False)
    while len(found) < len(datagrams):
        found += batch.receive(sock)
    return [start for start, _, _, _ in found]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_has_come_and_from_where(batch, udp, host):
    sock, one, other = udp(host), udp(host), udp(host)
    for source, datagram in ((one, b"1"), (other, b""), (one, b"3" * 60000)):
        source.sendto(datagram, sock.getsockname())
    sock.setblocking(False)
    received = [
        (source, bytes(batch.memory[start : start + size])) for start, source, size, _ in batch.receive(sock)
    ]
    assert received == [(address(one), b"1"), (address(other), b""), (address(one), b"3" * 60000)]
    assert batch.receive(sock) == []


def test_where_a_datagram_begins_in_the_memory(batch, udp):
    sock = udp()
    one, other = put(batch, sock, b"one", b"other")
    assert bytes(batch.memory[one : one + 3]) == b"one"
    assert bytes(batch.memory[other : other + 5]) == b"other"


def test_the_longest_datagram_is_whole(batch, udp):
    sock, source = udp("::1"), udp("::1")
    longest = bytes(65527)
    source.sendto(longest, sock.getsockname())
    sock.setblocking(False)
    ((start, _, length, size),) = batch.receive(sock)
    assert size == length
    assert batch.memory[start : start + length] == longest


def test_no_more_than_a_batch_at_a_time(batch, udp):
    sock, source = udp(), udp()
    for number in range(DATAGRAMS + 3):
        source.sendto(b"%d" % number, sock.getsockname())
    sock.setblocking(False)
    first, rest = (
        [bytes(batch.memory[start : start + size]) for start, _, size, _ in batch.receive(sock)]
        for _ in range(2)
    )
    assert [int(each) for each in first + rest] == list(range(DATAGRAMS + 3))
    assert len(rest) == 3


# Of one length and of several, to one address and to two, empty ones, and ones that no packet has room for.
RUNS = [
    [(0, 4)] * 5,
    [(0, 4), (0, 4), (0, 3), (0, 4), (0, 4)],
    [(0, 4), (1, 4), (0, 4), (1, 4), (1, 4)],
    [(0, 0), (0, 0), (0, 4)],
    [(0, 1452)] * 20 + [(0, 1453)] * 3,
    [(0, 30000)] * 4,
]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("run", RUNS)
def test_each_part_arrives_as_it_was_added(batch, udp, host, run):
    sock, ends = udp(host), (udp(host), udp(host))
    to = [address(end) for end in ends]
    starts = put(batch, sock, *(bytes([65 + number]) * size for number, (_, size) in enumerate(run)))
    for start, (end, size) in zip(starts, run, strict=True):
        batch.add(start, size, to[end])
    assert batch.send(sock, fail) == (len(run), sum(size for _, size in run))
    for number, (end, size) in enumerate(run):
        assert ends[end].recvfrom(65536) == (bytes([65 + number]) * size, sock.getsockname())


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("size, count", [(10, 200), (1440, 100), (1453, 3), (20000, 3), (0, 3)])
def test_many_parts_with_one_header(batch, udp, host, size, count):
    sock, end = udp(host), udp(host)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    parts = [bytes([number]) * size for number in range(count)]
    header, start = STARTS[0], STARTS[1]
    batch.memory[header : header + 4] = b"head"
    for number, part in enumerate(parts):
        batch.memory[start + number * (size + 1) :][:size] = part
    batch.add_many(start, size + 1, size, count, address(end), header, 4)
    batch.add(start, size, address(end))
    assert batch.send(sock, fail) == (count + 1, count * (size + 4) + size)
    assert [end.recv(65536) for _ in parts] == [b"head" + part for part in parts]
    assert end.recv(65536) == parts[0]


def test_what_is_refused_is_whole(batch, udp):
    head, start = STARTS[:2]
    batch.memory[head : head + 4] = b"head"
    batch.memory[start : start + 6] = b"onetwo"
    batch.add_many(start, 3, 3, 2, NOWHERE, head, 4)
    alone = []
    assert batch.send(udp(), lambda datagram, to: alone.append((datagram, to))) == (0, 0)
    assert alone == [(b"headone", NOWHERE), (b"headtwo", NOWHERE)]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_the_kernel_has_put_together_is_the_same_datagrams(batch, udp, host):
    sock, source = udp(host), udp(host)
    batch.prepare(sock)
    datagrams = [bytes([number]) * 1000 for number in range(40)] + [b"short", b"", b"2" * 700, b"3" * 700]
    sender = KernelBatch()
    for start, datagram in zip(range(STARTS[0], MEMORY, 1000), datagrams, strict=False):
        sender.memory[start : start + len(datagram)] = datagram
        sender.add(start, len(datagram), address(sock))
    sender.send(source, fail)
    sock.setblocking(False)
    received = []
    while messages := batch.receive(sock):
        assert {sender for _, sender, _, _ in messages} == {address(source)}
        for start, _, length, size in messages:
            received += [
                bytes(batch.memory[at : at + each]) for at, each in datagrams_of(start, length, size)
            ]
    assert received == datagrams


def test_what_was_sent_is_not_sent_again(batch, udp):
    sock, end = udp(), udp()
    (start,) = put(batch, sock, b"once")
    batch.add(start, 4, address(end))
    batch.send(sock, fail)
    assert batch.send(sock, fail) == (0, 0)


def test_what_a_handler_has_left_behind_is_not_sent(batch, udp):
    sock, end = udp(), udp()
    (start,) = put(batch, sock, b"left")
    batch.add(start, 4, address(end))
    batch.receive(sock)
    assert batch.send(sock, fail) == (0, 0)


def test_what_the_kernel_does_not_take_is_given_back_in_its_place(batch, udp):
    sock, end = udp(), udp()
    starts = put(batch, sock, b"0", b"1", b"2", b"3", b"4")
    for start, to in zip(starts, (address(end), NOWHERE, NOWHERE, address(end), NOWHERE), strict=True):
        batch.add(start, 1, to)
    alone = []

    def refused(datagram, to):
        assert to == NOWHERE
        alone.append(datagram)
        sock.sendto(b"instead", end.getsockname())

    assert batch.send(sock, refused) == (2, 2)
    assert alone == [b"1", b"2", b"4"]
    assert [end.recv(99) for _ in range(5)] == [b"0", b"instead", b"instead", b"3", b"instead"]


def test_the_error_of_an_earlier_datagram_is_no_datagram(batch, udp):
    sock = udp()
    with socket.socket(type=socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        nobody = gone.getsockname()
    sock.connect(nobody)
    sock.send(b"x")
    sock.setblocking(False)
    assert batch.receive(sock) == []
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
