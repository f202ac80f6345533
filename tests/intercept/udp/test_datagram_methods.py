"""Datagrams through a proxy, from the program's own descriptor: what the program sees, what the proxy saw."""

from __future__ import annotations

import _socket
import contextlib
import errno
import json
import os
import select
import socket
import sys
import threading
import types

import pytest

from tests.support.child import kernel, source_of, talk
from tests.support.datagrams import udp_echo
from tests.support.destinations import ONLY_THE_PROXY_KNOWS
from tests.support.inside import PATIENCE, descriptors, left_over, outcome, say, udp
from tests.support.run import pysocksify, run
from tests.support.scripted import scripted
from tests.support.servers import reference_server

ASSOCIATE = ("UDP ASSOCIATE", "0.0.0.0", 0)


@pytest.fixture
def echo_6():
    try:
        with udp_echo("::1") as echo:
            yield echo
    except OSError:
        pytest.skip("no IPv6 on this machine")


@pytest.fixture
def knows(monkeypatch):
    """The servers in this process resolve some names, which no other process can."""
    real = _socket.getaddrinfo
    known = {ONLY_THE_PROXY_KNOWS.encode(): b"127.0.0.1", b"other.test": b"127.0.0.2"}
    known.update((b"%d.many.test" % number, b"127.0.0.1") for number in range(100))

    def getaddrinfo(host, *rest):
        return real(known.get(host, host), *rest)

    monkeypatch.setattr("pywrap.server.tcp.dial._socket.getaddrinfo", getaddrinfo)


# ---------------------------------------------------------------- every call


def test_every_call_sends_and_receives(proxy, echo):
    def program(host, port):
        to = host, port
        sock = udp()
        got = {}
        sock.sendto(b"sendto", to)
        got["recvfrom"] = sock.recvfrom(100)
        sock.sendto(b"with flags", 0, to)
        got["recv"] = sock.recv(100)
        sock.sendmsg([b"send", b"msg"], [], 0, to)
        buffer = bytearray(100)
        size = sock.recv_into(buffer)
        got["recv_into"] = bytes(buffer[:size])
        sock.sendto(memoryview(b"a view"), to)
        size, source = sock.recvfrom_into(buffer, 3)
        got["recvfrom_into"] = bytes(buffer[:size]), source
        sock.connect(to)
        sent = sock.send(b"connected")
        got["recvmsg"] = sock.recvmsg(100)
        sock.sendall(b"all of it")
        parts = bytearray(4), bytearray(100)
        got["recvmsg_into"] = [sock.recvmsg_into(parts)[0], bytes(parts[0]), bytes(parts[1][:5])]
        sock.sendmsg([b"to ", b"the peer"])
        got["last"] = sock.recv(100)
        got["sent"] = sent
        say(**json.loads(json.dumps(got, default=lambda data: data.decode())))

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    source = [echo.host, echo.port]
    assert said == {
        "recvfrom": ["sendto", source],
        "recv": "with flags",
        "recv_into": "sendmsg",
        "recvfrom_into": ["a v", source],
        "sent": 9,
        "recvmsg": ["connected", [], 0, source],
        "recvmsg_into": [9, "all ", "of it"],
        "last": "to the peer",
    }
    assert proxy.asked == [ASSOCIATE]
    assert proxy.udp_peers == [(echo.host, echo.port)]


def test_flags_keep_their_meaning(proxy, echo):
    def program(host, port):
        sock = udp()
        sock.connect((host, port))
        sock.send(b"0123456789")
        peeked = sock.recv(4, socket.MSG_PEEK)
        whole = sock.recv_into(bytearray(4), 4, socket.MSG_PEEK | socket.MSG_TRUNC)
        cut = sock.recvmsg(4)
        sock.setblocking(True)
        nothing = outcome(sock.recv, 4, socket.MSG_DONTWAIT)[0]
        sock.send(b"")
        empty = sock.recvfrom(10)[0]
        say(
            peeked=peeked.decode(),
            whole=whole,
            cut=[cut[0].decode(), cut[2] == socket.MSG_TRUNC],
            nothing=nothing,
            empty=empty.decode(),
        )

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said == {
        "peeked": "0123",
        "whole": 10,
        "cut": ["0123", True],
        "nothing": "BlockingIOError",
        "empty": "",
    }


def test_what_c_says_without_waiting_is_said_without_waiting(proxy, echo):
    def program(host, port):
        to = host, port
        sock = udp()
        sock.sendto(b"nothing is left in the buffer", to)
        sock.recv(100)
        calls = [
            lambda: sock.recv(0).decode(),
            lambda: sock.recv_into(bytearray(0)),
            lambda: sock.recv(1.5),
            lambda: sock.recv(-1),
            lambda: sock.recvfrom(1.5),
            lambda: sock.recvfrom(-1),
            lambda: sock.recv_into(bytearray(1), 1.5),
            lambda: sock.recv_into(bytearray(1), 2),
            lambda: sock.recv_into(b"read-only"),
            lambda: sock.recvfrom_into(bytearray(1), -1),
            lambda: sock.recvfrom_into(bytearray(1), 1.5),
            lambda: sock.recvmsg(1.5),
            lambda: sock.recvmsg(-1),
            lambda: sock.recvmsg(10, -1),
            lambda: sock.recvmsg(10, 1.5),
            lambda: sock.recvmsg_into([bytearray(1)], -1),
            lambda: sock.recvmsg_into([b"read-only"]),
            lambda: sock.recvmsg_into(5),
        ]
        said = []
        for call in calls:
            try:
                said.append(call())
            except (TypeError, ValueError) as err:
                said.append(type(err).__name__)
        sock.sendto(b"one", to)
        sock.sendto(b"two", to)
        said.append([sock.recv(0).decode(), sock.recv_into(bytearray(0)), sock.recv(100).decode()])
        # This one takes it.
        said.append(sock.recvfrom(0)[0].decode())
        sock.sendto(b"three", to)
        rooms = (bytearray(size) for size in (2, 10))
        said.append(sock.recvmsg_into(rooms)[0])
        say(said=said)

    directly = run(sys.executable, "-c", source_of(program, echo.host, echo.port)).json
    assert talk(proxy, program, echo.host, echo.port) == directly
    assert directly["said"][:3] == ["", 0, "TypeError"]


