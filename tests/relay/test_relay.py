"""What passes through a tunnel: data, ends, resets, and what waits for a slow reader.

First over AF_UNIX pairs with the loop turned by hand, where nothing depends on time; then
through a server, over TCP.
"""

import hashlib
import os
import select
import socket
from threading import Thread

import pytest

from pywrap.relay import pumps
from pywrap.relay.bucket import Bucket
from pywrap.relay.loop import Loop
from pywrap.relay.pumps import BUFFER, PIPE, Pipes
from pywrap.relay.relay import Relay
from tests.support.raw_sockets import receive, receive_all

MIB = 1024 * 1024


class Tube:
    """A relay between ``client`` and ``target``, which are the test's ends."""

    def __init__(self, early=b"", throttles=None):
        self.loop = Loop()
        self.pipes = Pipes(self.loop)
        self.client, ours = socket.socketpair()
        self.target, theirs = socket.socketpair()
        for sock in (self.client, ours, self.target, theirs):
            sock.setblocking(False)
        self.ended = []
        buffer = memoryview(bytearray(BUFFER))
        self.relay = Relay(
            *(self.loop, self.pipes, buffer, ours, theirs, lambda *n: self.ended.append(n), throttles)
        )
        self.relay.start(early)

    def settle(self):
        """Turn the loop until it has nothing to do: one that spins never has."""
        for _ in range(10_000):
            if not self.loop.turn(0):
                return
        raise AssertionError("the loop spins")

    def fill(self, sock):
        """Send until nothing more is taken; return what was."""
        sent = bytearray()
        piece = os.urandom(32 * 1024)
        while True:
            try:
                count = sock.send(piece)
                sent += piece[:count]
            except BlockingIOError:
                before = len(sent)
                self.settle()
                try:
                    count = sock.send(piece)
                    sent += piece[:count]
                except BlockingIOError:
                    assert len(sent) == before
                    return bytes(sent)

    def drain(self, sock):
        """Read everything that is to come."""
        data = bytearray()
        while True:
            try:
                piece = sock.recv(1 << 20)
            except BlockingIOError:
                if not self.loop.turn(0):
                    return bytes(data)
                self.settle()
                continue
            if not piece:
                return bytes(data)
            data += piece

    def close(self):
        self.client.close()
        self.target.close()
        self.settle()
        self.pipes.close()
        self.loop.dispose()


@pytest.fixture
def tube():
    tube = Tube()
    yield tube
    tube.close()


def test_what_came_with_the_request_goes_first():
    tube = Tube(early=b"early ")
    tube.client.send(b"and late")
    tube.settle()
    assert tube.target.recv(100) == b"early and late"
    tube.close()
    assert tube.ended == [(14, 0)]


def test_a_half_close_passes_and_the_other_direction_goes_on(tube):
    tube.client.send(b"question")
    tube.client.shutdown(socket.SHUT_WR)
    tube.settle()
    assert tube.target.recv(100) == b"question"
    assert tube.target.recv(100) == b""
    tube.target.send(b"answer")
    tube.settle()
    assert tube.client.recv(100) == b"answer"
    assert tube.ended == []
    tube.target.shutdown(socket.SHUT_WR)
    tube.settle()
    assert tube.client.recv(100) == b""
    assert tube.ended == [(8, 6)]


def test_the_end_waits_for_what_is_held(tube):
    sent = tube.fill(tube.client)
    tube.client.shutdown(socket.SHUT_WR)
    tube.target.shutdown(socket.SHUT_WR)
    tube.settle()
    assert tube.client.recv(100) == b""
    assert tube.ended == []
    assert tube.drain(tube.target) == sent
    assert tube.target.recv(100) == b""
    assert tube.ended == [(len(sent), 0)]


def test_a_source_that_is_gone_waits_for_its_slow_reader_without_spinning(tube):
    sent = tube.fill(tube.client)
    tube.client.close()
    tube.settle()
    assert tube.drain(tube.target) == sent
    assert tube.target.recv(100) == b""


