"""The file below a datagram socket is replaced under the program, which must not notice."""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import socket
import sys

import pytest

from pywrap.intercept.udp.kernel_socket import KernelSocket
from tests.support.child import source_of, talk
from tests.support.datagrams import udp_echo
from tests.support.inside import PATIENCE, descriptors, left_over, outcome, say, udp
from tests.support.run import pysocksify, run

# ---------------------------------------------------------------- options


# SO_BROADCAST, SO_TIMESTAMPNS, SO_RXQ_OVFL; IP_TOS, IP_TTL, IP_PKTINFO, IP_MTU_DISCOVER, IP_RECVTTL.
SET = ((1, 6, 1), (1, 35, 1), (1, 40, 1), (0, 1, 0x28), (0, 2, 33), (0, 8, 1), (0, 10, 2), (0, 12, 1))


def set_all(sock):
    for level, number, value in SET:
        sock.setsockopt(level, number, value)


def changed(sock):
    found = [(level, number, sock.getsockopt(level, number)) for level, number, _ in SET]
    return [each for each, wanted in zip(found, SET, strict=True) if each != wanted]


def test_options_stay_when_a_socket_is_connected_directly_and_back(proxy, echo):
    def program(host, port):
        sock = udp()
        set_all(sock)
        sock.connect((host, port))
        sock.connect(("127.0.0.1", int(sys.argv[3])))
        number = os.fstat(sock.fileno()).st_ino
        sock.connect((host, port))
        sock.send(b"back")
        say(
            is_another=os.fstat(sock.fileno()).st_ino != number,
            changed=changed(sock),
            got=sock.recv(10).decode(),
        )

    with udp_echo() as near:
        said = talk(
            proxy,
            program,
            *(echo.host, echo.port, near.port),
            options=("--direct", f"127.0.0.1:{near.port}"),
        )
    assert said == {"is_another": True, "changed": [], "got": "back"}


def test_options_stay_when_a_socket_becomes_an_ipv6_one(proxy_6, echo):
    def program(host, port):
        sock = udp()
        set_all(sock)
        sock.sendto(b"over six", (host, port))
        beneath = socket.socket(fileno=os.dup(sock.fileno()))
        say(changed=changed(sock), got=sock.recv(10).decode(), hops=beneath.getsockopt(41, 16))

    said = talk(
        proxy_6,
        program,
        *(echo.host, echo.port),
    )
    assert said == {"changed": [], "got": "over six", "hops": 33}


# ---------------------------------------------------------------- no descriptor left


def is_asking(port):
    """Is there a connection to the proxy by now?"""
    for fd in descriptors():
        try:
            with socket.socket(fileno=os.dup(int(fd))) as sock:
                if sock.type == socket.SOCK_STREAM and sock.getpeername()[1] == port:
                    return True
        except OSError:
            continue
    return False


@pytest.mark.parametrize("end", ["close", "del"])
def test_a_socket_with_datagrams_that_wait_is_closed_all_the_same(blackhole_proxy, end):
    def program(host, port):
        sock = udp()
        sock.setblocking(False)
        sock.sendto(b"waits", ("192.0.2.1", 9))
        while not is_asking(port):
            os.sched_yield()
        fd = sock.fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (fd + 1, fd + 1))
        limit = outcome(os.dup, fd)[1]
        if end == "close":
            sock.close()
        else:
            del sock
        say(limit=limit, is_open=outcome(os.fstat, fd)[1] != "EBADF")
        sys.stdout.flush()
        os._exit(0)

    proxy = f"{blackhole_proxy.host}:{blackhole_proxy.port}"
    command = pysocksify("-x", f"socks5h://{proxy}", "-v", "--loopback", "proxy")
    ran = run(*command, sys.executable, "-c", source_of(program, blackhole_proxy.host, blackhole_proxy.port))
    assert ran.json == {"limit": "EMFILE", "is_open": False}
    assert "UDP: what waited for the association was lost: Too many open files" in ran.err


# ---------------------------------------------------------------- objects that are gone


class Kept(socket.socket):
    """Stays open; neither class calls what is above it."""

    def __del__(self):
        pass


class Closed(socket.socket):
    """Closes its descriptor in a way that passes no patch."""

    def __del__(self):
        os.close(self.fileno())