def test_all_sizes_pass_and_larger_ones_are_too_long(proxy, echo):
    # An IPv4 header of SOCKS has 10 bytes, and a datagram at the most 65507.
    def program(host, port):
        sock = udp()
        right = []
        for size in (0, 1, 511, 1472, 9000, 65000, 65497):
            data = os.urandom(size)
            assert sock.sendto(data, (host, port)) == size
            right.append(sock.recvfrom(65536)[0] == data)
        say(
            right=right,
            over=outcome(sock.sendto, bytes(65498), (host, port))[1],
            first=outcome(udp().sendto, bytes(65498), (host, port))[1],
        )

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said == {"right": [True] * 7, "over": "EMSGSIZE", "first": "EMSGSIZE"}


def test_too_many_arguments_and_too_few(proxy, echo):
    def program(host, port):
        to = host, port
        sock = udp()
        got = []
        for _ in range(2):
            for args in (b"", 0, to, 1), (b"",), ():
                try:
                    sock.sendto(*args)
                except TypeError:
                    got.append("TypeError")
            sock.sendto(b"", to)
        say(got=got)

    said = talk(proxy, program, echo.host, echo.port)
    assert said["got"] == ["TypeError"] * 6


def test_wrong_arguments_are_told_in_the_name_of_the_socket(proxy, echo):
    def program(host, port):
        sock = udp()
        words = []
        for _ in range(2):
            for call in (lambda: sock.send(data=b"x"), lambda: sock.recv(), lambda: sock.sendto()):
                try:
                    call()
                except TypeError as err:
                    words.append(str(err))
            sock.sendto(b"x", (host, port))
        say(words=words)

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert [words.partition("(")[0] for words in said["words"]] == [
        "socket.send",
        "socket.recv",
        "socket.sendto",
    ] * 2


def test_an_address_in_an_old_form_is_told_as_the_kernel_tells_it(proxy, echo):
    def program(host, port):
        got = []
        for form in "0x7f000001", "127.1", "2130706433":
            sock = udp()
            sock.sendto(b"x", (form, port))
            got.append(sock.recvfrom(10)[1])
            sock.connect((form, port))
            got.append(sock.getpeername())
        say(got=got)

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said["got"] == [["127.0.0.1", echo.port]] * 6


def test_to_port_0_nothing_is_sent_and_nothing_connected(proxy, echo):
    def program(host, port):
        sock = udp()
        nowhere = host, 0
        got = []
        for _ in range(2):
            got.append([outcome(sock.sendto, b"x", nowhere), outcome(sock.sendmsg, [b"x"], [], 0, nowhere)])
            got.append([sock.connect(nowhere), outcome(sock.getpeername)])
            sock.connect((host, port))
            sock.send(b"in between")
            got.append([sock.recv(100).decode(), sock.getpeername()])
        say(got=got)

    directly = run(sys.executable, "-c", source_of(program, echo.host, echo.port)).json
    assert talk(proxy, program, echo.host, echo.port) == directly
    assert directly["got"][0][0][1] == "EINVAL"


def test_a_method_of_a_datagram_socket_is_also_one_of_a_stream(proxy, echo):
    def program(host, port):
        sock = udp()
        sock.sendto(b"x", (host, port))
        sock.recv(10)
        cls = type(sock)
        near, far = socket.socketpair()
        stream = socket.socket()
        calls = (cls.getpeername,), (cls.recvfrom, 10, socket.MSG_DONTWAIT)
        errors = [outcome(call, stream, *args)[1] for call, *args in calls]
        cls.setsockopt(stream, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        cls.send(near, b"sent")
        say(
            errors=errors,
            keepalive=stream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            got=cls.recv(far, 10).decode(),
            detached=cls.detach(stream) >= 0,
        )

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said == {"errors": ["ENOTCONN", "ENOTCONN"], "keepalive": 1, "got": "sent", "detached": True}


def test_a_wrong_argument_is_told_by_the_name_of_the_method(proxy, echo):
    def program(host, port):
        sock = udp()
        sock.sendto(b"x", (host, port))
        errors = []
        for wrong in lambda: sock.recv(), lambda: sock.send(b"", 0, 0), lambda: sock.recvmsg():
            try:
                wrong()
            except TypeError as err:
                errors.append(str(err).partition("(")[0])
        say(errors=errors)

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said == {"errors": ["socket.recv", "socket.send", "socket.recvmsg"]}


# ---------------------------------------------------------------- destinations


def test_a_name_goes_to_the_proxy_and_its_answer_comes_from_the_placeholder(proxy, echo, knows):
    def program(host, port):
        row = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_DGRAM)[0]
        sock = udp()
        sock.sendto(b"by placeholder", row[4])
        first = sock.recvfrom(100)
        other = udp()
        other.sendto(b"by name", (host, port))
        second = other.recvfrom(100)
        other.connect((host, port))
        other.send(b"connected")
        say(
            placeholder=row[4],
            first=first[1],
            second=second[1],
            third=other.recv(100).decode(),
            peer=other.getpeername(),
        )

    said = talk(
        proxy,
        program,
        *(ONLY_THE_PROXY_KNOWS, echo.port),
    )
    placeholder = said["placeholder"]
    assert placeholder[0].startswith("198.18.")
    assert said["first"] == said["second"] == said["peer"] == placeholder
    assert said["third"] == "connected"
    assert proxy.udp_peers == [(ONLY_THE_PROXY_KNOWS, echo.port)] * 2


