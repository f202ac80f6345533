"""``dns tor`` and ``dns tcp://``: the resolver's functions, and what the other ends were asked."""

from __future__ import annotations

import os
import socket
import sys
import threading

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from pywrap.server.tcp import dial
from tests.support.child import kernel, source_of
from tests.support.datagrams import udp_echo
from tests.support.inside import descriptors, echo, outcome, say, start, wait_writable
from tests.support.name_server import name_server
from tests.support.naming_proxy import naming_proxy
from tests.support.run import pysocksify, run
from tests.support.servers import PATIENCE, reference_server

HERE = "127.0.0.1"

RECORDS = (
    "four.example 60 A 192.0.2.7",
    "four.example 60 A 192.0.2.8",
    "six.example 60 AAAA 2001:db8::7",
    "both.example 60 AAAA 2001:db8::7",
    "both.example 60 A 192.0.2.7",
    "www.example 60 CNAME both.example.",
    "7.2.0.192.in-addr.arpa 60 PTR both.example.",
    # dnspython shuffles what one name has several of.
    "8.2.0.192.in-addr.arpa 60 PTR both.example.",
    "8.2.0.192.in-addr.arpa 60 PTR four.example.",
    "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa 60 PTR six.example.",
    f"here.example 60 A {HERE}",
)


@pytest.fixture
def server():
    with name_server(*RECORDS) as server:
        yield server


def by_tcp(proxy, server, code, *args, options=(), **how):
    """What ``code`` says with ``server`` behind ``proxy`` for names."""
    return kernel(proxy.url(), code, *args, options=("--dns", server.setting, *options), **how)


# ---------------------------------------------------------------- a name server


def test_both_families_are_asked_for_on_one_connection_through_the_proxy(proxy, server):
    said = by_tcp(
        proxy,
        server,
        """
        rows = socket.getaddrinfo("both.example", 443, type=socket.SOCK_STREAM)
        say(rows=[[row[0].name, row[1].name, *row[2:]] for row in rows])
        """,
    )
    assert said["rows"] == [
        ["AF_INET", "SOCK_STREAM", 6, "", ["192.0.2.7", 443]],
        ["AF_INET6", "SOCK_STREAM", 6, "", ["2001:db8::7", 443, 0, 0]],
    ]
    assert server.asked == [("both.example", "A"), ("both.example", "AAAA")]
    assert server.connections == 1
    assert proxy.asked == [("CONNECT", server.host, server.port)]


def test_every_function_finds_the_addresses(proxy, server):
    def program():
        def info(name, port, *args, **kw):
            return [row[4] for row in socket.getaddrinfo(name, port, *args, **kw)]

        stream = socket.SOCK_STREAM
        say(
            four=info("both.example", 1, socket.AF_INET, stream),
            six=info(b"both.example", 1, socket.AF_INET6, stream),
            only_six=info("six.example", 1, type=stream),
            every=len(socket.getaddrinfo("four.example", 443)),
            service=info("six.example", "https", type=stream),
            canonical=socket.getaddrinfo("www.example", 1, flags=socket.AI_CANONNAME)[0][3],
            configured=info("both.example", 1, type=stream, flags=socket.AI_ADDRCONFIG),
            numeric=outcome(socket.getaddrinfo, "both.example", 1, 0, 0, 0, socket.AI_NUMERICHOST)[1],
            dotted=sorted(info("FOUR.example.", 1, type=stream)),
            by_name=socket.gethostbyname("www.example"),
            by_name_ex=socket.gethostbyname_ex("www.example"),
            literal=socket.gethostbyname("192.0.2.1"),
        )

    said = by_tcp(
        proxy,
        server,
        program,
    )
    four, six = ["192.0.2.7", 1], ["2001:db8::7", 1, 0, 0]
    assert said == {
        "four": [four],
        "six": [six],
        "only_six": [six],
        "every": 6,
        "service": [["2001:db8::7", 443, 0, 0]],
        "canonical": "both.example",
        "configured": [four, six],
        "numeric": -2,
        "dotted": [four, ["192.0.2.8", 1]],
        "by_name": "192.0.2.7",
        "by_name_ex": ["both.example", [], ["192.0.2.7"]],
        "literal": "192.0.2.1",
    }


