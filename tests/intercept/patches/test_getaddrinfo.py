"""Names: what is answered here, what becomes a placeholder, and what no server is asked for."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys

import pytest

from tests.support.child import kernel, source_of
from tests.support.inside import echo, outcome, say, start, wait_writable
from tests.support.naming_proxy import naming_proxy
from tests.support.run import pysocksify, run

PROXY = "socks5h://192.0.2.99:1080"  # never reached: nothing here connects


def test_a_foreign_name_becomes_a_placeholder_everywhere():
    def program():
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

    said = kernel(
        PROXY,
        program,
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
    def program():
        address = socket.gethostbyname("example.org")
        say(
            by_addr=socket.gethostbyaddr(address),
            by_name=socket.gethostbyaddr("example.org"),
            info=socket.getnameinfo((address, 443), 0),
            numeric=socket.getnameinfo((address, 443), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
            fqdn=socket.getfqdn(address),
        )

    said = kernel(
        PROXY,
        program,
    )
    assert said == {
        "by_addr": ["example.org", [], ["198.18.0.1"]],
        "by_name": ["example.org", [], ["198.18.0.1"]],
        "info": ["example.org", "https"],
        "numeric": ["198.18.0.1", "443"],
        "fqdn": "example.org",
    }


def test_no_server_is_asked_for_the_name_of_an_address():
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
    def program(host, port):
        name = sys.argv[3]
        sock = socket.create_connection((name, port))
        say(echoed=echo(sock), address=socket.gethostbyname(name))

    said = kernel(
        PROXY,
        program,
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
    # Also without a call of getaddrinfo(), which is C's affair then.
    def program(host, port):
        blocking = socket.socket()
        blocking.connect(("localhost", port))
        say(
            echoed=echo(blocking),
            peer=blocking.getpeername(),
            later=wait_writable(start("localhost", port)),
            unknown=outcome(socket.socket().connect, ("nowhere.invalid", 80))[0],
            datagram=outcome(socket.socket(type=socket.SOCK_DGRAM).sendto, b"x", ("localhost", 9))[1],
        )

    said = kernel(
        proxy.url(scheme="socks4"),
        program,
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


def test_the_processes_of_a_run_have_the_same_placeholders():
    def program():
        import subprocess

        mine = [socket.gethostbyname(name) for name in ("a.example", "b.example")]
        code = "import socket; print(socket.gethostbyname('c.example'), socket.gethostbyname('b.example'))"
        theirs = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split()
        code = f"import socket; print(socket.gethostbyaddr({mine[1]!r})[0])"
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
        say(mine=mine, theirs=theirs, told=told, back=socket.gethostbyaddr(theirs[0])[0])

    said = kernel(
        PROXY,
        program,
    )
    assert said == {
        "mine": ["198.18.0.1", "198.18.0.2"],
        "theirs": ["198.18.0.3", "198.18.0.2"],
        "told": "b.example",
        "back": "c.example",
    }


def forked():
    def look_up(*names):
        return [socket.gethostbyname(name) for name in names]

    def in_child(*names):
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.write(writing, json.dumps(look_up(*names)).encode())
            os._exit(0)
        os.wait()
        return json.loads(os.read(reading, 1000))

    look_up("before.example")
    first, second = in_child("a.example"), in_child("b.example")
    mine = look_up("c.example")
    say(
        first=first,
        second=second,
        mine=mine,
        told=[socket.gethostbyaddr(*each)[0] for each in (first, second)],
    )


@pytest.mark.parametrize("how", ["command", "daemon", "install", "shell"])
def test_forked_children_never_share_an_address(how):
    """Without the launcher's file as well: the first fork() makes one."""
    code = source_of(forked)
    if how == "daemon":
        # It closes all descriptors, the shared file's as well.
        code = code.replace('look_up("before.example")', 'look_up("before.example"); os.closerange(3, 256)')
    if how in ("command", "daemon"):
        ran = run(*pysocksify("-x", PROXY), sys.executable, "-c", code)
    elif how == "install":
        ran = run(sys.executable, "-c", f"import pywrap\npywrap.install({PROXY!r})\n{code}")
    else:
        wrap = f'eval "$({sys.executable} -m pywrap --env -x {PROXY})"; exec "$0" -c "$CODE"'
        ran = run("sh", "-c", wrap, sys.executable, env={"CODE": code})
    assert ran.json == {
        "first": ["198.18.0.2"],
        "second": ["198.18.0.3"],
        "mine": ["198.18.0.4"],
        "told": ["a.example", "b.example"],
    }