def test_two_names_at_one_port_are_told_apart(proxy, knows):
    def program(host, port):
        sock = udp()
        sock.sendto(b"to the one", (host, port))
        sock.sendto(b"to the other", ("other.test", port))
        got = dict((data.decode(), source) for data, source in (sock.recvfrom(100), sock.recvfrom(100)))
        names = [socket.getaddrinfo(name, port, socket.AF_INET)[0][4] for name in (host, "other.test")]
        say(got=got, names=names)

    with udp_echo() as one, udp_echo("127.0.0.2", one.port) as two:
        said = talk(
            proxy,
            program,
            *(ONLY_THE_PROXY_KNOWS, one.port),
        )
        assert (len(one.seen), len(two.seen)) == (1, 1)
    assert said["got"] == {"to the one": said["names"][0], "to the other": said["names"][1]}
    assert proxy.asked == [ASSOCIATE] * 2


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
def test_a_name_and_the_address_behind_it_are_told_apart(proxy, echo, knows, family):
    def program(host, port):
        family = getattr(socket, sys.argv[4])
        sock, other = udp(family), udp(family)
        literal = sys.argv[3] if family == socket.AF_INET else f"::ffff:{sys.argv[3]}", port
        name = host, port
        got = []
        for to in name, literal, name:
            sock.sendto(b"unconnected", to)
            got.append(sock.recvfrom(100)[1])
        for to in literal, name, literal:
            other.connect(to)
            other.send(b"connected")
            got.append(other.recvfrom(100)[1])
            got.append(other.getpeername())
        say(got=got, name=socket.getaddrinfo(host, port, family, socket.SOCK_DGRAM)[0][4], literal=literal)

    said = talk(
        proxy,
        program,
        *(ONLY_THE_PROXY_KNOWS, echo.port, echo.host, family),
    )
    full = [] if family == "AF_INET" else [0, 0]
    name, literal = said["name"], said["literal"] + full
    if full:
        # getaddrinfo() has an IPv6 placeholder when nothing else is wanted.
        assert ":" in name[0]
    assert said["got"] == [name, literal, name, *[literal] * 2, *[name] * 2, *[literal] * 2]
    # One more for each socket, since no answer says which it is of.
    assert proxy.asked == [ASSOCIATE] * 4


def test_a_name_and_a_literal_at_ports_of_their_own_share_an_association(proxy, echo, knows):
    def program(host, port):
        sock = udp()
        literal = sys.argv[3], port
        sock.sendto(b"to a literal", literal)
        first = sock.recvfrom(100)[1]
        sock.sendto(b"to a name", (host, int(sys.argv[4])))
        second = sock.recvfrom(100)[1]
        sock.sendto(b"to a literal", literal)
        say(first=first, second=second, third=sock.recvfrom(100)[1])

    with udp_echo() as second:
        said = talk(
            proxy,
            program,
            *(ONLY_THE_PROXY_KNOWS, echo.port, echo.host, second.port),
        )
    assert said["first"] == said["third"] == [echo.host, echo.port]
    assert said["second"][0].startswith("198.18.") and said["second"][1] == second.port
    assert proxy.asked == [ASSOCIATE]


def test_a_peer_is_known_however_many_others_are_sent_to(proxy, echo, knows):
    def program(host, port):
        sock = udp()
        sock.connect((host, port))
        sock.send(b"before")
        got = [sock.recvfrom(100)]
        # Too long for any network: nothing is sent that could fill the relay's buffer.
        lost = bytes(65507)
        for number in range(5000):
            assert outcome(sock.sendto, lost, (f"192.0.2.{number & 255}", 1024 + number))[1] == "EMSGSIZE"
        sock.send(b"after")
        got.append(sock.recvfrom(100))
        say(got=[[data.decode(), source] for data, source in got], peer=sock.getpeername())

    said = talk(
        proxy,
        program,
        *(ONLY_THE_PROXY_KNOWS, echo.port),
    )
    assert said["got"] == [["before", said["peer"]], ["after", said["peer"]]]


def test_more_names_at_one_port_than_there_are_associations_for(proxy, echo, knows):
    def program(host, port):
        def name(number):
            return socket.getaddrinfo(f"{number}.many.test", port, socket.AF_INET)[0][4]

        names = [name(number) for number in range(70)]
        sock = udp()
        sock.sendto(b"0", names[0])
        right = [sock.recvfrom(100)[1] == names[0]]
        before = descriptors()
        for number in range(1, 70):
            sock.sendto(b"%d" % number, names[number])
        for _ in range(64):
            data, source = sock.recvfrom(100)
            right.append(source == names[int(data)])
        sock.sendto(b"0", names[0])
        right.append(sock.recvfrom(100)[1] == names[0])
        more = left_over(before + [None] * 63)
        peer = udp()
        peer.connect(names[0])
        peer.send(b"x")
        first = peer.recv(100)
        for other in names[1:]:
            peer.sendto(b"y", other)
        peer.send(b"z")
        say(right=right, more=more, peer=[first.decode(), peer.recv(100).decode()])

    said = talk(
        proxy,
        program,
        *(ONLY_THE_PROXY_KNOWS, echo.port),
    )
    # Of those that had to give way, what had not been read is lost.
    assert said == {"right": [True] * 66, "more": 0, "peer": ["x", "z"]}
    # The one of a peer never does.
    assert len(proxy.asked) == 70 + 1 + 70


def test_giving_associations_to_other_names_is_mentioned_once(proxy, echo, knows):
    def program():
        import socket
        import sys

        sock = socket.socket(type=socket.SOCK_DGRAM)
        for number in range(67):
            sock.sendto(b"x", (f"{number}.many.test", int(sys.argv[1])))

    command = pysocksify("-x", proxy.url(), "--loopback", "proxy", "-v")
    ran = run(*command, sys.executable, "-c", source_of(program), str(echo.port))
    assert ran.err.count(f"sends to more than 64 names at port {echo.port}") == 1