def test_every_function_finds_the_names_of_an_address(proxy, server):
    said = by_tcp(
        proxy,
        server,
        """
        say(
            by_addr=socket.gethostbyaddr("192.0.2.7"),
            two=sorted([(found := socket.gethostbyaddr("192.0.2.8"))[0], *found[1]]),
            six=socket.gethostbyaddr("2001:db8:0::7"),
            mapped=socket.gethostbyaddr("::ffff:192.0.2.7")[0],
            of_name=socket.gethostbyaddr("six.example"),
            info=socket.getnameinfo(("192.0.2.7", 443), 0),
            numeric=socket.getnameinfo(("192.0.2.7", 443), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
            fqdn=socket.getfqdn("192.0.2.7"),
            none=outcome(socket.gethostbyaddr, "192.0.2.9")[:2],
            none_info=socket.getnameinfo(("192.0.2.9", 443), 0),
            needed=outcome(socket.getnameinfo, ("192.0.2.9", 443), socket.NI_NAMEREQD)[:2],
        )
        """,
    )
    assert said == {
        "by_addr": ["both.example", [], ["192.0.2.7"]],
        "two": ["both.example", "four.example"],
        "six": ["six.example", [], ["2001:db8:0::7"]],
        "mapped": "both.example",
        "of_name": ["six.example", [], ["2001:db8::7"]],
        "info": ["both.example", "https"],
        "numeric": ["192.0.2.7", "443"],
        "fqdn": "both.example",
        "none": ["herror", "EPERM"],
        "none_info": ["192.0.2.9", "https"],
        "needed": ["gaierror", -2],
    }
    assert ("2001:db8::7", "PTR") not in server.asked


