"""One tunnel on a real socket, to a proxy that plays a script: the state machine and its waiter."""

from __future__ import annotations

import _thread
import errno
import queue
import select
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pywrap.config.settings import Chain, Proxy, Settings
from pywrap.errors import ProtocolError, ProxyClosed, ProxyTimeout, Rejected, SocksError
from pywrap.intercept.lock import Lock
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint
from pywrap.tunnel import deadline
from pywrap.tunnel.attempt import TunnelAttempt, wait_for
from pywrap.tunnel.background import Background, Task
from pywrap.tunnel.deadline import Deadline
from pywrap.tunnel.hops import Hops
from pywrap.tunnel.retry_policy import RetryPolicy
from pywrap.tunnel.selection import Dynamic, Fixed
from tests.support.scripted import CHOICE, GREETING, PATIENCE, REPLY, REQUEST, scripted

TARGET = Endpoint("example.org", 443)
MS = 0.001


def new_opening(sock, proxy, program=None, getaddrinfo=socket.getaddrinfo, **limits):
    """An ``TunnelAttempt`` on ``sock``; ``proxy`` is a (host, port)."""
    settings = Settings(**{"timeout": PATIENCE, **limits})
    plan = RetryPolicy(Hops(getaddrinfo), Fixed((Proxy("socks5h", *proxy),)), TARGET)
    sock.setblocking(False)
    return TunnelAttempt(sock, plan, Deadline(settings, program))


def open_through(proxy, sock=None, **how):
    """Open a tunnel in this thread."""
    sock = sock or socket.socket()
    try:
        return wait_for(new_opening(sock, proxy, **how), select.poll)
    except BaseException:
        sock.close()
        raise


def test_what_follows_the_reply_stays_in_the_socket():
    with scripted(len(GREETING), CHOICE, len(REQUEST), REPLY + b"SSH-2.0-server", None) as proxy:
        with open_through((proxy.host, proxy.port)) as sock:
            sock.settimeout(PATIENCE)
            assert sock.recv(100) == b"SSH-2.0-server"
    assert proxy.received == [GREETING + REQUEST]


def test_each_message_is_one_segment():
    # microsocks wants it so: nothing of the request before the answer to the greeting.
    with scripted(100, None) as proxy:
        with socket.socket() as sock:
            attempt = new_opening(sock, (proxy.host, proxy.port))
            if not attempt.start():
                select.select([], [sock], [], PATIENCE)
                attempt.advance()
            assert attempt.wants == select.POLLIN
            assert not attempt.advance()
    assert proxy.received == [GREETING]


def test_a_reply_one_byte_at_a_time():
    script = [len(GREETING), *(bytes([byte]) for byte in CHOICE), len(REQUEST)]
    script += [bytes([byte]) for byte in REPLY]
    with scripted(*script, None) as proxy, open_through((proxy.host, proxy.port)) as sock:
        assert sock.getpeername() == (proxy.host, proxy.port)


@pytest.mark.parametrize("cut", range(len(CHOICE + REPLY)))
def test_a_proxy_that_hangs_up_anywhere_is_a_reset(cut):
    choice, reply = CHOICE[:cut], REPLY[: max(0, cut - len(CHOICE))]
    script = [len(GREETING), choice, *([len(REQUEST), reply] if cut >= len(CHOICE) else [])]
    with scripted(*script) as proxy, pytest.raises(ProxyClosed) as caught:
        open_through((proxy.host, proxy.port))
    assert caught.value.errno == errno.ECONNRESET
    assert f"proxy {proxy.host}:{proxy.port}" in str(caught.value)


def test_a_reset_in_the_handshake_is_a_reset():
    with scripted(len(GREETING), "RESET") as proxy, pytest.raises(ProxyClosed) as caught:
        open_through((proxy.host, proxy.port))
    assert caught.value.errno == errno.ECONNRESET