def test_more_names_at_one_port_at_once_than_there_are_associations_for(hanging):
    def program():
        sock = udp(timeout=0)
        got = [outcome(sock.sendto, b"x", (f"{number}.many.test", 9)) for number in range(65)]
        say(taken=got[:64] == [1] * 64, over=got[64])

    said = kernel(
        hanging,
        program,
    )
    assert said["taken"]
    assert said["over"][1] == "ENOBUFS"
    assert "64 associations for names at port 9" in said["over"][2]


def test_ipv6_and_dual_stack(proxy, echo, echo_6):
    def program(host, port):
        port_6 = int(sys.argv[3])
        plain = udp(socket.AF_INET6)
        plain.sendto(b"six", ("::1", port_6))
        both = udp(socket.AF_INET6)
        both.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        both.bind(("::", 0))
        both.sendto(b"four", (f"::ffff:{host}", port))
        first = both.recvfrom(10)
        both.sendto(b"six", ("::1", port_6, 0, 0))
        say(plain=plain.recvfrom(10)[1], four=first[1], six=both.recvfrom(10)[1])

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port, echo_6.port),
    )
    assert said == {
        "plain": ["::1", echo_6.port, 0, 0],
        "four": [f"::ffff:{echo.host}", echo.port, 0, 0],
        "six": ["::1", echo_6.port, 0, 0],
    }


def test_a_proxy_with_an_ipv6_address_serves_ipv4_sockets(echo):
    def program(host, port):
        sock = udp()
        sock.sendto(b"over six", (host, port))
        first = sock.recvfrom(100)
        sock.connect((host, port))
        sock.send(b"again")
        later = udp()
        later.setblocking(False)
        later.sendto(b"later", (host, port))
        got = ["BlockingIOError"]
        # Woken up once more than by the answer: another socket takes the place of this one.
        while got[0] == "BlockingIOError":
            assert select.select([later], [], [], PATIENCE)[0]
            got = outcome(lambda: [later.recv(10).decode()])
        say(
            first=[first[0].decode(), first[1]],
            again=sock.recv(10).decode(),
            later=got[0],
            name=sock.getsockname()[0],
            over=outcome(sock.sendto, bytes(65508), (host, port))[1],
        )

    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with reference_server(listen=[("::1", 0)]) as proxy:
        said = talk(
            proxy,
            program,
            *(echo.host, echo.port),
        )
    assert said["first"] == ["over six", [echo.host, echo.port]]
    assert (said["again"], said["later"], said["name"]) == ("again", "later", "0.0.0.0")
    # With its header it would fit into a datagram of IPv6.
    assert said["over"] == "EMSGSIZE"


def test_one_socket_talks_to_tunnelled_and_direct_destinations(proxy, echo):
    def program(host, port):
        near = "127.0.0.1", int(sys.argv[3])
        sock = udp()
        sock.sendto(b"far", (host, port))
        far = sock.recvfrom(10)
        sock.sendto(b"near", near)
        first = sock.recvfrom(10)
        sock.sendto(b"far again", (host, port))
        say(far=far[1], near=first[1], again=sock.recvfrom(10)[1], own=sock.getsockname()[1])

    with udp_echo() as near:
        said = talk(
            proxy,
            program,
            *(echo.host, echo.port, near.port),
            options=("--direct", f"127.0.0.1:{near.port}"),
        )
        assert said["far"] == said["again"] == [echo.host, echo.port]
        assert said["near"] == ["127.0.0.1", near.port]
        assert near.seen == [("127.0.0.1", said["own"])]
    assert proxy.udp_peers == [(echo.host, echo.port)]


def test_what_does_not_come_from_the_relay_never_reaches_the_program(proxy, echo):
    def program(host, port):
        sock = udp()
        sock.sendto(b"first", (host, port))
        _stranger = socket.socket.__base__(socket.AF_INET, socket.SOCK_DGRAM)
        own = sock.getsockname()[1]
        import subprocess

        shout = (
            "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
            "to = '127.0.0.1', int(sys.argv[1]);"
            "[s.sendto(data, to) for data in (b'forged', bytes(3) + b'\\1' + bytes(9))]"
        )
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        subprocess.run([sys.executable, "-c", shout, str(own)], env=env, check=True)
        got = [sock.recv(100)]
        sock.settimeout(0.05)
        silence = outcome(sock.recv, 100)[0]
        peeked = outcome(sock.recv, 100, socket.MSG_PEEK)[0]
        sock.settimeout(PATIENCE)
        subprocess.run([sys.executable, "-c", shout, str(own)], env=env, check=True)
        sock.sendto(b"second", (host, port))
        got.append(sock.recv(100, socket.MSG_PEEK))
        got.append(sock.recv(100))
        say(got=[data.decode() for data in got], silence=silence, peeked=peeked)

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said == {"got": ["first", "second", "second"], "silence": "TimeoutError", "peeked": "TimeoutError"}


def test_multicast_and_broadcast_are_refused(proxy):
    def program():
        sock = udp()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        say(
            multicast=outcome(sock.sendto, b"x", ("239.255.255.250", 1900)),
            broadcast=outcome(sock.sendto, b"x", ("255.255.255.255", 9)),
        )

    said = talk(
        proxy,
        program,
    )
    assert said["multicast"][:2] == said["broadcast"][:2] == ["PermissionError", "EPERM"]
    assert "multicast" in said["multicast"][2]
    assert proxy.seen == []


# ---------------------------------------------------------------- connect() and names of sockets


def test_connect_sends_nothing_and_tells_a_local_address(proxy):
    # What every other program does to learn its address.
    def program():
        sock = udp()
        sock.connect(("8.8.8.8", 80))
        say(name=sock.getsockname(), peer=sock.getpeername(), again=sock.getsockname())

    said = talk(
        proxy,
        program,
    )
    assert said["name"][0] == "127.0.0.1" and said["name"][1] > 0
    assert (said["peer"], said["again"]) == (["8.8.8.8", 80], said["name"])
    assert proxy.seen == []


