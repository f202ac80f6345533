"""Names: what is answered here, what becomes a placeholder, and what nobody is asked for."""

from __future__ import annotations

import os
import sys
from textwrap import dedent

from tests.support.child import PRELUDE, kernel
from tests.support.run import pysocksify, run

PROXY = "socks5h://192.0.2.99:1080"  # never reached: nothing here connects


def test_a_foreign_name_becomes_a_placeholder_everywhere():
    said = kernel(
        PROXY,
        """
        info = socket.getaddrinfo("example.org", 443, type=socket.SOCK_STREAM)
        say(
            info=[[row[0].name, row[1].name, row[2], row[3], row[4]] for row in info],
            every=len(socket.getaddrinfo("example.org", 443)),
            by_name=socket.gethostbyname("example.org"),
            by_name_ex=socket.gethostbyname_ex("example.org"),
            by_bytes=socket.getaddrinfo(b"example.org", None)[0][4][0],
            six=socket.getaddrinfo("example.org", 443, socket.AF_INET6, socket.SOCK_STREAM)[0][4],
            service=socket.getaddrinfo("example.org", "https", type=socket.SOCK_STREAM)[0][4][1],
            canonical=socket.getaddrinfo("example.org", 1, flags=socket.AI_CANONNAME)[0][3],
            configured=socket.getaddrinfo("example.org", 1, flags=socket.AI_ADDRCONFIG)[0][4][0],
            fqdn=socket.getfqdn("example.org"),
        )
        """,
    )
    assert said == {
        "info": [["AF_INET", "SOCK_STREAM", 6, "", ["198.18.0.1", 443]]],
        "every": 3,
        "by_name": "198.18.0.1",
        "by_name_ex": ["example.org", [], ["198.18.0.1"]],
        "by_bytes": "198.18.0.1",
        "six": ["fd73:6f63:6b73::c612:1", 443, 0, 0],
        "service": 443,
        "canonical": "example.org",
        "configured": "198.18.0.1",
        "fqdn": "example.org",
    }


def test_a_placeholder_tells_its_name():
    said = kernel(
        PROXY,
        """
        address = socket.gethostbyname("example.org")
        say(
            by_addr=socket.gethostbyaddr(address),
            by_name=socket.gethostbyaddr("example.org"),
            info=socket.getnameinfo((address, 443), 0),
            numeric=socket.getnameinfo((address, 443), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
            fqdn=socket.getfqdn(address),
        )
        """,
    )
    assert said == {
        "by_addr": ["example.org", [], ["198.18.0.1"]],
        "by_name": ["example.org", [], ["198.18.0.1"]],
        "info": ["example.org", "https"],
        "numeric": ["198.18.0.1", "443"],
        "fqdn": "example.org",
    }


def test_nobody_is_asked_for_the_name_of_an_address():
    said = kernel(
        PROXY,
        """
        say(
            by_addr=outcome(socket.gethostbyaddr, "192.0.2.1")[0],
            info=socket.getnameinfo(("192.0.2.1", 12345), 0),
            datagram=socket.getnameinfo(("192.0.2.1", 123), socket.NI_DGRAM)[1],
            six=socket.getnameinfo(("2001:db8:0::1", 80, 0, 0), 0)[0],
            needed=outcome(socket.getnameinfo, ("192.0.2.1", 80), socket.NI_NAMEREQD)[0],
            no_address=outcome(socket.getnameinfo, ("example.org", 80), 0)[0],
            fqdn=socket.getfqdn("192.0.2.1"),
        )
        """,
    )
    assert said == {
        "by_addr": "herror",
        "info": ["192.0.2.1", "12345"],
        "datagram": "ntp",
        "six": "2001:db8::1",
        "needed": "gaierror",
        "no_address": "gaierror",
        "fqdn": "192.0.2.1",
    }


def test_literals_are_the_c_librarys():
    said = kernel(
        PROXY,
        """
        say(
            four=socket.getaddrinfo("192.0.2.1", 80, type=socket.SOCK_STREAM)[0][4],
            short=socket.gethostbyname("127.1"),
            six=socket.getaddrinfo("::1", 80, type=socket.SOCK_STREAM)[0][4],
            none=socket.getaddrinfo(None, 80, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][4][1],
            any=socket.gethostbyname(""),
            numeric=outcome(socket.getaddrinfo, "example.org", 80, 0, 0, 0, socket.AI_NUMERICHOST)[0],
            wrong=outcome(socket.getaddrinfo, "192.0.2.1", 80, socket.AF_INET6)[0],
        )
        """,
    )
    assert said == {
        "four": ["192.0.2.1", 80],
        "short": "127.0.0.1",
        "six": ["::1", 80, 0, 0],
        "none": 80,
        "any": "0.0.0.0",
        "numeric": "gaierror",
        "wrong": "gaierror",
    }