def test_a_refusal_without_the_rest_of_it():
    with (
        scripted(len(GREETING), CHOICE, len(REQUEST), b"\x05\x03") as proxy,
        pytest.raises(Rejected) as caught,
    ):
        open_through((proxy.host, proxy.port))
    assert caught.value.errno == errno.ENETUNREACH


def test_an_http_server_is_recognised():
    with scripted(len(GREETING), b"HTTP/1.1 400 Bad Request\r\n\r\n") as proxy:
        with pytest.raises(ProtocolError, match="HTTP") as caught:
            open_through((proxy.host, proxy.port))
    assert caught.value.errno == errno.EPROTO


def test_a_proxy_that_is_not_there_is_the_kernels_errno_and_named(refusing_port):
    with pytest.raises(SocksError, match=f"cannot reach the proxy 127.0.0.1:{refusing_port}") as caught:
        open_through(("127.0.0.1", refusing_port))
    assert caught.value.errno == errno.ECONNREFUSED


def test_a_silent_proxy_ends_at_the_read_timeout():
    with scripted(len(GREETING), None) as proxy, pytest.raises(ProxyTimeout, match="no answer") as caught:
        open_through((proxy.host, proxy.port), read_timeout=50 * MS)
    assert caught.value.errno == errno.ETIMEDOUT


def test_a_trickling_proxy_ends_at_the_timeout_of_the_whole():
    with scripted(len(GREETING), CHOICE[:1], None) as proxy, pytest.raises(ProxyTimeout):
        open_through((proxy.host, proxy.port), timeout=50 * MS)


def test_the_programs_own_timeout_is_worded_as_pythons():
    with scripted(len(GREETING), None) as proxy, pytest.raises(TimeoutError, match="^timed out$") as caught:
        open_through((proxy.host, proxy.port), program=50 * MS)
    assert caught.value.errno is None


def test_the_next_address_of_the_proxy_is_tried(refusing_port):
    def two(host, port, *_):
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", refusing_port)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", proxy.port)),
        ]

    with scripted(len(GREETING), CHOICE, len(REQUEST), REPLY, None) as proxy:
        with open_through(("proxy.example", 1080), getaddrinfo=two) as sock:
            assert sock.getpeername() == ("127.0.0.1", proxy.port)


def test_an_address_that_does_not_answer_is_left_for_the_next():
    # A listener whose queue is full answers no SYN.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())

        def two(host, port, *_):
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", full.getsockname()),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", proxy.port)),
            ]

        with scripted(len(GREETING), CHOICE, len(REQUEST), REPLY, None) as proxy:
            given = socket.socket()
            found = open_through(
                ("proxy.example", 1080), sock=given, getaddrinfo=two, connect_timeout=100 * MS
            )
            assert found.getpeername() == ("127.0.0.1", proxy.port)
            found.close()
            given.close()
        for sock in waiting:
            sock.close()