def test_a_connected_socket_hears_its_peer_alone_and_can_be_connected_anew(proxy, echo):
    def program(host, port):
        other, third = (("127.0.0.1", int(word)) for word in sys.argv[3:5])
        sock = udp()
        sock.connect((host, port))
        sock.sendto(b"elsewhere", third)
        sock.send(b"peer")
        first = sock.recv(100)
        sock.connect(other)
        sock.send(b"other")
        second = sock.recv(100)
        sock.connect((host, port))
        sock.send(b"back")
        say(got=[first.decode(), second.decode(), sock.recv(100).decode()], peer=sock.getpeername())

    with udp_echo() as other, udp_echo() as third:
        said = talk(
            proxy,
            program,
            *(echo.host, echo.port, other.port, third.port),
        )
    assert said == {"got": ["peer", "other", "back"], "peer": [echo.host, echo.port]}
    assert proxy.asked == [ASSOCIATE]


def test_connect_to_af_unspec_takes_the_peer_back(proxy, echo):
    # Python has no words for it: C code does it.
    def program(host, port):
        import ctypes

        sock = udp()
        sock.sendto(b"before", (host, port))
        first = sock.recv(100)
        assert ctypes.CDLL(None).connect(sock.fileno(), bytes(16), 16) == 0
        sock.sendto(b"after", (host, port))
        say(got=[first.decode(), sock.recv(100).decode()])

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said == {"got": ["before", "after"]}


def test_from_a_direct_peer_to_a_tunnelled_one_and_back(proxy, echo):
    def program(host, port):
        near = "127.0.0.1", int(sys.argv[3])
        sock = udp()
        got = []
        for to in near, (host, port), near, (host, port):
            sock.connect(to)
            sock.send(b"hello")
            got.append([sock.recv(10).decode(), sock.getpeername()[1]])
        say(got=got)

    with udp_echo() as near:
        said = talk(
            proxy,
            program,
            *(echo.host, echo.port, near.port),
            options=("--direct", f"127.0.0.1:{near.port}"),
        )
        assert said["got"] == [["hello", near.port], ["hello", echo.port]] * 2
        assert len(near.seen) == 2


# ---------------------------------------------------------------- lifetime


def test_an_association_ends_with_its_socket(proxy, echo):
    def program(host, port):
        for end in "close", "forget", "detach", "dup":
            sock = udp()
            sock.sendto(end.encode(), (host, port))
            assert sock.recv(10) == end.encode()
            if end == "detach":
                os.close(sock.detach())
            elif end == "dup":
                twin = sock.dup()
                sock.close()
                twin.sendto(b"twin", (host, port))
                assert twin.recv(10) == b"twin"
                twin.close()
            elif end == "close":
                sock.close()
            del sock
        # What was detached is found by the next flows.
        socks = [udp() for _ in range(65)]
        for sock in socks:
            sock.sendto(b"many", (host, port))
        assert [sock.recv(10) for sock in socks] == [b"many"] * 65
        for sock in socks:
            sock.close()
        say(done=True)

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said == {"done": True}
    proxy.wait_for_udp_closed(69)


def test_a_child_shares_the_association_after_fork(proxy, echo):
    def program(host, port):
        sock = udp()
        sock.sendto(b"parent", (host, port))
        got = [sock.recv(10).decode()]
        child = os.fork()
        if not child:
            sock.sendto(b"child", (host, port))
            status = int(sock.recv(10) != b"child")
            sock.close()
            os._exit(status)
        got.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        sock.sendto(b"again", (host, port))
        got.append(sock.recv(10).decode())
        say(got=got)

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said == {"got": ["parent", 0, "again"]}
    assert proxy.asked == [ASSOCIATE]


def test_descriptors_do_not_pile_up(proxy, echo):
    def program(host, port):
        def once():
            sock = udp()
            sock.sendto(b"x", (host, port))
            sock.recv(10)
            sock.close()

        before = descriptors()
        for _ in range(50):
            once()
        say(more=left_over(before))

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said["more"] <= 0


def test_a_thread_that_receives_before_anything_was_sent_gets_no_header(proxy, echo):
    def program(host, port):
        import threading

        got = []
        for timeout in None, PATIENCE:
            sock = udp(timeout=timeout)
            sock.bind(("", 0))
            thread = threading.Thread(target=lambda sock=sock: got.append(sock.recvfrom(100)[0].decode()))
            thread.start()
            while "S" not in open(f"/proc/self/task/{thread.native_id}/stat").read().rpartition(")")[2]:
                os.sched_yield()
            sock.sendto(b"hello", (host, port))
            thread.join(PATIENCE)
        say(got=got)

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said == {"got": ["hello", "hello"]}


def test_a_class_of_the_program_keeps_its_own_methods(proxy, echo):
    def program(host, port):
        class Mine(socket.socket):
            def __init__(self, *args):
                super().__init__(*args)
                self.calls = []

            def recvfrom(self, *args):
                self.calls.append("recvfrom")
                return super().recvfrom(*args)

            def sendto(self, *args):
                self.calls.append("sendto")
                return super().sendto(*args)

        class Slotted(socket.socket):
            __slots__ = ("more",)

        got = []
        for sock in Mine(socket.AF_INET, socket.SOCK_DGRAM), Slotted(socket.AF_INET, socket.SOCK_DGRAM):
            sock.settimeout(PATIENCE)
            sock.more = 1
            sock.sendto(b"hello", (host, port))
            got.append(
                [
                    sock.recvfrom(10)[0].decode(),
                    isinstance(sock, socket.socket),
                    type(sock).__name__,
                    getattr(sock, "calls", None),
                ]
            )
        say(got=got)

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said["got"] == [
        ["hello", True, "Mine", ["sendto", "recvfrom"]],
        ["hello", True, "Slotted", None],
    ]