def test_the_address_is_an_ordinary_destination(proxy, server, echo_server):
    def program(host, port):
        sock = socket.create_connection(("here.example", port))
        named = socket.socket()
        named.connect(("here.example", port))
        later = start("here.example", port)
        say(
            echoed=[echo(sock), echo(named), wait_writable(later)],
            peer=named.getpeername(),
            unknown=outcome(named.connect_ex, ("nowhere.example", port))[:2],
            datagram=outcome(socket.socket(type=socket.SOCK_DGRAM).sendto, b"", ("nowhere.example", 9))[:2],
            six=outcome(socket.socket(socket.AF_INET6).connect, ("four.example", port))[:2],
        )

    said = by_tcp(
        proxy,
        server,
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said == {
        "echoed": ["hello", "hello", 0],
        "peer": [HERE, echo_server.port],
        "unknown": ["gaierror", -2],
        "datagram": ["gaierror", -2],
        "six": ["gaierror", -5],
    }
    asked = [host for _, host, port in proxy.asked if port == echo_server.port]
    assert asked == [HERE] * 3


def test_datagrams_go_to_the_address(proxy, server):
    def program(host, port):
        sock = socket.socket(type=socket.SOCK_DGRAM)
        sock.settimeout(PATIENCE)
        sock.sendto(b"hello", ("here.example", port))
        say(answer=[sock.recvfrom(10)[1], sock.sendto(b"again", ("here.example", port))])

    with udp_echo() as echo:
        said = by_tcp(
            proxy,
            server,
            program,
            *(echo.host, echo.port),
        )
    assert said["answer"] == [[HERE, echo.port], 5]
    assert {peer for peer in proxy.udp_peers} == {(HERE, echo.port)}
    assert [name for name, _ in server.asked] == ["here.example"]


def test_names_that_are_nobodys_business_are_not_asked_for(proxy, server):
    said = by_tcp(
        proxy,
        server,
        """
        say(
            localhost=[socket.gethostbyname("localhost"), socket.gethostbyname("x.localhost")],
            own=socket.gethostbyname(socket.gethostname()).startswith("198.18."),
            onion=socket.gethostbyname("example.onion"),
            blocked=socket.gethostbyname("x.blocked"),
            to_blocked=outcome(socket.create_connection, ("x.blocked", 80))[1],
            its_name=socket.gethostbyaddr(socket.gethostbyname("example.onion"))[0],
            stale=outcome(socket.gethostbyaddr, "198.18.9.9")[0],
            direct=outcome(socket.gethostbyaddr, "10.0.0.1")[0],
            fqdn=socket.getfqdn("10.0.0.1"),
        )
        """,
        options=("--route", "*.blocked block", "--direct", "10.0.0.0/8"),
    )
    assert said == {
        "localhost": [HERE, HERE],
        "own": False,
        "onion": "198.18.0.1",
        "blocked": "198.18.0.2",
        "to_blocked": "EPERM",
        "its_name": "example.onion",
        "stale": "herror",
        "direct": "herror",
        "fqdn": "10.0.0.1",
    }
    assert server.asked == []


def test_a_name_is_asked_for_once_while_it_lasts(proxy):
    def program():
        for name in "long.example", "LONG.example.", "short.example", "short.example":
            socket.gethostbyname(name)
        socket.getaddrinfo("long.example", 80)
        socket.getaddrinfo("long.example", 80)
        say()

    with name_server("long.example 60 A 192.0.2.7", "short.example 0 A 192.0.2.8") as server:
        by_tcp(
            proxy,
            server,
            program,
        )
    assert [name for name, _ in server.asked] == [
        *("long.example", "short.example", "short.example", "long.example", "long.example"),
    ]


def spoiled(how):
    """A spoiler that has ``how`` change each answer before it is written."""

    def spoil(query, answer):
        how(answer)
        return answer.to_wire()

    return spoil


def truncate(answer):
    answer.flags |= dns.flags.TC


SPOILERS = {
    "SERVFAIL": (spoiled(lambda answer: answer.set_rcode(dns.rcode.SERVFAIL)), "EAI_AGAIN", "SERVFAIL"),
    "REFUSED": (spoiled(lambda answer: answer.set_rcode(dns.rcode.REFUSED)), "EAI_FAIL", "REFUSED"),
    "truncated": (spoiled(truncate), "EAI_FAIL", "a garbled answer: marked as truncated"),
    "cut short": (
        lambda query, answer: answer.to_wire()[:-1],
        "EAI_FAIL",
        "a garbled answer: it ends too early",
    ),
    "no DNS": (lambda query, answer: b"HTTP/1.1 400 Bad Request", "EAI_FAIL", "a garbled answer"),
    "hangs up": (lambda query, answer: b"", "EAI_AGAIN", "hung up"),
    "a placeholder": (
        spoiled(
            lambda answer: answer.answer.append(dns.rrset.from_text("x.example.", 9, "IN", "A", "198.18.0.1"))
        ),
        "EAI_FAIL",
        "x.example was answered with 198.18.0.1, a placeholder address",
    ),
}


@pytest.mark.parametrize("kind", SPOILERS)
def test_what_is_wrong_with_an_answer_is_told(proxy, kind):
    spoil, expected, words = SPOILERS[kind]
    with name_server("x.example 60 PTR nothing.", spoil=spoil) as server:
        ran = run(
            *pysocksify("-x", proxy.url(), "--loopback", "proxy", "--dns", server.setting, "-v"),
            *("python", "-c", source_of(raised), "x.example"),
        )
    assert ran.json["number"] == expected
    assert words in ran.err
    assert words in ran.json["text"]


def raised():
    import json
    import socket
    import sys

    names = {getattr(socket, name): name for name in dir(socket) if name.startswith("EAI_")}
    try:
        print(socket.getaddrinfo(sys.argv[1].encode(), 80))
    except socket.gaierror as err:
        print(
            json.dumps({"number": names[err.errno], "text": str(err), "cause": type(err.__cause__).__name__})
        )


def test_what_does_not_exist_is_the_c_librarys_error(proxy, server):
    command = pysocksify("-x", proxy.url(), "--loopback", "proxy", "--dns", server.setting)
    ran = run(*command, "python", "-c", source_of(raised), "nowhere.example")
    assert ran.json == {
        "number": "EAI_NONAME",
        "text": "[Errno -2] Name or service not known",
        "cause": "LookupFailed",
    }
    ran = run(*command, "python", "-c", source_of(raised), "7.2.0.192.in-addr.arpa")
    assert ran.json["text"] == "[Errno -5] No address associated with hostname"
    assert ran.err == ""
    assert run(*command, "python", "-c", source_of(raised), "a" * 64).json["number"] == "EAI_NONAME"


def test_a_server_or_a_proxy_that_does_not_answer(proxy, server, refusing_port, blackhole_proxy):
    for url, setting, limits, words in (
        (proxy.url(), f"tcp://{HERE}:{refusing_port}", (), "connection refused (asked for"),
        (proxy.url(), f"tcp://{HERE}:{blackhole_proxy.port}", ("--timeout", "0.3"), "no answer in time"),
        (f"socks5h://{HERE}:{refusing_port}", server.setting, (), "cannot reach the proxy"),
    ):
        command = pysocksify("-x", url, "--loopback", "proxy", "--dns", setting, *limits)
        ran = run(*command, "python", "-c", source_of(raised), "x.example")
        assert ran.json["number"] == "EAI_AGAIN"
        assert words in ran.json["text"]


def test_one_family_that_fails_leaves_the_other(proxy):
    def spoil(query, answer):
        if query.question[0].rdtype == dns.rdatatype.AAAA:
            answer.set_rcode(dns.rcode.SERVFAIL)
        return answer.to_wire()

    with name_server("x.example 60 A 192.0.2.7", spoil=spoil) as server:
        said = by_tcp(proxy, server, "say(rows=len(socket.getaddrinfo('x.example', 80, type=1)))")
    assert said["rows"] == 1


def test_rules_by_name_find_the_address(tmp_path, echo_server):
    with (
        naming_proxy() as default,
        naming_proxy() as work,
        name_server(f"a.corp 60 A {HERE}", "b.example 60 A 192.0.2.1") as server,
    ):
        config = tmp_path / "work.conf"
        config.write_text(
            f"dns {server.setting}\nloopback proxy\nroute *.corp work\n"
            + f"[ProxyList]\nsocks5 {default.host} {default.port}\n"
            + f"[ProxyList work]\nsocks5 {work.host} {work.port}\n"
        )

        def program():
            import json
            import socket
            import sys

            (row,) = socket.getaddrinfo("a.corp", int(sys.argv[1]), type=socket.SOCK_STREAM)
            sock = socket.create_connection(row[4])
            sock.sendall(b"hello")
            print(json.dumps(sock.recv(5, socket.MSG_WAITALL).decode()))

        ran = run(*pysocksify("-f", config), "python", "-c", source_of(program), str(echo_server.port))
    assert ran.json == "hello"
    assert work.asked == [("CONNECT", server.host, server.port), ("CONNECT", HERE, echo_server.port)]
    assert default.asked == []


ECHO = "say(echoed=echo(socket.create_connection(('here.example', port))))"


def test_the_name_server_can_have_a_name(server, echo_server):
    with naming_proxy({"ns.example": HERE}) as proxy:
        options = ("--dns", f"tcp://ns.example:{server.port}")
        said = kernel(proxy.url(), ECHO, echo_server.host, echo_server.port, options=options)
    assert said == {"echoed": "hello"}
    assert proxy.asked[0] == ("CONNECT", "ns.example", server.port)


@pytest.mark.parametrize("scheme", ["socks4", "http"])
def test_it_needs_no_socks5(scheme, proxy, tinyproxy, server, echo_server):
    url = proxy.url(scheme) if scheme == "socks4" else f"http://{tinyproxy.host}:{tinyproxy.port}"
    said = kernel(url, ECHO, echo_server.host, echo_server.port, options=("--dns", server.setting))
    assert said == {"echoed": "hello"}
    assert server.asked == [("here.example", "A"), ("here.example", "AAAA")]


def test_a_hop_that_is_dead_costs_no_answer(proxy, server, refusing_port):
    dead = f"socks5h://{HERE}:{refusing_port}"
    code = "say(address=socket.gethostbyname('both.example'))"
    options = ("-x", proxy.url(), "--chain-type", "dynamic", "--dns", server.setting)
    assert kernel(dead, code, options=options) == {"address": "192.0.2.7"}


# ---------------------------------------------------------------- Tor


@pytest.fixture
def resolver(monkeypatch):
    """What our server resolves, in place of the machine: name to addresses. Others do not exist."""
    known: dict[str, list[str]] = {}

    def getaddrinfo(host, port, *_):
        if host.decode() not in known:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        families = {True: socket.AF_INET6, False: socket.AF_INET}
        return [
            (families[":" in each], socket.SOCK_STREAM, 6, "", (each, port)) for each in known[host.decode()]
        ]

    monkeypatch.setattr(dial._socket, "getaddrinfo", getaddrinfo)
    return known


TOR = {
    "four.example": "192.0.2.7",
    "six.example": "2001:db8::7",
    "192.0.2.7": "four.example",
    "2001:db8::7": "six.example",
    "192.0.2.8": "\x1b[31m.example",
}


def test_tor_is_asked_for_an_address():
    with naming_proxy(TOR) as proxy:
        said = kernel(
            proxy.url(),
            """
            say(
                info=[row[4] for row in socket.getaddrinfo("four.example", "https", type=socket.SOCK_STREAM)],
                canonical=socket.getaddrinfo("four.example", 1, flags=socket.AI_CANONNAME)[0][3],
                six=socket.getaddrinfo("six.example", 1, socket.AF_INET6)[0][4][0],
                not_six=outcome(socket.getaddrinfo, "four.example", 1, socket.AF_INET6)[:2],
                not_four=outcome(socket.gethostbyname, "six.example")[:2],
                by_name_ex=socket.gethostbyname_ex("four.example"),
                none=outcome(socket.gethostbyname, "nowhere.example"),
                onion=socket.gethostbyname("example.onion"),
            )
            """,
            options=("--dns", "tor"),
        )
    assert said == {
        "info": [["192.0.2.7", 443]],
        "canonical": "four.example",
        "six": "2001:db8::7",
        "not_six": ["gaierror", -5],
        "not_four": ["gaierror", -5],
        "by_name_ex": ["four.example", [], ["192.0.2.7"]],
        "none": ["gaierror", -2, "[Errno -2] Name or service not known"],
        "onion": "198.18.0.1",
    }
    assert {command for command, _, _ in proxy.asked} == {"RESOLVE"}
    assert "example.onion" not in {host for _, host, _ in proxy.asked}
    # Remembered, whatever was asked for.
    assert [host for _, host, _ in proxy.asked].count("four.example") <= 3


def test_tor_is_asked_for_a_name():
    with naming_proxy(TOR) as proxy:
        said = kernel(
            proxy.url(),
            """
            say(
                by_addr=socket.gethostbyaddr("192.0.2.7"),
                six=socket.getnameinfo(("2001:db8::7", 80, 0, 0), socket.NI_NUMERICSERV),
                fqdn=socket.getfqdn("192.0.2.7"),
                evil=outcome(socket.gethostbyaddr, "192.0.2.8")[0],
                none=outcome(socket.gethostbyaddr, "192.0.2.9")[0],
            )
            """,
            options=("--dns", "tor"),
        )
    assert said == {
        "by_addr": ["four.example", [], ["192.0.2.7"]],
        "six": ["six.example", "80"],
        "fqdn": "four.example",
        "evil": "herror",
        "none": "herror",
    }
    assert proxy.asked[:2] == [("RESOLVE_PTR", "192.0.2.7", 0), ("RESOLVE_PTR", "2001:db8::7", 0)]


@pytest.mark.parametrize("scheme", ["socks5h", "socks4a"])
def test_the_last_hop_of_a_chain_is_asked(scheme, proxy):
    with naming_proxy(TOR) as last:
        said = kernel(
            proxy.url(),
            """
            say(address=socket.gethostbyname("four.example"),
                none=outcome(socket.gethostbyname, "x.example")[1])
            """,
            options=("-x", last.url(scheme), "--dns", "tor"),
        )
    assert said == {"address": "192.0.2.7", "none": -2}
    assert proxy.asked == [("CONNECT", last.host, last.port)] * 2
    assert last.asked == [("RESOLVE", "four.example", 0), ("RESOLVE", "x.example", 0)]


@pytest.mark.parametrize("pipeline", ["off", "on"])
def test_our_server_looks_names_up(pipeline, proxy, resolver):
    resolver.update({"four.example": ["192.0.2.7"], "six.example": ["2001:db8::7"]})
    said = kernel(
        proxy.url(),
        """
        say(found=[socket.getaddrinfo(name, 80)[0][4][0] for name in ("four.example", "six.example")],
            none=outcome(socket.gethostbyname, "nowhere.invalid")[1])
        """,
        options=("--dns", "tor", "--pipeline", pipeline),
    )
    assert said == {"found": ["192.0.2.7", "2001:db8::7"], "none": -2}
    assert [(record.command, record.host, record.outcome == "") for record in proxy.seen] == [
        *(("RESOLVE", "four.example", True), ("RESOLVE", "six.example", True)),
        ("RESOLVE", "nowhere.invalid", False),
    ]


def test_a_proxy_that_does_not_know_the_command_is_told_of_once(microsocks):
    command = pysocksify("-x", f"socks5h://{microsocks.host}:{microsocks.port}", "--dns", "tor")

    def program():
        import socket

        for name in "a.example", "b.example":
            try:
                socket.gethostbyname(name)
            except socket.gaierror as err:
                print(err.errno == socket.EAI_FAIL)

    ran = run(*command, "python", "-c", source_of(program))
    assert ran.out == "True\nTrue\n"
    (line,) = ran.err.splitlines()
    assert "command not supported by the proxy (asked to resolve a.example)" in line


@pytest.mark.parametrize(
    "scheme, kind", [("http", "HTTP CONNECT has no RESOLVE"), ("raw", "a raw hop has no")]
)
def test_a_hop_that_has_no_such_command(scheme, kind, proxy):
    code = "say(failed=outcome(socket.gethostbyname, 'a.example')[1:])"
    said = kernel(f"{scheme}://{proxy.host}:{proxy.port}", code, options=("--dns", "tor"))
    number, text = said["failed"]
    assert number == -4 and kind in text


# ---------------------------------------------------------------- real ones


def test_dnsmasq_is_understood(proxy, dnsmasq):
    said = kernel(
        proxy.url(),
        """
        say(
            both=[row[4][0] for row in socket.getaddrinfo("both.example", 80, type=socket.SOCK_STREAM)],
            alias=socket.gethostbyname_ex("www.example"),
            name=socket.gethostbyaddr("192.0.2.8"),
            six=socket.gethostbyaddr("2001:db8::7")[0],
            nodata=outcome(socket.getaddrinfo, "four.example", 80, socket.AF_INET6)[1],
            none=outcome(socket.gethostbyname, "nowhere.example")[1],
            nobodys=outcome(socket.gethostbyname, "nowhere.test")[1],
        )
        """,
        options=("--dns", f"tcp://{dnsmasq.host}:{dnsmasq.port}"),
    )
    assert said == {
        "both": ["192.0.2.7", "2001:db8::7"],
        "alias": ["both.example", [], ["192.0.2.7"]],
        "name": ["four.example", [], ["192.0.2.8"]],
        "six": "both.example",
        "nodata": -5,
        "none": -2,
        # It has no server to ask, and says REFUSED.
        "nobodys": -4,
    }
    assert {asked for asked in proxy.asked} == {("CONNECT", dnsmasq.host, dnsmasq.port)}


def test_tor_is_understood(tor):
    code = "say(found=[socket.getaddrinfo(name, 80)[0][4][0] for name in ('four.example', 'six.example')])"
    said = kernel(f"socks5h://{tor.host}:{tor.port}", code, options=("--dns", "tor"))
    assert said == {"found": ["192.0.2.7", "2001:db8::7"]}


# ---------------------------------------------------------------- what waits


@pytest.fixture
def patient_server():
    """Answers for held.example when it is asked for release.example as well."""
    released = threading.Event()

    def spoil(query, answer):
        if "release" in query.question[0].name.to_text():
            released.set()
            return answer.to_wire()
        return answer.to_wire() if released.wait(PATIENCE) else b""

    with name_server("held.example 60 A 192.0.2.7", "release.example 60 A 192.0.2.8", spoil=spoil) as server:
        yield server


def ways_threads():
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor() as pool:
        held = pool.submit(socket.gethostbyname, "held.example")
        say(release=socket.gethostbyname("release.example"), held=held.result())


def ways_asyncio():
    import asyncio

    async def find(name):
        return (await asyncio.get_running_loop().getaddrinfo(name, 80))[0][4][0]

    async def main():
        held = asyncio.create_task(find("held.example"))
        await asyncio.sleep(0)
        say(release=await find("release.example"), held=await held)

    asyncio.run(main())


def ways_trio():
    import trio

    async def find(name):
        found[name.partition(".")[0]] = (await trio.socket.getaddrinfo(name, 80))[0][4][0]

    async def main():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(find, "held.example")
            await trio.lowlevel.checkpoint()
            await find("release.example")

    found = {}
    trio.run(main)
    say(**found)


def ways_gevent():
    from gevent import monkey

    monkey.patch_all()
    import gevent

    held = gevent.spawn(socket.gethostbyname, "held.example")
    gevent.sleep(0)
    say(release=socket.gethostbyname("release.example"), held=held.get())


def ways_twisted():
    from twisted.internet import defer, task

    async def main(reactor):
        held = defer.ensureDeferred(defer.maybeDeferred(reactor.resolve, "held.example"))
        say(release=await reactor.resolve("release.example"), held=await held)

    task.react(lambda reactor: defer.ensureDeferred(main(reactor)))


WAYS = {
    "threads": ways_threads,
    "asyncio": ways_asyncio,
    "trio": ways_trio,
    "gevent": ways_gevent,
    "twisted": ways_twisted,
}


@pytest.mark.parametrize("route", WAYS)
def test_others_go_on_while_a_name_is_looked_up(route, proxy, patient_server):
    said = by_tcp(proxy, patient_server, WAYS[route])
    assert said == {"release": "192.0.2.8", "held": "192.0.2.7"}


def test_a_child_after_fork_asks_as_well(proxy, server):
    def program():
        socket.gethostbyname("both.example")
        pid = os.fork()
        if pid == 0:
            found = socket.gethostbyname("both.example"), socket.gethostbyname("here.example")
            os._exit(0 if found == ("192.0.2.7", "127.0.0.1") else 1)
        say(status=os.waitpid(pid, 0)[1])

    said = by_tcp(
        proxy,
        server,
        program,
    )
    assert said == {"status": 0}
    # What was known before is known to the child.
    assert [name for name, _ in server.asked] == ["both.example", "here.example"]


def test_no_descriptor_is_left_behind(proxy, server):
    def program():
        before = descriptors()
        for name in "both.example", "nowhere.example":
            outcome(socket.getaddrinfo, name, 80)
        say(left=[fd for fd in descriptors() if fd not in before])

    said = by_tcp(
        proxy,
        server,
        program,
    )
    assert said == {"left": []}


def test_without_a_descriptor_it_fails_for_now(proxy, server):
    def program():
        import resource

        socket.gethostbyname("both.example")
        highest = max(map(int, descriptors()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))
        while isinstance(outcome(os.dup, 0), int):
            pass
        say(failed=outcome(socket.gethostbyname, "four.example")[1])

    said = by_tcp(
        proxy,
        server,
        program,
    )
    assert said == {"failed": -3}


# ---------------------------------------------------------------- chains


def test_a_name_is_asked_for_through_its_own_chain(tmp_path):
    """Others do not know it, and need not learn that it exists."""
    ours = {"a.example": "192.0.2.7"}
    work = {"x.corp.example": "198.51.100.9", "198.51.100.9": "x.corp.example"}
    code = (
        "import socket; print(socket.gethostbyname('a.example'), socket.gethostbyname('x.corp.example'),"
        " *socket.gethostbyaddr('198.51.100.9')[:1])"
    )
    with naming_proxy(ours) as first, naming_proxy(work) as second:
        file = tmp_path / "pysocksify.conf"
        file.write_text(
            "dns tor\nroute *.corp.example,198.51.100.0/24 work\nroute *:25 block\n"
            f"[ProxyList]\nsocks5 {first.host} {first.port}\n"
            f"[ProxyList work]\nsocks5 {second.host} {second.port}\n"
        )
        assert run(*pysocksify("-f", file), sys.executable, "-c", code).out.split() == [
            *("192.0.2.7", "198.51.100.9", "x.corp.example"),
        ]
        assert first.asked == [("RESOLVE", "a.example", 0)]
        assert second.asked == [("RESOLVE", "x.corp.example", 0), ("RESOLVE_PTR", "198.51.100.9", 0)]


def test_a_name_server_is_asked_through_the_chain_of_the_name(tmp_path, server):
    with reference_server() as first, reference_server() as second:
        file = tmp_path / "pysocksify.conf"
        file.write_text(
            f"dns {server.setting}\nroute four.example,2001:db8::/32 work\n"
            f"[ProxyList]\nsocks5 {first.host} {first.port}\n"
            f"[ProxyList work]\nsocks5 {second.host} {second.port}\n"
        )
        code = (
            "import socket; print(socket.gethostbyname('both.example'), socket.gethostbyname('four.example'),"
            " *socket.gethostbyaddr('2001:db8::7')[:1])"
        )
        assert run(*pysocksify("-f", file), sys.executable, "-c", code).out.split()[2] == "six.example"
        asked = ("CONNECT", server.host, server.port)
        assert (first.asked, second.asked) == ([asked], [asked, asked])
