"""Listening, many clients at once, a lack of descriptors, and how it ends."""

import contextlib
import errno
import gc
import os
import socket
import subprocess
import sys
import threading
from _socket import socket as RawSocket

import pytest

from pywrap.errors import ConfigError
from pywrap.relay.relay import Direction, Relay
from pywrap.server.commands.associate import Associate
from pywrap.server.commands.bind import Bind
from pywrap.server.commands.connect import Connect
from pywrap.server.server import Server
from pywrap.server.session import Session
from pywrap.server.tcp.dial import Dial, NameLookup
from pywrap.server.udp.outbound import Outbound
from pywrap.server.udp.peer_names import PeerNames
from pywrap.server.udp.udp_relay import Datagrams
from tests.support.raw_sockets import Exhausted, Target, receive
from tests.support.servers import PATIENCE, reference_server


def test_200_tunnels_at_once(server, target, client):
    tunnels = [client.tunnel(server, target) for _ in range(200)]
    for number, (near, far) in enumerate(tunnels):
        near.sendall(b"%03d" % number)
        far.sendall(b"%03d" % (999 - number))
    for number, (near, far) in enumerate(tunnels):
        assert receive(far, 3) == b"%03d" % number
        assert receive(near, 3) == b"%03d" % (999 - number)


def test_200_clients_that_all_wait_for_one_another(server, target, client):
    socks = [client.connect(server) for _ in range(200)]
    for sock in socks:
        sock.sendall(b"\x05\x01\x00")
    for sock in socks:
        assert receive(sock, 2) == b"\x05\x00"
        sock.sendall(b"\x05\x01\x00\x01" + target.address)
    for sock in socks:
        assert receive(sock, 4) == b"\x05\x00\x00\x01"
    assert len(server.seen) == 200


class Counting(RawSocket):
    """A listener that counts how often it is asked for a client."""

    asked = 0

    def _accept(self):
        self.asked += 1
        return super()._accept()