def test_a_proxys_name_that_does_not_resolve_is_named():
    def none(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with pytest.raises(SocksError, match="cannot resolve the proxy proxy.example:1080: Name or") as caught:
        open_through(("proxy.example", 1080), getaddrinfo=none)
    assert caught.value.errno == errno.EHOSTUNREACH


# ---------------------------------------------------------------- other ways

OK = (len(GREETING), CHOICE, len(REQUEST), REPLY)


class Chained:
    """Openings through a dynamic chain of scripted proxies, as one process makes them."""

    def __init__(self, *places, pipeline="off", fast_open=False, scheme="socks5h"):
        self.hops = Hops(socket.getaddrinfo)
        self.proxies = tuple(Proxy(scheme, *place) for place in places)
        self.options = pipeline, fast_open

    def attempt(self, sock, program=None, **limits):
        settings = Settings(**{"timeout": PATIENCE, **limits})
        choice = Dynamic(Chain(self.proxies, type="dynamic"), self.hops)
        plan = RetryPolicy(self.hops, choice, TARGET, v5.CONNECT, *self.options)
        sock.setblocking(False)
        return TunnelAttempt(sock, plan, Deadline(settings, program))

    def open(self, **limits):
        """Open a tunnel in this thread; return the attempt."""
        given = socket.socket()
        attempt = self.attempt(given, **limits)
        try:
            wait_for(attempt, select.poll)
        except BaseException:
            given.close()
            raise
        if attempt.sock is not given:
            given.close()
        return attempt


@pytest.fixture
def in_thread():
    """``in_thread(attempt)``: what the background thread reports of it."""
    background = Background(_thread.start_new_thread, Lock, select.epoll)
    near, far = socket.socketpair()

    def run(make):
        reported = queue.SimpleQueue()
        background.submit(Task(make, lambda *report: reported.put(report), far.fileno()))
        return reported.get(timeout=PATIENCE)

    with near, far:
        yield run


def test_a_dead_first_hop_is_left_out(refusing_port):
    with scripted(*OK, None) as proxy:
        chained = Chained(("127.0.0.1", refusing_port), (proxy.host, proxy.port))
        attempt = chained.open()
        with attempt.sock as sock:
            assert sock.getpeername() == (proxy.host, proxy.port)
            assert attempt.path == chained.proxies[1:]
        assert chained.hops.is_dead(chained.proxies[0])


def test_also_in_the_background(refusing_port, in_thread):
    with scripted(len(GREETING)) as hanging_up, scripted(*OK, None) as proxy:
        places = ("127.0.0.1", refusing_port), (hanging_up.host, hanging_up.port), (proxy.host, proxy.port)
        chained = Chained(*places)
        with socket.socket() as given:
            attempt, error = in_thread(lambda: chained.attempt(given))
            assert error is None
            with attempt.sock as sock:
                assert sock.getpeername() == (proxy.host, proxy.port)
                assert sock is not given
                # Nobody goes on talking on the one that was given up.
                with pytest.raises(OSError):
                    given.send(b"!")


def test_a_silent_first_hop_has_a_part_of_the_time():
    with scripted(None) as silent, scripted(*OK, None) as proxy:
        chained = Chained((silent.host, silent.port), (proxy.host, proxy.port))
        attempt = chained.open(timeout=400 * MS)
        attempt.sock.close()
        assert attempt.path == chained.proxies[1:]


def test_options_of_the_programs_socket_are_those_of_the_next(refusing_port, in_thread):
    with scripted(len(GREETING), b"HTTP") as no_socks, scripted(*OK, None) as proxy:
        chained = Chained((no_socks.host, no_socks.port), (proxy.host, proxy.port))
        with socket.socket() as given:
            given.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            attempt, _ = in_thread(lambda: chained.attempt(given))
            with attempt.sock as sock:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_the_last_error_is_the_one_that_is_told(refusing_port):
    with scripted(len(GREETING), b"HTTP/1.1") as no_socks:
        chained = Chained(("127.0.0.1", refusing_port), (no_socks.host, no_socks.port))
        with pytest.raises(ProtocolError, match=f"proxy 127.0.0.1:{no_socks.port}: not a SOCKS5 proxy"):
            chained.open()


def test_a_refused_destination_is_asked_for_once():
    refusal = b"\x05\x05\x00\x01" + b"\x00\x00\x00\x00" + b"\x00\x00"
    ask_next = b"\x05\x01\x00\x01" + b"\x7f\x00\x00\x01" + b"\x00\x00"
    script = len(GREETING), CHOICE, len(ask_next), REPLY, len(GREETING), CHOICE, len(REQUEST), refusal
    with scripted(*script) as proxy:
        chained = Chained((proxy.host, proxy.port), ("127.0.0.1", 9))
        with pytest.raises(Rejected, match="hop 2 of 2, proxy 127.0.0.1:9: connection refused"):
            chained.open()
    assert len(proxy.received) == 1


def test_when_the_time_is_over_no_other_way_is_tried():
    with scripted(None) as silent, scripted(*OK, None) as proxy:
        chained = Chained((silent.host, silent.port), (proxy.host, proxy.port))
        with socket.socket() as sock, pytest.raises(ProxyTimeout, match=f":{silent.port}: no answer"):
            attempt = chained.attempt(sock, timeout=50 * MS)
            attempt.start()
            while attempt.wants != select.POLLIN:
                select.select([], [sock], [], PATIENCE)
                attempt.advance()
            while not attempt.deadline.ended:
                select.select([], [], [], attempt.deadline.remaining())
            attempt.expire()
        assert attempt.sock is sock
    assert proxy.received == []


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(deadline, "monotonic", lambda: Clock.now)
    return Clock


@pytest.mark.parametrize(
    ("script", "waited", "dead"),
    [
        ((None,), 3, 0),
        ((len(GREETING), CHOICE, 10, REPLY[:1], None), 3, 1),
        # A program that races several connections has nothing against the losers.
        ((None,), 1, None),
    ],
)
def test_a_hop_that_kept_the_program_waiting_until_it_gave_up_is_dead(script, waited, dead, clock):
    with scripted(*script) as silent:
        chained = Chained((silent.host, silent.port), ("127.0.0.1", 9))
        with socket.socket() as sock:
            attempt = chained.attempt(sock)
            attempt.start()
            while attempt.wants == select.POLLOUT:
                select.select([], [sock], [], PATIENCE)
                attempt.advance()
            while CHOICE in script and attempt._got != REPLY[:1]:
                assert select.select([sock], [], [], PATIENCE)[0]
                attempt.advance()
            clock.now += waited
            attempt.abandon()
        assert [chained.hops.is_dead(hop) for hop in chained.proxies] == [dead == 0, dead == 1]


def test_the_programs_own_timeout_tells_as_much(clock):
    with scripted(None) as silent:
        chained = Chained((silent.host, silent.port), ("127.0.0.1", 9))
        with socket.socket() as sock:
            attempt = chained.attempt(sock, program=3)
            attempt.start()
            clock.now += 4
            with pytest.raises(TimeoutError):
                attempt.expire()
            attempt.abandon()
        assert chained.hops.is_dead(chained.proxies[0])


# ---------------------------------------------------------------- names of first hops


@pytest.fixture
def stuck():
    """A resolver that does not answer before the test ends, except for addresses."""
    over = threading.Event()

    def getaddrinfo(host, port, *_):
        over.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    yield getaddrinfo
    over.set()


def test_a_resolver_has_the_time_that_connecting_has(stuck):
    with pytest.raises(
        SocksError, match="cannot resolve the proxy hop.example:1: no answer in time"
    ) as caught:
        open_through(("hop.example", 1), getaddrinfo=stuck, connect_timeout=50 * MS)
    assert caught.value.errno == errno.EHOSTUNREACH


def test_the_programs_own_timeout_counts_for_it_as_well(stuck):
    with pytest.raises(TimeoutError, match="^timed out$"):
        open_through(("hop.example", 1), getaddrinfo=stuck, program=50 * MS)


def test_others_do_not_wait_for_it(stuck, in_thread):
    background = Background(_thread.start_new_thread, Lock, select.epoll)
    reported = queue.SimpleQueue()
    with scripted(*OK, None) as proxy, socket.socket() as first, socket.socket() as second:
        waiting = new_opening(first, ("hop.example", 1), getaddrinfo=stuck)
        task = Task(lambda: waiting, lambda *report: reported.put(report))
        background.submit(task)
        background.submit(
            Task(lambda: new_opening(second, (proxy.host, proxy.port)), lambda *report: reported.put(report))
        )
        attempt, error = reported.get(timeout=PATIENCE)
        assert (attempt.sock, error) == (second, None)
        background.cancel(task)
        attempt, error = reported.get(timeout=PATIENCE)
        assert attempt is waiting and error is not None
        assert attempt.sock is first


def test_a_dynamic_chain_goes_around_a_name_that_is_not_resolved(stuck):
    with scripted(*OK, None) as proxy:
        chained = Chained(("hop.example", 1), (proxy.host, proxy.port))
        chained.hops = Hops(stuck)
        attempt = chained.open(connect_timeout=50 * MS)
        attempt.sock.close()
        assert attempt.path == chained.proxies[1:]
        assert chained.hops.is_dead(chained.proxies[0])


def test_all_attempts_that_wait_for_a_name_share_the_look_up_and_each_has_its_own_error():
    asked = []
    gate = threading.Barrier(5)

    def getaddrinfo(*what):
        asked.append(what)
        gate.wait()
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    hops = Hops(getaddrinfo)
    first = hops.first(Proxy("socks5h", "hop.example", 1))
    ends = [first.look_up() for _ in range(4)]
    # Only one resolver runs.
    for _ in range(4):
        threading.Thread(target=gate.wait).start()
    for end in ends:
        assert select.select([end], [], [], PATIENCE)[0]
        end.close()
    assert len(asked) == 1
    errors = []
    for _ in range(2):
        with pytest.raises(SocksError, match="hop.example:1: Name or service not known") as caught:
            first.found()
        errors.append(caught.value)
    assert errors[0] is not errors[1]


def test_the_addresses_of_before_do_where_a_name_is_not_resolved_any_more(monkeypatch):
    def getaddrinfo(*_):
        if not answers:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return answers.pop()

    with scripted(*OK, None) as proxy:
        answers = [[(socket.AF_INET, socket.SOCK_STREAM, 6, "", (proxy.host, proxy.port))]]
        chained = Chained(("hop.example", 1))
        chained.hops = Hops(getaddrinfo)
        chained.open().sock.close()
        chained.hops.first(chained.proxies[0])._fresh_until = 0.0
        chained.open().sock.close()


# ---------------------------------------------------------------- pipelining

PIPELINED = GREETING + REQUEST


def test_pipelined_messages_are_one_segment():
    with scripted(len(PIPELINED), CHOICE + REPLY + b"SSH-2.0", None) as proxy:
        chained = Chained((proxy.host, proxy.port), pipeline="on")
        with chained.open().sock as sock:
            sock.settimeout(PATIENCE)
            assert sock.recv(100) == b"SSH-2.0"
        assert chained.hops.supports_pipelining(chained.proxies[0]) is True
    assert proxy.received == [PIPELINED]


class Hasty:
    """A proxy that takes what one recv() gives for one message, as microsocks does."""

    def __init__(self, first_answer=CHOICE):
        self._first = first_answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.place = self._listener.getsockname()
        self.greetings = []

    def serve(self, count):
        for _ in range(count):
            client, _ = self._listener.accept()
            with client:
                client.settimeout(PATIENCE)
                self.greetings.append(client.recv(500))
                client.sendall(self._first if self.greetings[-1] != GREETING else CHOICE)
                if client.recv(500):
                    client.sendall(REPLY)
                    client.recv(500)
        self._listener.close()


@pytest.mark.parametrize("first_answer", [CHOICE, b"", b"\x05\xff", b"HTTP"])
def test_a_proxy_that_does_not_support_pipelining_is_asked_step_by_step(first_answer):
    hasty = Hasty(first_answer)
    with ThreadPoolExecutor(1) as pool:
        served = pool.submit(hasty.serve, 3)
        chained = Chained(hasty.place, pipeline="on")
        for _ in range(2):
            chained.open(timeout=1).sock.close()
        served.result()
    assert hasty.greetings == [PIPELINED, GREETING, GREETING]


@pytest.mark.parametrize("fast_open", [False, True])
@pytest.mark.parametrize("pipeline", ["off", "on"])
def test_fast_open_works_without_a_server_that_knows_it(fast_open, pipeline, refusing_port):
    with scripted(*OK, None) as proxy:
        places = ("127.0.0.1", refusing_port), (proxy.host, proxy.port)
        with Chained(*places, pipeline=pipeline, fast_open=fast_open).open().sock as sock:
            assert sock.getpeername() == (proxy.host, proxy.port)