def test_a_closed_socket_and_flags_of_the_kernel_are_as_ever(proxy):
    def program():
        import struct

        closed = udp(timeout=None)
        closed.close()
        limited = udp(timeout=None)
        limited.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 1000))
        read_only = udp()
        read_only.bind(("127.0.0.1", 0))
        read_only.sendto(b"x", read_only.getsockname())
        try:
            read_only.recv_into(b"0123456789")
        except TypeError:
            kept = read_only.recv(10).decode()
        say(
            closed=outcome(closed.recv, 10)[1],
            limited=outcome(limited.recv, 10)[1],
            kept=kept,
            errors=outcome(udp(timeout=None).recvmsg, 10, 100, socket.MSG_ERRQUEUE)[1],
        )

    said = talk(
        proxy,
        program,
        options=("--direct", "127.0.0.0/8"),
    )
    assert said == {"closed": "EBADF", "limited": "EAGAIN", "kept": "x", "errors": "EAGAIN"}


def test_a_signal_handler_may_send_while_the_association_is_opened(hanging):
    def program(host, port):
        import signal

        sock = udp(timeout=0.3)
        signal.signal(signal.SIGALRM, lambda *_: sent.append(sock.sendto(b"from the handler", (host, port))))
        sent = []
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        say(outcome=outcome(sock.sendto, b"x", (host, port))[0], sent=sent)

    said = kernel(
        hanging,
        program,
        *("192.0.2.1", 9),
    )
    assert said == {"outcome": "TimeoutError", "sent": [16]}


def test_the_collector_may_close_sockets_in_the_middle_of_anything(proxy, echo):
    def program(host, port):
        import gc
        import threading

        gc.set_threshold(5)

        def work():
            for _ in range(60):
                sock = udp()
                ring = [sock]
                ring.append(ring)
                sock.sendto(b"x", (host, port))
                assert sock.recv(10) == b"x"
                del sock, ring

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        say(done=True)

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said == {"done": True}


def test_threads_share_a_socket(proxy, echo):
    def program(host, port):
        import threading

        sock = udp()
        threads = [threading.Thread(target=lambda: sock.sendto(b"x", (host, port))) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        say(got=[sock.recv(10).decode() for _ in range(20)])

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said["got"] == ["x"] * 20
    assert proxy.asked == [ASSOCIATE]


# ---------------------------------------------------------------- sockets that must not block


def test_a_socket_that_must_not_block_does_not(proxy, echo):
    def program(host, port):
        sock = udp(timeout=0)
        sent = [sock.sendto(b"%d" % n, (host, port)) for n in range(10)]
        nothing = outcome(sock.recv, 10)[0]
        got = []
        while len(got) < 10:
            assert select.select([sock], [], [], PATIENCE)[0]
            got.append(sock.recv(10).decode())
        say(sent=sent, nothing=nothing, got=got)

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said == {
        "sent": [1] * 10,
        "nothing": "BlockingIOError",
        "got": [str(number) for number in range(10)],
    }


def test_a_recv_that_waits_before_the_association_stands_gets_the_whole_answer(proxy, echo):
    # The kernel is told the size before there is a header to make room for.
    def program(host, port):
        sock = udp(timeout=0)
        sock.sendto(b"the first", (host, port))
        sock.settimeout(PATIENCE)
        say(got=sock.recv(9).decode())

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said == {"got": "the first"}


# What is in it is open when the program ends.
kept = []


@pytest.mark.parametrize("end", ["close", "del", "end"])
def test_what_waits_is_sent_when_the_program_closes_its_socket_or_ends(proxy, echo, end):
    def program(host, port):
        sock = udp(timeout=0)
        for word in b"one", b"two", b"three":
            sock.sendto(word, (host, port))
        if end == "close":
            sock.close()
        elif end == "del":
            del sock
        else:
            kept.append(sock)
        say(done=True)

    talk(proxy, program, echo.host, echo.port)
    # In the order of arrival: the association ended after them.
    ((_, traffic, _),) = proxy.wait_for_udp_closed(1)
    assert traffic.up == 3


def test_a_program_that_ends_does_not_wait_for_a_proxy_that_is_not_there(refusing_port):
    said = kernel(
        f"socks5h://127.0.0.1:{refusing_port}",
        'sock = udp(timeout=0); sock.sendto(b"x", (host, port)); say(done=True)',
        *("192.0.2.1", 9),
    )
    assert said == {"done": True}


def test_what_waits_for_an_association_is_bounded(hanging):
    def program(host, port):
        sock = udp(timeout=0)
        count = 0
        with contextlib.suppress(BlockingIOError):
            while count < 10000:
                sock.sendto(bytes(1000), (host, port))
                count += 1
        say(count=count, buffer=sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF))

    said = kernel(
        hanging,
        program,
        *("192.0.2.1", 9),
    )
    assert 0 < said["count"] * 1000 <= said["buffer"]


def test_a_socket_with_a_timeout_waits_no_longer_for_an_association(hanging):
    said = kernel(
        hanging,
        'say(outcome=outcome(udp(timeout=0.05).sendto, b"x", (host, port)))',
        *("192.0.2.1", 9),
    )
    assert said["outcome"][0] == "TimeoutError"


@pytest.mark.parametrize("poller", ["select", "poll", "epoll"])
def test_pollers_see_the_answer(proxy, echo, poller):
    def program(host, port):
        sock = udp(timeout=0)

        def wait():
            if sys.argv[3] == "select":
                return bool(select.select([sock], [], [], PATIENCE)[0])
            if sys.argv[3] == "poll":
                poll = select.poll()
                poll.register(sock, select.POLLIN)
                return bool(poll.poll(PATIENCE * 1000))
            return bool(epoll.poll(PATIENCE))

        epoll = select.epoll()
        epoll.register(sock, select.EPOLLIN)
        got = []
        for word in b"one", b"two":
            sock.sendto(word, (host, port))
            assert wait()
            got.append(sock.recv(10).decode())
        say(got=got)

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port, poller),
    )
    assert said == {"got": ["one", "two"]}