def test_a_full_network_is_an_error_and_no_other_name():
    def program():
        found = [socket.gethostbyname(f"{name}.example") for name in "ab"]
        refused = outcome(socket.gethostbyname, "c.example")
        rows = socket.getaddrinfo("c.example", 1, type=socket.SOCK_STREAM)
        say(
            found=found,
            refused=refused[0],
            words=refused[2],
            beyond=[row[0] == socket.AF_INET6 for row in rows],
            back=socket.gethostbyaddr(rows[0][4][0])[0],
            still=[socket.gethostbyaddr(each)[0] for each in found],
        )

    said = kernel(
        PROXY,
        program,
        options=("--placeholders", "192.0.2.4/30"),
    )
    words = "each of the 2 addresses of 192.0.2.4/30 stands for a name (--placeholders)"
    assert said == {
        "found": ["192.0.2.5", "192.0.2.6"],
        "refused": "gaierror",
        "words": f"[Errno -10] Memory allocation failure ({words})",
        "beyond": [True],
        "back": "c.example",
        "still": ["a.example", "b.example"],
    }


def full(host, port):
    [socket.gethostbyname(f"{name}.example") for name in "ab"]
    sock = socket.create_connection(("beyond.test", port))
    other = socket.socket()
    other.connect(("named.test", port))
    datagrams = socket.socket(type=socket.SOCK_DGRAM)
    say(
        echoed=[echo(sock), echo(other)],
        peer=other.getpeername(),
        back=[
            outcome(function, other.getpeername())[1]
            for function in (socket.socket().connect, lambda address: datagrams.sendto(b"x", address))
        ],
    )


def test_a_connection_by_name_needs_no_address(echo_server):
    with naming_proxy({"beyond.test": "127.0.0.1", "named.test": "127.0.0.1"}) as proxy:
        where = echo_server.host, echo_server.port
        said = kernel(proxy.url(), full, *where, options=("--placeholders", "192.0.2.4/30"))
        assert [host for _, host, _ in proxy.asked] == ["beyond.test", "named.test"]
    assert said == {
        "echoed": ["hello", "hello"],
        # Where nothing is ever reached.
        "peer": ["192.0.2.4", echo_server.port],
        "back": ["EHOSTUNREACH", "EHOSTUNREACH"],
    }


def ask_in_another_interpreter():
    import json
    import os
    import socket

    try:
        import _interpreters as interpreters
    except ImportError:
        import _xxsubinterpreters as interpreters
    mine = socket.gethostbyname("a.example")
    reading, writing = os.pipe()
    back = f'socket.gethostbyaddr("{mine}")[0]'
    own = 'socket.gethostbyname("b.example")'
    code = f"import os, socket; os.write({writing}, ({own} + ' ' + {back}).encode())"
    interpreters.run_string(interpreters.create(), code)
    own, told = os.read(reading, 100).decode().split()
    print(json.dumps([mine, own, told, socket.gethostbyaddr(own)[0]]))


def test_the_interpreters_of_a_process_have_one_list(interpreter):
    ran = run(*pysocksify("-x", PROXY), interpreter, "-c", source_of(ask_in_another_interpreter))
    assert ran.json == ["198.18.0.1", "198.18.0.2", "a.example", "b.example"]


def kept(host, port):
    import asyncio

    first = socket.gethostbyname("svc.test")
    more = [outcome(socket.gethostbyname, f"{number}.example") for number in range(20)]

    async def by_asyncio():
        reader, writer = await asyncio.open_connection(first, port)
        writer.write(b"hello")
        heard = await reader.readexactly(5)
        writer.close()
        return heard.decode()

    say(
        echoed=[echo(socket.create_connection((first, port))), asyncio.run(by_asyncio())],
        refused=sum(isinstance(each, list) for each in more),
    )


def test_a_kept_address_leads_to_its_own_name_for_ever(echo_server):
    with naming_proxy({"svc.test": "127.0.0.1"}) as proxy:
        where = echo_server.host, echo_server.port
        said = kernel(proxy.url(), kept, *where, options=("--placeholders", "198.51.100.0/28"))
        assert proxy.asked == [("CONNECT", "svc.test", echo_server.port)] * 2
    assert said == {"echoed": ["hello", "hello"], "refused": 7}


def test_getnameinfo_of_numbers_is_the_c_librarys():
    # With the addresses that it asks no server for: the same answers and errors without us.
    def program():
        cases = [
            ("::1", 0, 0xFFFFFFFF),
            ("::1", 0, -10),
            ("::1", 80, 0xFFFFF),
            ("::1", 80, 0, 1),
            ("::1%lo", 80),
            ("fe80::1%lo", 80),
            ("fe80::1", 80, 0, 1),
            ("fe80::1", 80, 0, 9999),
            ("ff02::1:8D", 80, 0, 1),
            ("ff05::1", 80, 0, 1),
            ("::ffff:192.0.2.1", 80, 0, 0),
            ("192.0.2.1", 70000),
            ("192.0.2.1", -1),
            ("192.0.2.1", 80, 0, 0),
            ("192.0.2.1",),
            (),
            ("192.0.2.1", 80, 5, 6, 7),
            ("192.0.2.1", "80"),
            ("127.1", 80),
            (b"192.0.2.1", 80),
            ("192.0.2.1", 80, 0xFFFFFFFFF),
            (None, 80),
            "text",
            7,
        ]
        kinds = [
            socket.NI_NUMERICHOST,
            socket.NI_NUMERICHOST | socket.NI_NUMERICSERV,
            socket.NI_NUMERICHOST | socket.NI_NAMEREQD,
            socket.NI_NUMERICHOST | socket.NI_DGRAM,
            # NI_IDN, and what is no flag.
            socket.NI_NUMERICHOST | 32,
            socket.NI_NUMERICHOST | 1 << 8,
            1 << 30,
            "flags",
        ]

        def told(case, flags):
            try:
                return socket.getnameinfo(case, flags)
            except Exception as err:
                return [type(err).__name__, str(err)]

        print(json.dumps([[repr(case), kind, told(case, kind)] for case in cases for kind in kinds]))

    ours = kernel(PROXY, program)
    theirs = run(sys.executable, "-c", source_of(program)).json
    assert [(one, other) for one, other in zip(ours, theirs, strict=True) if one != other] == []