def test_a_slow_reader_stops_its_writer_and_nothing_else(tube):
    sent = tube.fill(tube.client)
    # What the server itself holds of it is bounded; the rest is in the kernel's buffers.
    assert tube.relay._up._pump.held <= max(PIPE, BUFFER)
    tube.target.send(b"other direction")
    tube.settle()
    assert tube.client.recv(100) == b"other direction"
    assert tube.drain(tube.target) == sent
    tube.client.send(b"again")
    tube.settle()
    assert tube.target.recv(100) == b"again"


def test_both_readers_slow_at_once(tube):
    up = tube.fill(tube.client)
    down = tube.fill(tube.target)
    assert tube.drain(tube.target) == up
    assert tube.drain(tube.client) == down


def bulk(tube):
    """Make the direction of the client use a pipe."""
    before = len(tube.pipes._lent)
    sent = received = b""
    while len(tube.pipes._lent) == before:
        sent += tube.fill(tube.client)
        received += tube.drain(tube.target)
    assert received == sent


def test_bulk_goes_through_a_pipe_and_small_pieces_do_not(tube):
    tube.client.send(b"small")
    tube.settle()
    assert tube.target.recv(100) == b"small"
    assert not tube.pipes._lent
    bulk(tube)


class Noting(Bucket):
    """A bucket that keeps what was taken at a time."""

    def __init__(self, rate):
        super().__init__(rate)
        self.pieces = []

    def take(self, count):
        if count:
            self.pieces.append(count)
        super().take(count)


