"""Multicast groups: what joins one, in any of its forms, and what is sent onto the network for it."""

from __future__ import annotations

import socket
import struct
import sys

import pytest

from pywrap.config.route_rules import parse_route
from pywrap.config.settings import Chain, Settings
from pywrap.intercept import multicast
from pywrap.socks.wire import packed
from pywrap.tunnel.placeholders import Hosts, Placeholders
from pywrap.tunnel.routes import Routes
from tests.support import peers
from tests.support.child import source_of
from tests.support.inside import outcome, say
from tests.support.installed import installed
from tests.support.namespaces import alone_with_fast_open
from tests.support.run import pysocksify, run

PROXY = "socks5h://127.0.0.1:1"  # never reached: nothing here connects


FOUR = socket.inet_pton(socket.AF_INET, "239.1.2.3")
SIX = socket.inet_pton(socket.AF_INET6, "ff05::1:3")
SOURCE = socket.inet_pton(socket.AF_INET, "192.0.2.1")


def storage(address):
    head = struct.pack("=HH", socket.AF_INET if len(address) == 4 else socket.AF_INET6, 0)
    return (head + (address if len(address) == 4 else bytes(4) + address)).ljust(128, b"\0")


def request(*addresses):
    return struct.pack("I0P", 0) + b"".join(map(storage, addresses))


INDEX = struct.pack("I", socket.if_nametoindex("lo"))
# Each of linux/in.h and in6.h that makes the kernel report, and the value that it takes.
FORMS = [
    *((0, option, FOUR + bytes(4)) for option in (35, socket.IP_ADD_MEMBERSHIP)),
    (0, 35, FOUR + bytes(8)),
    *((0, option, FOUR + bytes(4) + SOURCE) for option in (37, 38, 39)),
    (0, 41, FOUR + bytes(4) + struct.pack("II", 1, 1) + SOURCE),
    *((0, option, request(FOUR, SOURCE)) for option in (42, 43, 44, 46, 48)),
    *((41, option, SIX + INDEX) for option in (20, 27, socket.IPV6_JOIN_GROUP)),
    *((41, option, request(SIX, SIX)) for option in (42, 43, 44, 46, 48)),
]


def refused():
    import _socket

    class Number:
        def __init__(self, value):
            self.value = value

        def __index__(self):
            return self.value

    said = {}
    for make in (socket.socket, _socket.socket):
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            four, six = make(socket.AF_INET, kind), make(socket.AF_INET6, kind)
            for level, option, value in FORMS:
                for sock in (four, six) if level == 0 else (six,):
                    for form in (value, bytearray(value), memoryview(value)):
                        said[str(outcome(sock.setsockopt, level, Number(option), form))] = 1
    sock = socket.socket(type=socket.SOCK_DGRAM)
    said[str(outcome(socket.socket.setsockopt, sock, *FORMS[0]))] = 1
    other = [
        outcome(sock.setsockopt, 0, option, value)
        for option, value in ((socket.IP_MULTICAST_TTL, 1), (35, 1), (35, b"x"), (36, FOUR + bytes(4)))
    ]
    say(said=sorted(said), other=[each and each[1] for each in other])


def test_no_group_is_joined_in_any_form():
    said = run(*pysocksify("-x", PROXY), sys.executable, "-c", source_of(refused)).json
    why = "a membership report would leave directly"
    assert said["said"] == [
        f"['PermissionError', 'EPERM', '[Errno 1] {group} refused: {why} (--direct {group} to allow it)']"
        for group in ("239.1.2.3", "ff05::1:3")
    ]
    # What is no join, or wrong, is the kernel's.
    assert said["other"] == [None, "EINVAL", "EINVAL", "EADDRNOTAVAIL"]


def join():
    sock = socket.socket(type=socket.SOCK_DGRAM)
    joined = []
    for level, option, value in FORMS[:1]:
        joined.append(outcome(sock.setsockopt, level, option, value[:4] + socket.inet_aton("10.9.9.1")))
    six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    joined.append(outcome(six.setsockopt, 41, 20, SIX + struct.pack("I", socket.if_nametoindex("out"))))
    with open("/proc/net/igmp") as lines:
        groups = lines.read().count("030201EF")
    with open("/proc/net/igmp6") as lines:
        groups += lines.read().count("ff050000000000000000000000010003")
    say(joined=[each and each[1] for each in joined], groups=groups)


@pytest.mark.parametrize(
    ("options", "joined", "groups"),
    [
        ((), ["EPERM", "EPERM"], 0),
        (("--udp", "direct"), ["EPERM", "EPERM"], 0),
        (("--direct", "239.0.0.0/8:5353,[ff05::1:3]"), [None, None], 2),
    ],
)
def test_the_kernel_is_a_member_of_direct_groups_alone(options, joined, groups):
    with installed():
        alone = alone_with_fast_open(1)
        ip = peers.find("ip", package="iproute2")
    link = f"{ip} link add out type veth peer name in"
    link += f" && {ip} addr add 10.9.9.1/24 dev out && {ip} link set out up"
    command = (*pysocksify("-x", PROXY, *options), sys.executable, "-c", source_of(join))
    ran = run(*alone, "sh", "-c", f'{link} && exec "$@"', "sh", *command)
    assert ran.json == {"joined": joined, "groups": groups}


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([], False),
        (["239.0.0.0/8 direct"], True),
        (["239.0.0.0/8:5353 direct"], True),
        (["udp *:5353 direct"], True),
        (["tcp 239.0.0.0/8 direct"], False),
        (["239.1.0.0/16 block", "239.0.0.0/8 direct"], False),
        (["239.1.0.0/16:80 block", "239.0.0.0/8 direct"], True),
        (["ff00::/8 direct"], False),
    ],
)
def test_which_rules_let_this_machine_be_a_member(rules, expected):
    compiled = tuple(rule for text in rules for rule in parse_route(text.split()))
    names = Placeholders(lambda: None)
    routes = Routes(Settings((Chain(),), compiled), [], names, Hosts("/dev/null"))
    assert routes.may_join(packed("239.1.2.3")) == expected
    value = packed("239.1.2.3") + bytes(4)
    assert multicast._group(0, 35, value) == packed("239.1.2.3")
    assert multicast._group(0, 42, struct.pack("I0P", 1) + struct.pack("=HH", 2, 0) + value) == value[:4]