def test_localhost_and_this_machine_are_answered_here():
    said = kernel(
        PROXY,
        """
        say(
            localhost=socket.gethostbyname("localhost"),
            below=[row[4][0] for row in socket.getaddrinfo("x.localhost", 1, type=socket.SOCK_STREAM)],
            six=socket.getaddrinfo("x.localhost", 1, socket.AF_INET6)[0][4][0],
            own=socket.gethostbyname(socket.gethostname()).startswith("198.18."),
        )
        """,
    )
    assert said == {"localhost": "127.0.0.1", "below": ["127.0.0.1", "::1"], "six": "::1", "own": False}


def test_the_local_resolver_answers_for_direct_names_and_is_believed(echo_server):
    # A direct name that the C library knows without a name server.
    said = kernel(
        PROXY,
        """
        name = sys.argv[3]
        sock = socket.create_connection((name, port))
        say(echoed=echo(sock), address=socket.gethostbyname(name))
        """,
        *(echo_server.host, echo_server.port, os.uname().nodename),
        options=("--direct", "127.0.0.0/8," + os.uname().nodename),
    )
    assert said["echoed"] == "hello"


def test_with_local_dns_the_functions_are_the_interpreters_own():
    said = kernel(
        PROXY,
        """
        say(unknown=outcome(socket.getaddrinfo, "nowhere.invalid", 80)[0],
            known=socket.gethostbyname("localhost"))
        """,
        options=("--dns", "local"),
    )
    assert said == {"unknown": "gaierror", "known": "127.0.0.1"}


def test_with_local_dns_the_proxy_gets_addresses(proxy, echo_server):
    # Also when nobody called getaddrinfo(), which is C's affair then.
    said = kernel(
        proxy.url(scheme="socks4"),
        """
        blocking = socket.socket()
        blocking.connect(("localhost", port))
        say(echoed=echo(blocking), peer=blocking.getpeername(), later=wait_writable(start("localhost", port)),
            unknown=outcome(socket.socket().connect, ("nowhere.invalid", 80))[0],
            datagram=outcome(socket.socket(type=socket.SOCK_DGRAM).sendto, b"x", ("localhost", 9))[1])
        """,
        *(echo_server.host, echo_server.port),
        options=("--dns", "local"),
    )
    assert said == {
        "echoed": "hello",
        "peer": ["127.0.0.1", echo_server.port],
        "later": 0,
        "unknown": "gaierror",
        "datagram": "ENOTSUP",
    }
    assert proxy.asked == [("CONNECT", "127.0.0.1", echo_server.port)] * 2


def test_a_child_process_has_placeholders_of_its_own():
    said = kernel(
        PROXY,
        """
        import subprocess
        mine = [socket.gethostbyname(name) for name in ("a.example", "b.example")]
        code = "import socket; print(socket.gethostbyname('b.example'))"
        theirs = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
        code = f"import socket; socket.create_connection(({mine[1]!r}, 80))"
        failed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        say(mine=mine, theirs=theirs, failed=failed.stderr.splitlines()[-1])
        """,
    )
    assert said["mine"] == ["198.18.0.1", "198.18.0.2"]
    assert said["theirs"] == "198.18.0.1"
    assert "placeholder address of another process" in said["failed"]


def test_a_full_pool_is_told_of_at_v():
    code = """
        say(found=[socket.gethostbyname(f"{name}.example") for name in "abcdef"])
    """
    options = ("-x", PROXY, "-v", "--placeholders", "192.0.2.4/30")
    ran = run(*pysocksify(*options), sys.executable, "-c", PRELUDE + dedent(code))
    assert ran.json["found"] == [f"192.0.2.{number}" for number in (5, 6, 5, 6, 5, 6)]
    told = [line for line in ran.err.splitlines() if "placeholder" in line]
    assert [line.partition(": ")[2] for line in told] == [
        f"all placeholder addresses are taken: those idle longest get other names ({count} so far)"
        for count in (1, 3)
    ]
