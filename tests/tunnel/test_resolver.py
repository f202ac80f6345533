"""What is remembered, and what becomes of each failure, by sources that are told what to say."""

from __future__ import annotations

import contextlib
import errno
import socket

import pytest

from pywrap.errors import (
    AuthenticationFailed,
    Failure,
    ProtocolError,
    ProxyTimeout,
    Rejected,
    SocksError,
    Unencodable,
)
from pywrap.socks import dns, v4, v5
from pywrap.socks.wire import Endpoint
from pywrap.tunnel import lookups, resolver
from pywrap.tunnel.lookups import LookupFailed
from pywrap.tunnel.resolver import Found, NameServer, Resolver, Tor
from tests.support.play import Party

BOTH = Found(("192.0.2.7", "2001:db8::7"), "web.example", 60)
SERVER = Endpoint("192.0.2.53", 53)
FOUR = Found(("192.0.2.7",), "web.example", 60)


class Source:
    """Answers each question with the next of ``answers``."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def addresses(self, name, ipv6):
        self.asked.append((name, ipv6))
        return self.next()

    def names(self, address):
        self.asked.append(address)
        return self.next()

    def next(self):
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@contextlib.contextmanager
def error(number):
    """A ``LookupFailed`` of that number is raised."""
    with pytest.raises(LookupFailed) as caught:
        yield caught
    assert caught.value.errno == number


# ---------------------------------------------------------------- memory


def test_an_answer_is_remembered_for_its_time(clock):
    source = Source(BOTH, FOUR)
    it = Resolver(source, clock)
    assert it.addresses("x.example") == BOTH
    clock.now += 59.9
    assert it.addresses("X.example.") == BOTH
    clock.now += 0.2
    assert it.addresses("x.example") == FOUR
    assert source.asked == [("x.example", None)] * 2


def test_both_families_answer_for_either(clock):
    it = Resolver(Source(BOTH), clock)
    it.addresses("x.example")
    assert it.addresses("x.example", True).values == ("2001:db8::7",)
    assert it.addresses("x.example", False).values == ("192.0.2.7",)


def test_one_family_does_not_answer_for_both(clock):
    source = Source(FOUR, BOTH)
    it = Resolver(source, clock)
    assert it.addresses("x.example", False) == it.addresses("x.example", False) == FOUR
    assert it.addresses("x.example") == BOTH
    assert source.asked == [("x.example", False), ("x.example", None)]


def test_a_family_that_is_not_there(clock):
    it = Resolver(Source(FOUR), clock)
    with error(socket.EAI_NODATA):
        it.addresses("x.example", True)


def test_names_are_remembered_apart_from_addresses(clock):
    source = Source(Found(("x.example",), "", 60))
    it = Resolver(source, clock)
    assert it.names(b"\xc0\x00\x02\x07") == it.names(b"\xc0\x00\x02\x07")
    assert source.asked == [b"\xc0\x00\x02\x07"]


def test_nothing_is_remembered_of_a_failure_nor_for_no_time(clock):
    source = Source(ProxyTimeout("late"), Found(("192.0.2.7",), "", 0), FOUR)
    it = Resolver(source, clock)
    with error(socket.EAI_AGAIN):
        it.addresses("x.example")
    it.addresses("x.example")
    it.addresses("x.example")
    assert len(source.asked) == 3


def test_no_answer_lasts_longer_than_an_hour(clock):
    source = Source(Found(("192.0.2.7",), "", 1 << 31), FOUR)
    it = Resolver(source, clock)
    it.addresses("x.example")
    clock.now += 3601
    it.addresses("x.example")
    assert len(source.asked) == 2


def test_memory_is_bounded(clock, monkeypatch):
    monkeypatch.setattr(resolver, "MOST", 4)
    source = Source(*[BOTH] * 6)
    it = Resolver(source, clock)
    for name in "abcde":
        it.addresses(name)
    # The older half is forgotten.
    assert len(it._known) == 3
    it.addresses("e")
    it.addresses("a")
    assert source.asked[-2:] == [("e", None), ("a", None)]


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("failure", "number"),
    [
        (Unencodable("too long", errno.EINVAL), socket.EAI_NONAME),
        (Unencodable("no such command", errno.EOPNOTSUPP), socket.EAI_FAIL),
        (ProtocolError("garbled"), socket.EAI_FAIL),
        (AuthenticationFailed("no"), socket.EAI_FAIL),
        (ProxyTimeout("late"), socket.EAI_AGAIN),
        (Rejected("refused", errno.ECONNREFUSED, 5), socket.EAI_AGAIN),
        (SocksError("cannot reach the proxy"), socket.EAI_AGAIN),
        (OSError(errno.EMFILE, "Too many open files"), socket.EAI_AGAIN),
    ],
)
def test_a_failure_is_an_error_of_getaddrinfo(failure, number):
    with error(number) as caught:
        Resolver(Source(failure)).addresses("x.example")
    assert caught.value.__cause__ is failure
    assert str(failure) in str(caught.value)


def test_the_program_gets_the_errors_of_the_c_library():
    with pytest.raises(socket.gaierror) as real:
        socket.getaddrinfo("x", None, flags=socket.AI_NUMERICHOST)
    assert str(LookupFailed("x", socket.EAI_NONAME).as_gaierror()) == str(real.value)
    assert str(LookupFailed("late", socket.EAI_AGAIN).as_gaierror()) == (
        f"[Errno {socket.EAI_AGAIN}] Temporary failure in name resolution (late)"
    )
    assert [
        LookupFailed("x", number).as_herror().args
        for number in (socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_AGAIN, socket.EAI_FAIL)
    ] == [
        *((1, "Unknown host"), (1, "Unknown host")),
        *((2, "Host name lookup failure"), (3, "Unknown server error")),
    ]


# ---------------------------------------------------------------- sources


def refusing(failure):
    def converse(about, destination, command, then):
        raise failure

    return converse


def refusal(code, dead=None):
    return Rejected("refused", errno.EHOSTUNREACH, code).copy(failure=Failure(dead, dead))


@pytest.mark.parametrize(
    ("code", "number"),
    [
        (v5.HOST_UNREACHABLE, socket.EAI_NONAME),
        (v4.REJECTED, socket.EAI_NONAME),
        (v5.TTL_EXPIRED, socket.EAI_AGAIN),
        (v5.COMMAND_NOT_SUPPORTED, socket.EAI_FAIL),
        (v5.NOT_ALLOWED, socket.EAI_FAIL),
    ],
)
def test_what_tor_refuses(code, number):
    with error(number):
        Tor(refusing(refusal(code))).addresses("x.example", None)


def test_a_hop_that_does_not_reach_tor_says_nothing_about_the_name():
    failure = refusal(v5.HOST_UNREACHABLE, dead=object())
    with error(socket.EAI_AGAIN):
        Resolver(Tor(refusing(failure))).addresses("x.example")


def test_tor_that_answers_something_else():
    def converse(about, destination, command, then):
        return Endpoint("name.example" if command == v5.RESOLVE else "192.0.2.1", 0)

    it = Resolver(Tor(converse))
    with error(socket.EAI_FAIL):
        it.addresses("x.example")
    with error(socket.EAI_NONAME):
        it.names(b"\xc0\x00\x02\x07")


@pytest.fixture
def says(monkeypatch):
    """Has a name server say these ``dns.Answer``s; returns it and the questions that it gets."""

    def converse(about, destination, command, then):
        assert (destination, command) == (SERVER, v5.CONNECT)
        Party(then()).hear(b"")
        return destination

    def make(*answers):
        hop_probes = []

        def ask(name, kinds):
            hop_probes.append((name, kinds))
            yield from ()
            return list(answers)

        monkeypatch.setattr(resolver.dns, "ask", ask)
        return NameServer(SERVER, converse), hop_probes

    return make


A4 = dns.Answer(dns.NO_ERROR, ("192.0.2.7",), "a.example", 60)
A6 = dns.Answer(dns.NO_ERROR, ("2001:db8::7",), "a.example", 30)
NOTHING = dns.Answer(dns.NO_ERROR)
NO_NAME = dns.Answer(dns.NAME_ERROR)
FAILED, REFUSED = dns.Answer(dns.SERVER_FAILURE), dns.Answer(5)


@pytest.mark.parametrize(
    ("answers", "values", "seconds"),
    [
        ((A4, A6), ("192.0.2.7", "2001:db8::7"), 30),
        ((A4, NOTHING), ("192.0.2.7",), 60),
        ((NOTHING, A6), ("2001:db8::7",), 30),
        ((A4, FAILED), ("192.0.2.7",), 0),
    ],
)
def test_the_families_together(says, answers, values, seconds):
    server, hop_probes = says(*answers)
    assert server.addresses("x.example", None) == Found(values, "a.example", seconds)
    assert hop_probes == [("x.example", (dns.A, dns.AAAA))]


@pytest.mark.parametrize(
    ("answers", "number", "words"),
    [
        ((NO_NAME, NO_NAME), socket.EAI_NONAME, "x.example does not exist"),
        ((NOTHING, NOTHING), socket.EAI_NODATA, "nothing about x.example"),
        ((NOTHING, FAILED), socket.EAI_AGAIN, "SERVFAIL (asked for x.example)"),
        ((REFUSED, REFUSED), socket.EAI_FAIL, "REFUSED (asked for x.example)"),
        ((dns.Answer(9), NOTHING), socket.EAI_FAIL, "RCODE 9 (asked for x.example)"),
    ],
)
def test_the_failures_together(says, answers, number, words):
    server, _ = says(*answers)
    with error(number) as caught:
        server.addresses("x.example", None)
    assert str(caught.value) == f"name server 192.0.2.53:53: {words}"


@pytest.mark.parametrize(("ipv6", "kind"), [(False, dns.A), (True, dns.AAAA)])
def test_one_family_alone_is_one_question(says, ipv6, kind):
    server, hop_probes = says(A4)
    server.addresses("x.example", ipv6)
    assert hop_probes == [("x.example", (kind,))]


def test_the_setting_names_the_source():
    assert resolver.lookup("remote", refusing(None)) is None
    assert resolver.lookup("local", refusing(None)) is None
    assert isinstance(resolver.lookup("tor", refusing(None))._source, Tor)
    for setting, server in (
        ("tcp://192.0.2.53:53", Endpoint("192.0.2.53", 53)),
        ("tcp://[2001:db8::53]:5353", Endpoint("2001:db8::53", 5353)),
        ("tcp://ns.example:53", Endpoint("ns.example", 53)),
    ):
        assert resolver.lookup(setting, refusing(None))._source._server == server


@pytest.mark.parametrize(
    ("name", "expected"), [("x.onion", False), ("X.ONION.", False), ("onion", True), ("x.onion.org", True)]
)
def test_onions_have_no_addresses(name, expected):
    assert lookups.has_addresses(name) is expected