def test_an_exception_of_getnameinfo_keeps_nothing():
    def program():
        subject = "a text of its own " + str(os.getpid())
        before = sys.getrefcount(subject)
        try:
            socket.getnameinfo(subject, 0)
        except TypeError:
            say(more=sys.getrefcount(subject) - before)

    said = kernel(
        PROXY,
        program,
    )
    assert said == {"more": 0}


def test_what_no_host_can_be_called_is_no_name():
    def program():
        bad = [
            "0.1.1.~1",
            "1+.1.1.1",
            "::1q",
            "::1::2",
            "1:1:1:1:1:1:1:1:1",
            "a b.example",
            "x@y.example",
            "http://example.org",
            "a%b",
        ]
        calls = [
            socket.gethostbyname,
            socket.gethostbyaddr,
            lambda name: socket.getaddrinfo(name, 80),
            lambda name: socket.socket().connect((name, 80)),
            lambda name: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", (name, 80)),
        ]
        say(
            told=sorted({tuple(outcome(call, name)[:2]) for call in calls for name in bad}),
            underscore=socket.gethostbyname("_a-b.example"),
        )

    said = kernel(
        PROXY,
        program,
    )
    assert said == {"told": [["gaierror", -2]], "underscore": "198.18.0.1"}


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs a mount namespace")
def test_names_of_the_hosts_file_are_answered_as_glibc_answers_them(tmp_path):
    hosts = tmp_path / "hosts"
    lines = ("127.0.0.1 localhost", "::1 localhost", "127.0.0.1 four.test alias.test", "::1 six.test")
    more = ("127.0.0.1 both.test", "127.0.0.2 both.test", "::1 both.test", "")
    hosts.write_text("\n".join(lines + more))

    def program():
        names = [
            "localhost",
            "LOCALHOST",
            b"localhost",
            "four.test",
            "alias.test",
            "six.test",
            "both.test",
            None,
            "",
            b"",
            "127.0.0.1",
            "::1",
            "fe80::1%lo",
        ]
        ports = [80, "80", "http", "domain", None, b"http", "nosuch", -1, 70000]
        kinds = [
            (0, 0),
            (socket.SOCK_STREAM, 0),
            (0, socket.IPPROTO_UDP),
            (socket.SOCK_RAW, 0),
            (77, 0),
            (socket.SOCK_STREAM, socket.IPPROTO_UDP),
        ]
        flags = [
            0,
            socket.AI_PASSIVE,
            socket.AI_CANONNAME,
            socket.AI_NUMERICHOST,
            socket.AI_NUMERICSERV,
            socket.AI_V4MAPPED,
            socket.AI_V4MAPPED | socket.AI_ALL,
            socket.AI_ADDRCONFIG,
        ]

        def told(*args):
            try:
                return [[*map(str, row[:3]), *row[3:]] for row in socket.getaddrinfo(*args)]
            except Exception as err:
                return [type(err).__name__, str(err)]

        # Each dimension with the plain value of the others, and families with all.
        answers = {}
        for name in names:
            for family in (0, socket.AF_INET, socket.AF_INET6, 77):
                ways = [(80, family, *kind, flag) for kind in kinds for flag in flags]
                ways += [(port, family, socket.SOCK_STREAM, 0, 0) for port in ports]
                for way in ways:
                    answers[repr((name, *way))] = told(name, *way)
        print(json.dumps(answers))

    script = tmp_path / "ask.py"
    script.write_text(source_of(program))
    # glibc would ask a name server for the other address family.
    switch = tmp_path / "nsswitch.conf"
    switch.write_text("hosts: files\nservices: files\nprotocols: files\n")
    mounts = f'mount --bind {hosts} /etc/hosts && mount --bind {switch} /etc/nsswitch.conf && exec "$@"'
    inside = ("unshare", "-m", "sh", "-c", mounts, "sh")
    theirs = run(*inside, sys.executable, script).json
    ours = run(*inside, *pysocksify("-x", PROXY, "--loopback", "proxy"), sys.executable, script).json

    assert {route: (ours[route], answer) for route, answer in theirs.items() if ours[route] != answer} == {}