def test_the_listener_is_asked_once_for_a_client_that_comes_alone():
    with contextlib.ExitStack() as stack:
        listener = Counting(socket.AF_INET, socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        server = stack.enter_context(Server([], sockets=[listener]))

        def asked_in_a_turn(clients):
            for _ in range(clients):
                stack.enter_context(socket.create_connection(listener.getsockname(), PATIENCE))
            before = listener.asked
            server._loop.turn(0)
            return listener.asked - before

        assert [asked_in_a_turn(clients) for clients in (0, 0, 1, 0, 0, 1, 0, 0)] == [0, 0, 1, 0, 0, 1, 0, 0]
        # Of many at once, all are there after a few turns, and no turn is one of theirs alone.
        assert [asked_in_a_turn(clients) for clients in (40, 0, 0, 0, 0, 0)] == [1, 2, 4, 8, 16, 10]
        assert server.connections == 42
        # Which closes them.
        server.stop()
        server.run()


def test_several_addresses(target, client):
    with reference_server(listen=[("127.0.0.1", 0), ("127.0.0.2", 0)]) as server:
        first, second = server.server.addresses
        assert (first.host, second.host) == ("127.0.0.1", "127.0.0.2")
        assert first.port and second.port
        for address in (first, second):
            with socket.create_connection((address.host, address.port), PATIENCE) as sock:
                sock.sendall(b"\x05\x01\x00")
                assert receive(sock, 2) == b"\x05\x00"


def test_an_ipv6_listener_leaves_ipv4_alone():
    try:
        Target(socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            port = stack.enter_context(Server([("::", 0)])).addresses[0].port
            with contextlib.suppress(ConfigError), Server([("0.0.0.0", port)]) as four:
                assert four.addresses[0].port == port
                return
    # Once or twice another process's: the kernel has chosen a port that was free for IPv6 alone.
    pytest.fail("no port of an IPv6 listener can be listened on for IPv4")


def test_an_address_that_is_taken(target):
    with pytest.raises(ConfigError, match=rf"^cannot listen on 127\.0\.0\.1:{target.port}: Address already"):
        Server([("127.0.0.1", 0), ("127.0.0.1", target.port)])


def test_a_host_that_is_none():
    with pytest.raises(ConfigError, match=r"^cannot listen on no such host:80: "):
        Server([("no such host", 80)])


# ---------------------------------------------------------------- the end

FREED = (
    Session
    | Connect
    | Bind
    | NameLookup
    | Dial
    | Relay
    | Direction
    | Associate
    | Datagrams
    | Outbound
    | PeerNames
)


def test_stop_resets_what_is_open(target, client):
    with reference_server() as server:
        near, far = client.tunnel(server, target)
        waiting = client.connect(server)
        waiting.sendall(b"\x05\x01\x00")
        assert receive(waiting, 2) == b"\x05\x00"
    # A download that was cut short must not look complete.
    for sock in (near, far):
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert waiting.recv(1) == b""
    with pytest.raises(ConnectionRefusedError):
        client.connect(server)


def test_stop_before_run_and_twice():
    with Server([("127.0.0.1", 0)]) as server:
        server.stop()
        server.stop()
        server.run()
    server.stop()
    server.close()


def test_it_leaves_no_descriptor(target, client):
    before = os.listdir("/proc/self/fd")
    with reference_server() as server:
        near, far = client.tunnel(server, target)
        near.sendall(b"x")
        assert receive(far, 1) == b"x"
        client.connect(server)
    client.close()
    far.close()
    assert os.listdir("/proc/self/fd") == before


def test_what_ended_is_freed_without_the_collector(target, client, refusing_port):
    # A busy server would make garbage faster than the collector looks for it.
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        with reference_server() as server:
            for port in (target.port, refusing_port):
                sock = client.connect(server)
                name = b"\x03" + b"\x09localhost" + port.to_bytes(2, "big")
                sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00" + name)
                assert receive(sock, 3)[:2] == b"\x05\x00"
                if port == target.port:
                    target.accept().close()
                sock.close()
            server.wait_for_closed(1)
            with client.connect(server) as sock, socket.socket(type=socket.SOCK_DGRAM) as udp:
                sock.sendall(b"\x05\x01\x00" + b"\x05\x03\x00\x01" + bytes(6))
                assert receive(sock, 10)[2:4] == b"\x05\x00"
                relay = ("127.0.0.1", int.from_bytes(receive(sock, 2), "big"))
                for destination in (b"\x03" + b"\x09localhost", b"\x01" + b"\x7f\x00\x00\x01"):
                    udp.sendto(b"\0\0\0" + destination + b"\x00\x09", relay)
                server.wait_for_udp_peers(2)
            server.wait_for_udp_closed(1)
            for met in (True, False):
                sock = client.connect(server)
                sock.sendall(b"\x05\x01\x00" + b"\x05\x02\x00\x03" + b"\x09localhost" + b"\x00\x15")
                where = server.wait_for_seen(4 if met else 5)[-1].answer
                if met:
                    socket.create_connection((where.host, where.port), PATIENCE).close()
                    server.wait_for_arrived(1)
                sock.close()
            server.wait_for_closed(2)
            server.wait_for_arrived(2)
        gc.collect()
        assert not [each for each in gc.garbage if isinstance(each, FREED)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_stop_when_a_process_ends():
    with Server([("127.0.0.1", 0)]) as server:
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            pidfd = os.pidfd_open(process.pid)
            server.stop_when_readable(pidfd)
            thread = threading.Thread(target=server.run)
            thread.start()
            process.stdin.write(b"\n")
            process.stdin.close()
            thread.join(PATIENCE)
            assert not thread.is_alive()
            os.close(pidfd)


# ---------------------------------------------------------------- errors of our own


class Broken(Exception):
    pass


def broken(*args, **kw):
    raise Broken


STEPS = {
    # A request that is being read, dialled, looked up, carried, answered; a datagram; a peer of a BIND.
    "handshake": ("pywrap.server.handshake.Handshake.feed", b""),
    "command": ("pywrap.server.commands.connect.Connect.__init__", b"\x01\x00\x01"),
    "dial": ("pywrap.server.tcp.dial.Dial._resolved", b"\x01\x00\x01"),
    "connected": ("pywrap.server.tcp.dial.Dial._reached", b"\x01\x00\x01"),
    "look-up": ("pywrap.server.tcp.dial.NameLookup._answered", b"\x01\x00\x03"),
    "reply": ("pywrap.server.session.Session.say", b"\x01\x00\x01"),
    "tunnel": ("pywrap.relay.relay.Direction.run", b"\x01\x00\x01"),
    "abort too": ("pywrap.relay.relay.Direction.run_out", b"\x01\x00\x01"),
    "bind": ("pywrap.server.commands.bind.Bind._listen", b"\x02\x00\x01"),
    "associate": ("pywrap.server.commands.associate.Datagrams", b"\x03\x00\x01"),
    "resolve": ("pywrap.server.commands.resolve.Resolve.start", b"\xf0\x00\x03"),
}


# What is broken in the middle is left to the collector, which closes the sockets.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("step", STEPS)
def test_an_error_of_this_server_ends_one_session(monkeypatch, target, client, step):
    where, command = STEPS[step]
    with reference_server() as server:
        near, far = client.tunnel(server, target)
        with monkeypatch.context() as patch:
            patch.setattr(where, broken)
            if step == "abort too":
                # What ends it is broken as well.
                patch.setattr("pywrap.relay.relay.Relay.abort", broken)
                patch.setattr("pywrap.relay.relay.Direction.run", broken)
            sock = client.connect(server)
            name = b"\x09localhost" if command[2:] == b"\x03" else b"\x7f\0\0\1"
            sock.sendall(b"\x05\x01\x00" + b"\x05" + command + name + target.port_bytes + b"data")
            with contextlib.suppress(ConnectionResetError):
                while sock.recv(100):
                    pass
            troubles = server.wait_for_troubles(1)
        assert troubles[0].startswith("{}:{}: ended by an error of this server".format(*sock.getsockname()))
        assert "Broken" in troubles[0]
        near.sendall(b"x")
        assert receive(far, 1) == b"x"
        client.tunnel(server, target)
        assert len(server.server._sessions) <= 2
    del troubles, server, near, far, sock
    gc.collect()


def test_an_error_in_accept_ends_that_client(monkeypatch, target, client):
    with reference_server() as server:
        with monkeypatch.context() as patch:
            patch.setattr("pywrap.server.server.Session", broken)
            assert client.connect(server).recv(1) == b""
        client.tunnel(server, target)
    assert "not served, for an error of this server" in server.troubles[0]


def test_a_listener_that_fails_is_tried_again(monkeypatch, target, client):
    monkeypatch.setattr("pywrap.server.server._PAUSE", 0.001)
    monkeypatch.setattr(Server, "_accept", broken)
    with reference_server() as server:
        client.connect(server)
        server.wait_for_troubles(1)
        monkeypatch.undo()
        client.tunnel(server, target)
    assert "an error of this server, which goes on" in server.troubles[0]


@pytest.mark.parametrize("callback", ["record", "closed"])
def test_an_error_of_what_is_told_ends_one_session(target, client, callback):
    calls = []

    def told(*args):
        calls.append(args)
        if len(calls) == 1:
            raise Broken

    troubles = []
    server = Server([("127.0.0.1", 0)], trouble=troubles.append, **{callback: told})
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        address = (server.addresses[0].host, server.addresses[0].port)
        for number in range(2):
            with socket.create_connection(address, PATIENCE) as sock:
                sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x01" + target.address)
                assert receive(sock, 2) == b"\x05\x00"
                with contextlib.suppress(ConnectionResetError):
                    answer = sock.recv(10)
                    assert answer[:2] == b"\x05\x00" if number or callback == "closed" else not answer
    finally:
        server.stop()
        thread.join()
        server.close()
    assert len(troubles) == 1
    assert not server._sessions


# ---------------------------------------------------------------- descriptors


def test_out_of_descriptors_clients_are_refused_in_words(server, target, client):
    socks = [socket.socket() for _ in range(40)]
    with Exhausted(room=10):
        # They stay, and the next one has an answer all the same.
        for sock in socks[1:]:
            sock.settimeout(PATIENCE)
            sock.connect(server.address)
            sock.sendall(b"\x05\x01\x00" + b"\x05\x01\x00\x01" + target.address)
            assert receive(sock, 4) == b"\x05\x00" + b"\x05\x01"
        socks[0].connect(server.address)
        socks[0].sendall(b"\x04\x01" + target.port_bytes + b"\x7f\0\0\1" + b"\0")
        assert receive(socks[0], 8)[:2] == b"\x00\x5b"
    for sock in socks:
        sock.close()
    assert {seen.outcome for seen in server.seen} == {"too many open files"}


@pytest.mark.parametrize("command", [1, 2, 3])
def test_the_reserve_is_not_for_tunnels(server, client, command, monkeypatch):
    # The client has a descriptor below the reserve, and what it asks for would be within it.
    taken = []
    sock = client.connect(server)
    sock.sendall(b"\x05\x01\x00")
    assert receive(sock, 2) == b"\x05\x00"
    monkeypatch.setattr("pywrap.relay.descriptor_reserve.is_reserved", lambda fd: taken.append(fd) or True)
    sock.sendall(bytes([5, command, 0, 1]) + b"\x7f\0\0\1" + b"\x00\x50")
    assert receive(sock, 2) == b"\x05\x01"
    assert taken


def test_out_of_descriptors_clients_wait_for_their_turn(server, target, client):
    socks = [socket.socket() for _ in range(3)]
    with Exhausted(room=2):
        for sock in socks:
            sock.settimeout(PATIENCE)
            sock.connect(server.address)
            sock.sendall(b"\x05\x01\x00")
        assert receive(socks[0], 2) == b"\x05\x00"
        assert receive(socks[1], 2) == b"\x05\x00"
        (trouble,) = server.wait_for_troubles(1)
        assert trouble == "accepting no client for the moment: Too many open files"
        # No descriptor for its destination either: an answer, not the end of the server.
        socks[0].sendall(b"\x05\x01\x00\x01" + target.address)
        assert receive(socks[0], 10)[:2] == b"\x05\x01"
        socks[0].close()
        assert receive(socks[2], 2) == b"\x05\x00"
    assert server.seen[0].outcome == os.strerror(errno.EMFILE)[0].lower() + os.strerror(errno.EMFILE)[1:]
    for sock in socks:
        sock.close()


def test_out_of_descriptors_it_does_not_spin(server, client, monkeypatch):
    monkeypatch.setattr("pywrap.server.server._PAUSE", 0.01)
    turns = []
    real = server.server._loop.turn

    def turn(wait):
        turns.append(wait)
        return real(wait)

    monkeypatch.setattr(server.server._loop, "turn", turn)
    socks = [socket.socket() for _ in range(2)]
    with Exhausted(room=0):
        for sock in socks:
            sock.connect(server.address)
        server.wait_for_troubles(2)
    # A turn for the client and one for the timer each time; a spinning loop has thousands.
    assert len(turns) < 50
    for sock in socks:
        sock.close()