@pytest.mark.parametrize("rate", [MIB // 2, 4 * MIB, 64 * MIB])
def test_a_tunnel_with_a_rate_takes_an_eighth_of_a_second_at_a_time(rate):
    up = Noting(rate)
    tube = Tube(throttles=(up, Bucket(rate)))
    tube.client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MIB)
    tube.client.send(bytes(MIB))
    tube.settle()
    tube.drain(tube.target)
    assert max(up.pieces) <= rate // 8
    # With room for that, bulk is not slowed down by pieces either.
    assert max(up.pieces) > BUFFER or rate < 8 * PIPE
    # Not all of it has passed.
    tube.relay.abort()
    tube.close()


def test_the_change_to_a_pipe_and_back_keeps_the_order(tube):
    for _ in range(3):
        bulk(tube)
        tube.pipes._collect()
        tube.pipes._collect()
        assert not tube.pipes._lent
        tube.client.send(b"small")
        tube.settle()
        assert tube.target.recv(100) == b"small"


def test_a_pipe_in_use_is_not_taken_back(tube):
    bulk(tube)
    tube.pipes._collect()
    sent = tube.fill(tube.client)
    tube.pipes._collect()
    tube.pipes._collect()
    assert len(tube.pipes._lent) == 1
    assert tube.drain(tube.target) == sent


def test_idle_tunnels_hold_no_descriptor_of_a_pipe(tube):
    before = len(os.listdir("/proc/self/fd"))
    bulk(tube)
    assert len(os.listdir("/proc/self/fd")) == before + 2
    tube.pipes._collect()
    tube.pipes._collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_without_pipes_bulk_goes_in_pieces(tube, monkeypatch):
    def none():
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(pumps, "SplicePump", none)
    for _ in range(3):
        sent = tube.fill(tube.client)
        assert tube.drain(tube.target) == sent


def test_bytes_left_in_a_pipe_reach_no_other_tunnel(tube):
    bulk(tube)
    tube.fill(tube.client)
    tube.relay.abort()
    tube.settle()
    assert tube.pipes._free == []


def test_an_end_that_vanishes_is_the_end_of_both(tube):
    # On AF_UNIX, close() with unread input is what a RST is on TCP.
    tube.target.send(b"unread")
    tube.settle()
    tube.client.send(b"last words")
    tube.client.close()
    tube.settle()
    assert tube.target.recv(100) == b"last words"
    assert len(tube.ended) == 1


# ---------------------------------------------------------------- over TCP


@pytest.fixture
def tunnel(server, target, client):
    return client.tunnel(server, target)


RESET = b"\1\0\0\0\0\0\0\0"


def test_the_target_may_speak_first(server, target, client):
    target.listener.listen()
    sock = client.connect(server)
    sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x01" + target.address)
    peer = target.accept()
    peer.sendall(b"SSH-2.0-target")
    assert receive(sock, 2 + 10 + 14)[12:] == b"SSH-2.0-target"


def test_data_after_a_half_close_of_the_client(tunnel):
    client, target = tunnel
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert receive_all(target) == b"question"
    target.sendall(b"answer, after the client has ended its direction")
    target.shutdown(socket.SHUT_WR)
    assert receive_all(client) == b"answer, after the client has ended its direction"


def test_data_after_a_half_close_of_the_target(tunnel):
    client, target = tunnel
    target.sendall(b"bye")
    target.shutdown(socket.SHUT_WR)
    assert receive_all(client) == b"bye"
    client.sendall(b"but I have something to say")
    client.shutdown(socket.SHUT_WR)
    assert receive_all(target) == b"but I have something to say"


@pytest.mark.parametrize("who", ["client", "target"])
def test_a_reset_passes(tunnel, who):
    resetting, other = tunnel if who == "client" else tunnel[::-1]
    resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    resetting.close()
    with pytest.raises(ConnectionResetError):
        other.recv(1)


@pytest.mark.parametrize("who", ["client", "target"])
def test_data_before_a_reset_passes(tunnel, who):
    resetting, other = tunnel if who == "client" else tunnel[::-1]
    resetting.sendall(b"last words")
    # Without this the kernel of the resetting end may throw them away.
    assert other.recv(4, socket.MSG_PEEK)
    resetting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    resetting.close()
    assert receive(other, 10) == b"last words"
    with pytest.raises(ConnectionResetError):
        other.recv(1)


def test_a_reset_passes_to_an_end_that_does_not_read(server, tunnel):
    client, target = tunnel
    client.setblocking(False)
    poll = select.poll()
    poll.register(client, select.POLLOUT)
    while poll.poll(100):
        client.send(bytes(MIB))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.close()
    with pytest.raises(ConnectionResetError):
        while target.recv(MIB):
            pass
    assert len(server.wait_for_closed(1)) == 1


def test_writing_to_an_end_that_closed_is_a_reset(tunnel):
    client, target = tunnel
    target.close()
    assert client.recv(1) == b""
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        while True:
            client.sendall(b"nobody reads this")


def test_a_reset_while_the_destination_is_being_reached(server, client, monkeypatch):
    from pywrap.server.tcp import dial

    monkeypatch.setattr(dial.Resolver, "resolve", lambda *_: None)
    sock = client.connect(server)
    sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x03" + b"\x04slow" + b"\x00\x50" + b"early")
    assert receive(sock, 2) == b"\x05\x00"
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()
    (seen,) = server.wait_for_seen(1)
    assert seen.outcome == "the client went away"


def test_an_urgent_byte_is_not_lost(tunnel):
    client, target = tunnel
    client.send(b"a")
    client.send(b"b", socket.MSG_OOB)
    client.send(b"c")
    assert receive(target, 3) == b"abc"


def test_both_legs_send_at_once_and_notice_a_dead_end(server, target, client):
    client.tunnel(server, target)
    (session,) = server.server._sessions
    relay = session._stage
    for leg in (relay._up.source, relay._up.sink):
        assert leg.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert leg.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_64_mib_each_way_at_once(server, tunnel, monkeypatch):
    spliced = []
    real = os.splice

    def splice(*args, **kw):
        count = real(*args, **kw)
        spliced.append(count)
        return count

    monkeypatch.setattr(pumps.os, "splice", splice)

    def send(sock, seed, digests):
        digest = hashlib.sha256()
        piece = hashlib.shake_256(seed).digest(MIB + 1)
        for number in range(64):
            data = memoryview(piece)[number % 2 : MIB + number % 2]
            digest.update(data)
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        digests.append(digest.hexdigest())

    def check(sock, digests):
        digest = hashlib.sha256()
        while data := sock.recv(MIB):
            digest.update(data)
        digests.append(digest.hexdigest())

    client, target = tunnel
    up, down = [], []
    threads = [
        Thread(target=send, args=(client, b"up", up)),
        Thread(target=check, args=(target, up)),
        Thread(target=send, args=(target, b"down", down)),
        Thread(target=check, args=(client, down)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(up) == len(down) == 2
    assert len(set(up)) == len(set(down)) == 1
    assert sum(spliced) > 64 * MIB
    ((_, sent, received, _),) = server.wait_for_closed(1)
    assert (sent, received) == (64 * MIB, 64 * MIB)