def use(cls, host, port):
    sock = cls(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    sock.connect((host, port))
    sock.send(b"of the dead")
    assert sock.recv(20) == b"of the dead"
    return id(sock)


@pytest.mark.parametrize("end", ["Kept", "Closed"])
def test_an_object_is_never_taken_for_one_that_is_gone(proxy, echo, end):
    def program(host, port):
        Own = {"Kept": Kept, "Closed": Closed}[end]
        dead = use(Own, host, port)
        others = []
        while True:
            sock = Own(socket.AF_INET, socket.SOCK_DGRAM)
            if id(sock) == dead:
                break
            others.append(sock)
            assert len(others) < 100, "no object gets the number of the dead one"
        say(peer=outcome(sock.getpeername)[1], sent=outcome(sock.send, b"to nobody")[1])
        sys.stdout.flush()
        os._exit(0)

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said == {"peer": "ENOTCONN", "sent": "EDESTADDRREQ"}


def test_an_association_ends_with_a_descriptor_that_only_the_program_has_closed(proxy, echo):
    def program(host, port):
        # The background thread has descriptors of its own from the first time on.
        keeper = udp()
        keeper.setblocking(False)
        keeper.sendto(b"first", (host, port))
        assert select.select([keeper], [], [], PATIENCE)[0]
        before = descriptors()
        for _ in range(10):
            use(Closed, host, port)
        say(left=left_over(before))

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said == {"left": 0}


def test_what_waits_is_sent_when_the_collector_finds_the_socket_in_a_cycle(proxy, echo):
    def program(host, port):

        sock = udp()
        sock.setblocking(False)
        for word in b"one", b"two":
            sock.sendto(word, (host, port))
        cycle = [sock]
        cycle.append(cycle)
        del sock, cycle
        gc.collect()
        say(done=True)

    talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    ((_, traffic, _),) = proxy.wait_for_udp_closed(1)
    assert traffic.up == 2


# ---------------------------------------------------------------- receiving meanwhile


def test_threads_that_wait_with_a_timeout_lose_nothing_when_the_socket_becomes_an_ipv6_one(proxy_6, echo):
    def program(host, port):
        import threading

        def take():
            gate.wait()
            got.append(outcome(lambda: sock.recv(100).decode()))

        rounds = []
        for _ in range(20):
            sock = udp()
            got, gate = [], threading.Barrier(5)
            threads = [threading.Thread(target=take) for _ in range(4)]
            for thread in threads:
                thread.start()
            gate.wait()
            for word in b"one", b"two", b"three", b"four":
                sock.sendto(word, (host, port))
            for thread in threads:
                thread.join()
            rounds.append(sorted(map(str, got)))
            if rounds[-1] != rounds[0]:
                break
        say(rounds=rounds)

    said = talk(
        proxy_6,
        program,
        *(echo.host, echo.port),
    )
    assert said["rounds"] == [["four", "one", "three", "two"]] * 20


def test_what_comes_directly_is_received_by_an_ipv4_socket_that_has_become_an_ipv6_one(proxy_6, echo):
    def program(host, port):
        sock = udp()
        sock.settimeout(5)
        sock.sendto(b"far", (host, port))
        far = sock.recvfrom(10)[1]
        sock.sendto(b"near", ("127.0.0.1", int(sys.argv[3])))
        say(far=far, near=outcome(sock.recvfrom_into, bytearray(10))[1])

    with udp_echo() as near:
        said = talk(
            proxy_6,
            program,
            *(echo.host, echo.port, near.port),
            options=("--direct", f"127.0.0.1:{near.port}"),
        )
    assert said == {"far": [echo.host, echo.port], "near": ["127.0.0.1", near.port]}


@pytest.mark.parametrize("timeout", [None, 5])
def test_a_receiver_leaves_the_mode_of_the_file_alone(proxy, echo, timeout):
    def program(host, port):
        # What an object that is made for a descriptor applies to the file, in C.
        socket.setdefaulttimeout(30)
        sock = udp()
        sock.settimeout(json.loads(sys.argv[3]))
        before = os.get_blocking(sock.fileno())
        sock.sendto(b"one", (host, port))
        got = sock.recv(10).decode()
        other = udp()
        other.settimeout(json.loads(sys.argv[3]))
        other.connect((host, port))
        other.shutdown(socket.SHUT_RD)
        say(got=got, same=os.get_blocking(sock.fileno()) == before)

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port, "null" if timeout is None else timeout),
    )
    assert said == {"got": "one", "same": True}


@pytest.mark.parametrize("timeout", [None, 20])
def test_a_recv_that_waits_for_a_direct_peer_gets_what_comes_from_the_tunnelled_one(proxy, echo, timeout):
    def program(host, port):
        import threading

        timeout, near = json.loads(sys.argv[4]), ("127.0.0.1", int(sys.argv[3]))
        sock = udp()
        sock.settimeout(timeout)
        sock.connect(near)
        got = []
        thread = threading.Thread(target=lambda: got.append(outcome(lambda: [sock.recv(100).decode()])))
        thread.start()
        while "S" not in open(f"/proc/self/task/{thread.native_id}/stat").read().rpartition(")")[2]:
            os.sched_yield()
        sock.connect((host, port))
        sock.send(b"tunnelled")
        thread.join()
        say(got=got)

    with udp_echo() as near:
        said = talk(
            proxy,
            program,
            *(echo.host, echo.port, near.port, "null" if timeout is None else timeout),
            options=("--direct", f"127.0.0.1:{near.port}"),
        )
    assert said == {"got": [["tunnelled"]]}


@pytest.mark.parametrize("timeout", [None, 0.0, 5.0])
def test_what_is_sent_over_ipv6_has_the_patience_of_the_programs_socket(proxy_6, timeout):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        kernel = KernelSocket(sock, lambda old, new: None)
        kernel.move_to_ipv6()
        sock.settimeout(timeout)
        assert kernel.sender(sock) is kernel.v6_socket
        assert kernel.v6_socket.gettimeout() == timeout
        kernel.close()
