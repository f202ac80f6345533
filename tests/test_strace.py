"""Our reader of strace's output, and that it would see a leak."""

from __future__ import annotations

import sys

import pytest

from tests.support.child import source_of
from tests.support.run import program
from tests.support.strace import Reached, Trace, parse


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            '12 connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("192.0.2.1")}, 16) = 0',
            [Reached("connect", "AF_INET", "192.0.2.1", 80)],
        ),
        (
            "12 connect(3, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), "
            'inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = -1 EINPROGRESS\n',
            [Reached("connect", "AF_INET6", "2001:db8::1", 443)],
        ),
        (
            "12 connect(3, {sa_family=AF_INET6, sin6_port=htons(80), sin6_flowinfo=htonl(0), "
            'inet_pton(AF_INET6, "::ffff:192.0.2.1", &sin6_addr), sin6_scope_id=0}, 28) = 0\n',
            [Reached("connect", "AF_INET6", "192.0.2.1", 80)],
        ),
        (
            '12 connect(4, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT\n',
            [Reached("connect", "AF_UNIX", "/var/run/nscd/socket", 0)],
        ),
        (
            '12 sendto(3, "x", 1, 0, {sa_family=AF_INET, sin_port=htons(53), '
            'sin_addr=inet_addr("192.0.2.53")}, 16) = 1\n',
            [Reached("sendto", "AF_INET", "192.0.2.53", 53)],
        ),
        (
            "12 sendmsg(3, {msg_name={sa_family=AF_INET, sin_port=htons(9), "
            'sin_addr=inet_addr("192.0.2.1")}, msg_namelen=16, '
            " msg_iov=[], msg_iovlen=0, msg_controllen=0, msg_flags=0}, 0) = 0\n",
            [Reached("sendmsg", "AF_INET", "192.0.2.1", 9)],
        ),
        (
            "12 sendmmsg(3, [{msg_hdr={msg_name={sa_family=AF_INET, sin_port=htons(9), "
            'sin_addr=inet_addr("192.0.2.1")}, msg_namelen=16}}, {msg_hdr={msg_name={sa_family=AF_INET, '
            'sin_port=htons(10), sin_addr=inet_addr("192.0.2.2")}, msg_namelen=16}}], 2, 0) = 2\n',
            [Reached("sendmmsg", "AF_INET", "192.0.2.1", 9), Reached("sendmmsg", "AF_INET", "192.0.2.2", 10)],
        ),
        (
            "12 connect(3, {sa_family=AF_INET, sin_port=htons(80), "
            'sin_addr=inet_addr("192.0.2.1")}, 16 <unfinished ...>\n',
            [Reached("connect", "AF_INET", "192.0.2.1", 80)],
        ),
        (
            "12 <... sendmmsg resumed>[{msg_hdr={msg_name={sa_family=AF_INET, sin_port=htons(9), "
            'sin_addr=inet_addr("192.0.2.1")}}}], 1, 0) = 1\n',
            [Reached("sendmmsg", "AF_INET", "192.0.2.1", 9)],
        ),
        (
            "12 sendto(3, [], 18, 0, {sa_family=AF_PACKET, sll_protocol=htons(0x800)}, 20) = 18\n",
            [Reached("sendto", "AF_PACKET", "", 0)],
        ),
        # Sent on a connection, asked of the kernel, taken back, received: not a destination.
        ('12 sendto(3, "GET / HTTP/1.1", 14, 0, NULL, 0) = 14\n', []),
        ("12 sendto(3, [], 20, 0, {sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, 12) = 20\n", []),
        ("12 connect(3, {sa_family=AF_UNSPEC, sa_data=...}, 16) = 0\n", []),
        ('12 accept4(3, {sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr("127.0.0.1")}) = 4\n', []),
        ("12 <... connect resumed>)             = 0\n", []),
        ("12 +++ exited with 0 +++\n", []),
    ],
)
def test_a_line_is_read(line, expected):
    assert parse(line) == expected


def test_a_program_without_us_is_seen_to_connect(trace, http_server):
    ran, seen = trace(*program("fetch_urllib.py"), http_server.url())
    assert ran.json["status"] == 200
    assert seen.destinations == {(http_server.host, http_server.port)}


def test_a_datagram_of_a_child_of_a_child_is_seen(trace):
    def program():
        import os
        import socket
        import threading

        def send():
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"hello", ("127.0.0.1", 53))

        if os.fork() == 0:
            thread = threading.Thread(target=send)
            thread.start()
            thread.join()
            os._exit(0)
        os.wait()

    _, seen = trace(sys.executable, "-c", source_of(program))
    assert seen.destinations == {("127.0.0.1", 53)}


def test_a_look_up_through_a_daemon_is_seen(trace):
    # Refused, or answered from /etc/hosts, but glibc asks nscd before it does anything else.
    code = "import socket; socket.getaddrinfo('localhost', 80)"
    _, seen = trace(sys.executable, "-c", code)
    assert "/var/run/nscd/socket" in seen.paths
    assert isinstance(seen, Trace)