# ---------------------------------------------------------------- failures
# EOPNOTSUPP has a second name in errno.errorcode: ENOTSUP.


@pytest.mark.parametrize("timeout", [30, 0])
def test_a_proxy_that_has_no_udp_says_so(proxy, timeout):
    # SOCKS4 cannot, and is not asked.
    ran = kernel(
        proxy.url(scheme="socks4a"),
        f'say(outcome=[outcome(udp(timeout={timeout}).sendto, b"x", (host, port)) for _ in range(2)])',
        *("192.0.2.1", 9),
    )
    for name, number, words in ran["outcome"]:
        assert (name, number) == ("OSError", "ENOTSUP")
        assert "only SOCKS5 has UDP" in words
    assert proxy.seen == []


def test_a_proxy_that_has_no_udp_is_mentioned_once(proxy):
    command = pysocksify("-x", proxy.url(scheme="socks4a"))

    def program():
        import socket

        for _ in range(3):
            try:
                socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 9))
            except OSError as err:
                print(err.errno)

    ran = run(*command, sys.executable, "-c", source_of(program))
    assert ran.out == "95\n" * 3
    assert ran.err.count("no UDP: ") == 1


@pytest.mark.parametrize("timeout", [30, 0])
def test_a_relay_at_a_multicast_address_is_an_error_of_the_proxy(timeout):
    def program():
        sock = udp(timeout=int(sys.argv[1]))
        got = outcome(sock.sendto, b"x", ("192.0.2.1", 9))
        if got == 1:
            assert select.select([sock], [], [], PATIENCE)[0]
            got = outcome(sock.recv, 100)
        sock.close()
        say(got=got)

    reply = b"\x05\x00\x00\x01" + b"\xe0\x00\x00\x01" + b"\x00\x09"
    with scripted(3, b"\x05\x00", 10, reply, None) as proxy:
        said = kernel(
            f"socks5h://{proxy.host}:{proxy.port}",
            program,
            timeout,
        )
    assert said["got"][:2] == ["OSError", "EPROTO"]
    assert said["got"][2].endswith("a UDP relay cannot be at a multicast or broadcast address: 224.0.0.1:9")


# 192.0.2.1 and port 9, in the header of a datagram.
SOURCE = b"\x01" + b"\xc0\x00\x02\x01" + b"\x00\x09"


@contextlib.contextmanager
def relay_of_ours(play):
    """A proxy that grants one association, and plays ``play(relay, client, control)`` to its first datagram.

    That is b"hello" to SOURCE; the association ends with the play.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(type=socket.SOCK_DGRAM) as relay:
        relay.bind(("127.0.0.1", 0))

        def serve():
            control, _ = listener.accept()
            with control:
                assert control.recv(3, socket.MSG_WAITALL) == b"\x05\x01\x00"
                control.sendall(b"\x05\x00")
                control.recv(10, socket.MSG_WAITALL)
                bound = socket.inet_aton("127.0.0.1") + relay.getsockname()[1].to_bytes(2, "big")
                control.sendall(b"\x05\x00\x00\x01" + bound)
                data, client = relay.recvfrom(1000)
                assert data == b"\x00\x00\x00" + SOURCE + b"hello"
                play(relay, client, control)

        thread = threading.Thread(target=serve)
        thread.start()
        yield types.SimpleNamespace(url=lambda: f"socks5h://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()


@pytest.mark.parametrize("looks", [0, 2])
def test_fragments_of_the_relay_are_put_together(looks):
    def program(host, port):
        sock = udp()
        sock.sendto(b"hello", (host, port))
        got = [sock.recvfrom(100, socket.MSG_PEEK)[0].decode() for _ in range(looks)]
        say(got=[*got, sock.recvfrom(100)[0].decode(), *map(str, sock.recvfrom(100))])

    # RFC 1928 section 7. No server at hand sends any: this one is a relay of the test's.
    def play(relay, client, control):
        for number, piece in (
            (1, b"lost "),
            (2, b"too"),
            (1, b"one "),
            (2, b"two "),
            (0x83, b"three"),
        ):
            relay.sendto(b"\x00\x00" + bytes([number]) + SOURCE + piece, client)
        relay.sendto(b"\x00\x00\x00" + SOURCE + b"whole", client)
        control.recv(1)

    with relay_of_ours(play) as proxy:
        said = talk(proxy, program, "192.0.2.1", 9)
    # A lower number begins another datagram.
    of_three = ["one two three"] * (looks + 1)
    assert said["got"] == [*of_three, "b'whole'", "('192.0.2.1', 9)"]


def recv(sock, room):
    return sock.recv(100)


def recvfrom(sock, room):
    return sock.recvfrom(100)[0]


def recv_into(sock, room):
    return room[: sock.recv_into(room)]


def recvmsg(sock, room):
    return sock.recvmsg(100)[0]


def recvmsg_into(sock, room):
    return room[: sock.recvmsg_into([room])[0]]


def peek_and_recv(sock, room):
    return sock.recv(100, socket.MSG_PEEK)[:0] + sock.recv(100)


def peek_with_recvmsg_and_recv(sock, room):
    return sock.recvmsg(100, 0, socket.MSG_PEEK)[0][:0] + sock.recv(100, socket.MSG_DONTWAIT)


@pytest.mark.parametrize(
    "call", [recv, recvfrom, recv_into, recvmsg, recvmsg_into, peek_and_recv, peek_with_recvmsg_and_recv]
)
def test_what_came_before_the_end_of_an_association_comes_before_its_error(call):
    def program(host, port):
        sock = udp()
        before = descriptors()
        sock.sendto(b"hello", (host, port))
        # Until the thread has seen the end of the control connection, and has ended itself.
        assert left_over(before) == 0
        room = bytearray(100)
        got = [outcome(lambda: bytes(call(sock, room)).decode()) for _ in range(2)]
        say(got=got, then=outcome(lambda: call(sock, room))[1])

    def play(relay, client, control):
        relay.sendto(b"\x00\x00\x00" + SOURCE + b"one", client)
        with socket.socket(type=socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"\x00\x00\x00" + SOURCE + b"nobody asked", client)
        relay.sendto(b"\x00\x00\x00" + SOURCE + b"two", client)

    with relay_of_ours(play) as proxy:
        said = talk(proxy, program, "192.0.2.1", 9)
    assert said == {"got": ["one", "two"], "then": "ECONNREFUSED"}


REFUSED = b"\x05\x07\x00\x01" + bytes(6)


def test_a_refusal_is_told_by_the_call_that_waited_for_it():
    with scripted(3, b"\x05\x00", 10, REFUSED) as proxy:
        said = kernel(
            f"socks5h://{proxy.host}:{proxy.port}",
            'say(outcome=outcome(udp().sendto, b"x", (host, port)))',
            *("192.0.2.1", 9),
        )
    assert said["outcome"][:2] == ["OSError", "ENOTSUP"]
    assert "command not supported" in said["outcome"][2]


@pytest.mark.parametrize("call", ["recv", "send", "SO_ERROR"])
def test_a_refusal_wakes_up_what_polls_and_is_told_once(call):
    def program(host, port):
        sock = udp(timeout=0)
        sock.connect((host, port))
        epoll = select.epoll()
        epoll.register(sock, select.EPOLLIN)
        sock.send(b"x")
        woken = bool(epoll.poll(PATIENCE))
        if sys.argv[3] == "recv":
            told = outcome(sock.recv, 10)[1]
        elif sys.argv[3] == "send":
            told = outcome(sock.send, b"y")[1]
        else:
            told = errno.errorcode[sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)]
        say(woken=woken, told=told, then=outcome(sock.recv, 10)[1], quiet=not epoll.poll(0))

    with scripted(3, b"\x05\x00", 10, REFUSED) as proxy:
        said = kernel(
            f"socks5h://{proxy.host}:{proxy.port}",
            program,
            *("192.0.2.1", 9, call),
        )
    assert said == {"woken": True, "told": "ENOTSUP", "then": "EAGAIN", "quiet": True}


@pytest.mark.parametrize("timeout", [None, 30])
def test_a_proxy_that_dies_wakes_up_what_waits_and_the_next_send_associates_anew(echo, timeout):
    def program(host, port, proxy_port):
        def is_control(fd):
            try:
                sock = socket.socket(fileno=os.dup(fd))
                return sock.type == socket.SOCK_STREAM and sock.getpeername()[1] == proxy_port
            except OSError:
                return False

        sock = udp(timeout=timeout)
        sock.sendto(b"before", (host, port))
        got = [sock.recv(10).decode()]
        errors = []
        waiting = threading.Thread(target=lambda: errors.append(outcome(sock.recv, 10)))
        waiting.start()
        # The destination's word is the end of the proxy.
        control = [fd for fd in map(int, descriptors()) if is_control(fd)]
        socket.socket.__base__(fileno=os.dup(control[0])).shutdown(socket.SHUT_RDWR)
        waiting.join(PATIENCE)
        sock.sendto(b"after", (host, port))
        got.append(sock.recv(10).decode())
        say(got=got, errors=errors)

    with contextlib.ExitStack() as stack:
        proxy = stack.enter_context(reference_server())
        second = stack.enter_context(reference_server())
        said = talk(proxy, program, echo.host, echo.port, proxy.port)
        assert second.seen == []
    assert said["got"] == ["before", "after"]
    ((name, number, words),) = said["errors"]
    assert (name, number) == ("ConnectionRefusedError", "ECONNREFUSED")
    assert "the UDP association" in words
    assert proxy.asked == [ASSOCIATE] * 2


# ---------------------------------------------------------------- chains


@pytest.mark.parametrize("hops", [2, 3])
def test_a_chain_of_proxies_is_nested_associations(hops, echo):
    def program(host, port):
        sock = udp()
        got = []
        for word in b"one", b"two":
            sock.sendto(word, (host, port))
            got.append([sock.recvfrom(100)[0].decode(), len(word)])
        big = os.urandom(1200)
        later = udp(timeout=0)
        later.sendto(big, (host, port))
        select.select([later], [], [], PATIENCE)
        say(got=got, big=later.recv(2000) == big)

    with contextlib.ExitStack() as stack:
        chain = [stack.enter_context(reference_server()) for _ in range(hops)]
        options = tuple(word for hop in chain[1:] for word in ("-x", hop.url()))
        said = talk(
            chain[0],
            program,
            *(echo.host, echo.port),
            options=options,
        )
        assert said == {"got": [["one", 3], ["two", 3]], "big": True}
        for hop in chain:
            assert hop.asked.count(ASSOCIATE) == 2
        # Only the last one knows the destination.
        assert {*chain[-1].udp_peers} == {(echo.host, echo.port)}
        for hop in chain[:-1]:
            assert (echo.host, echo.port) not in hop.udp_peers


def test_a_chain_with_a_hop_that_has_no_udp_is_refused_in_words(proxy):
    said = talk(
        proxy,
        'say(outcome=outcome(udp().sendto, b"x", ("192.0.2.1", 9)))',
        options=("-x", "socks4a://192.0.2.7:1080"),
    )
    assert said["outcome"][:2] == ["OSError", "ENOTSUP"]
    assert "hop 2 of 2, proxy 192.0.2.7:1080" in said["outcome"][2]
    assert proxy.seen == []
