"""connect(), connect_ex() and bind() of sockets that may block."""

from __future__ import annotations

import errno
import os
import socket
import sys

import pytest

from tests.support import destinations
from tests.support.child import kernel
from tests.support.inside import PATIENCE, echo, outcome, say, wait_writable
from tests.support.servers import reference_server


def test_the_modes_of_a_socket_are_as_before(proxy, echo_server):
    def program(host, port):
        def state(timeout):
            sock = socket.socket()
            sock.settimeout(timeout)
            sock.connect((host, port))
            return [sock.gettimeout(), os.get_blocking(sock.fileno()), sock.get_inheritable(), echo(sock)]

        say(none=state(None), some=state(20))

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said == {"none": [None, True, False, "hello"], "some": [20, False, False, "hello"]}


def test_a_socket_can_try_again_after_a_failure(proxy, echo_server, refusing_port):
    def program(host, port):
        sock = socket.socket()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(20)
        failed = outcome(sock.connect, (host, int(sys.argv[3])))[:2]
        unsent = outcome(sock.send, b"x")[:2]
        sock.connect((host, port))
        say(
            failed=failed,
            unsent=unsent,
            timeout=sock.gettimeout(),
            echoed=echo(sock),
            nodelay=sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
        )

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port, refusing_port),
    )
    assert said == {
        "failed": ["ConnectionRefusedError", "ECONNREFUSED"],
        "unsent": ["BrokenPipeError", "EPIPE"],
        "echoed": "hello",
        "timeout": 20,
        "nodelay": 1,
    }


def test_no_byte_of_the_program_gets_into_a_handshake_that_was_interrupted(hanging, blackhole_proxy):
    def program():
        import signal

        class Interrupted(Exception):
            pass

        def interrupt(*_):
            raise Interrupted

        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        sock = socket.socket()
        try:
            sock.connect(("192.0.2.1", 80))
        except Interrupted:
            say(sent=outcome(sock.send, b"secret")[:2], blocking=os.get_blocking(sock.fileno()))

    said = kernel(
        hanging,
        program,
    )
    assert said == {"sent": ["BrokenPipeError", "EPIPE"], "blocking": True}


def test_a_descriptor_that_another_thread_closes_meanwhile_is_left_alone(hanging, tmp_path):
    def program():
        import threading

        sock = socket.socket()
        file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
        thread = threading.Thread(target=outcome, args=(sock.connect, ("192.0.2.1", 80)))
        thread.start()
        # Until it waits for the proxy, which does not answer.
        while os.get_blocking(sock.fileno()):
            pass
        os.dup2(file, sock.fileno())
        thread.join()
        say(same=os.path.sameopenfile(file, sock.fileno()), blocking=os.get_blocking(sock.detach()))

    said = kernel(
        hanging,
        program,
        tmp_path / "file",
        options=("--timeout", "1"),
    )
    assert said == {"same": True, "blocking": True}


def test_without_descriptors_a_failure_is_still_the_failure(hanging):
    def program():
        import resource

        from pywrap import intercept

        intercept.current()
        sock = socket.socket()
        sock.settimeout(0.05)
        top = os.dup(0)
        os.close(top)
        # Room for the copy that the handshake runs on, and for nothing more.
        resource.setrlimit(resource.RLIMIT_NOFILE, (top + 1, top + 1))
        failed = outcome(sock.connect, ("192.0.2.1", 80))
        say(failed=failed, sent=outcome(sock.send, b"secret")[:2])

    said = kernel(
        hanging,
        program,
    )
    assert said == {"failed": ["TimeoutError", None, "timed out"], "sent": ["BrokenPipeError", "EPIPE"]}


def test_the_programs_timeout_is_its_own_exception(hanging):
    def program():
        sock = socket.socket()
        sock.settimeout(0.05)
        by_exception = outcome(sock.connect, ("192.0.2.1", 80))
        by_number = errno.errorcode[sock.connect_ex(("192.0.2.1", 80))]
        say(exception=by_exception, number=by_number, timeout=sock.gettimeout())

    said = kernel(
        hanging,
        program,
    )
    assert said == {"exception": ["TimeoutError", None, "timed out"], "number": "EAGAIN", "timeout": 0.05}


def test_our_timeout_is_etimedout_and_names_the_proxy(hanging):
    said = kernel(
        hanging,
        """say(raised=outcome(socket.create_connection, ("192.0.2.1", 80)))""",
        options=("--timeout", "0.05"),
    )
    assert said["raised"][:2] == ["TimeoutError", "ETIMEDOUT"]
    assert "proxy 127.0.0.1:" in said["raised"][2] and "asked for 192.0.2.1:80" in said["raised"][2]


def test_the_error_says_what_happened_and_the_cause_is_there(proxy, refusing_port):
    def program(host, port):
        try:
            socket.create_connection((host, port))
        except ConnectionRefusedError as err:
            say(text=str(err), cause=type(err.__cause__).__name__)

    said = kernel(
        proxy.url(),
        program,
        *("127.0.0.1", refusing_port),
    )
    assert said["cause"] == "Rejected"
    assert said["text"] == (
        f"[Errno 111] proxy {proxy.host}:{proxy.port}: connection refused "
        f"(asked for 127.0.0.1:{refusing_port})"
    )


def test_names_go_to_the_proxy_without_getaddrinfo(proxy):
    said = kernel(
        proxy.url(),
        """
        sock = socket.socket()
        say(raised=outcome(sock.connect, ("nowhere.invalid", 80))[:2])
        """,
    )
    assert said == {"raised": ["OSError", "EHOSTUNREACH"]}
    assert proxy.asked == [("CONNECT", "nowhere.invalid", 80)]


@pytest.mark.parametrize(
    ("host", "connecting", "looking_up"),
    [
        ("a..b", "gaierror", "UnicodeError"),
        ("x" * 64 + ".example", "gaierror", "UnicodeError"),
        ("ü" * 64 + ".example", "TypeError", "UnicodeError"),
        ("nul\0.example", "TypeError", "ValueError"),
    ],
)
def test_what_is_no_name_raises_as_the_socket_module_does(proxy, host, connecting, looking_up):
    def program():
        name = eval(sys.argv[1])
        udp = socket.socket(type=socket.SOCK_DGRAM)
        raised = []
        for function in (
            lambda: socket.socket().connect((name, 80)),
            lambda: udp.sendto(b"x", (name, 80)),
            lambda: udp.connect((name, 80)),
            lambda: udp.sendto(b"x", (name.encode(), 80)),
            lambda: socket.getaddrinfo(name, 80),
        ):
            try:
                function()
            except (ValueError, TypeError, socket.gaierror) as err:
                raised.append(type(err).__name__)
        say(raised=raised)

    said = kernel(
        proxy.url(),
        program,
        repr(host),
    )
    in_bytes = connecting if host.isascii() else "gaierror"
    assert said == {"raised": [*[connecting] * 3, in_bytes, looking_up]}
    assert proxy.seen == []


@pytest.mark.parametrize("host", ["x." * 127 + "y", b"x" * 64 + b".example"])
def test_a_name_that_is_too_long_is_unknown(proxy, host):
    def program():
        address = eval(sys.argv[1]), 80
        calls = socket.socket().connect, lambda to: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", to)
        say(raised=[outcome(call, address)[0] for call in calls])

    said = kernel(
        proxy.url(),
        program,
        repr(host),
    )
    assert said == {"raised": ["gaierror"] * 2}
    assert proxy.seen == []


def test_a_name_beyond_ascii_goes_as_idna(proxy):
    kernel(proxy.url(), """say(raised=outcome(socket.create_connection, ("bücher.invalid", 80))[1])""")
    assert proxy.asked == [("CONNECT", "xn--bcher-kva.invalid", 80)]


def test_malformed_addresses_get_their_own_errors(proxy):
    def program():
        def raised(function, *args):
            try:
                function(*args)
            except Exception as err:
                return type(err).__name__

        sock = socket.socket()
        wrong = ["text", ("192.0.2.1",), ("192.0.2.1", "80"), ("192.0.2.1", 70000), (3, 80), None]
        say(raised=[raised(sock.connect, address) for address in wrong])

    said = kernel(
        proxy.url(),
        program,
    )
    assert said == {
        "raised": ["TypeError", "TypeError", "TypeError", "OverflowError", "TypeError", "TypeError"]
    }
    assert proxy.seen == []


def test_unix_sockets_are_left_alone(proxy, tmp_path):
    def program():
        server, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
        server.bind(sys.argv[1])
        server.listen()
        client.connect(sys.argv[1])
        say(peer=client.getpeername())

    said = kernel(
        proxy.url(),
        program,
        tmp_path / "sock",
    )
    assert said == {"peer": str(tmp_path / "sock")}


def test_a_listening_socket_stays_one(proxy, echo_server):
    def program(host, port):
        server = socket.create_server(("127.0.0.1", 0))
        raised = outcome(server.connect, (host, port))[:2]
        sock = socket.socket()
        sock.connect(server.getsockname())
        say(raised=raised)

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
        options=("--direct", "127.0.0.1"),
    )
    # Direct by its network, so the kernel itself says so.
    assert said == {"raised": ["OSError", "EISCONN"]}


def test_sctp_does_not_become_tcp(proxy):
    def program():
        class Fake(socket.socket):
            pass

        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
        other = Fake(socket.AF_INET, socket.SOCK_STREAM, 132, fileno=sock.detach())
        number = other.connect_ex(("192.0.2.1", 80))
        say(raised=outcome(other.connect, ("192.0.2.1", 80))[:2], number=errno.errorcode[number])

    said = kernel(
        proxy.url(),
        program,
    )
    assert said == {"raised": ["PermissionError", "EPERM"], "number": "EPERM"}
    assert proxy.seen == []


def test_bind_takes_addresses_and_names_that_are_known_here(proxy):
    def program():
        def bound(address, family=socket.AF_INET):
            with socket.socket(family) as sock:
                sock.bind(address)
                return sock.getsockname()[0]

        say(
            any=bound(("", 0)),
            local=bound(("localhost", 0)),
            literal=bound(("127.0.0.1", 0)),
            six=bound(("::1", 0), socket.AF_INET6),
            foreign=outcome(bound, ("example.org", 0))[0],
        )

    said = kernel(
        proxy.url(),
        program,
    )
    assert said == {
        "any": "0.0.0.0",
        "local": "127.0.0.1",
        "literal": "127.0.0.1",
        "six": "::1",
        "foreign": "gaierror",
    }


@pytest.mark.parametrize(("proxy_host", "host"), [("::1", "127.0.0.1"), ("127.0.0.1", "::1")])
def test_a_proxy_in_another_family_than_the_programs_socket(proxy_host, host):
    def program(host, port):
        def made(timeout):
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.settimeout(timeout)
            error = sock.connect_ex((host, port))
            if error == errno.EINPROGRESS:
                error = wait_writable(sock)
            return [
                error,
                sock.getpeername()[:2],
                os.get_blocking(sock.fileno()),
                sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                echo(sock),
            ]

        say(some=made(20), none=made(0))

    with reference_server(listen=[(proxy_host, 0)]) as server, destinations.echo_server(host) as there:
        said = kernel(server.url(), program, there.host, there.port)
    expected = [0, [there.host, there.port], False, 1, "hello"]
    assert said == {"some": expected, "none": expected}


def test_a_destination_that_is_the_first_hop_is_reached_directly(proxy, echo_server):
    def program(host, port):
        import socks

        sock = socks.socksocket()
        sock.set_proxy(socks.SOCKS5, *sys.argv[3].split(":")[:1], int(sys.argv[3].split(":")[1]))
        sock.connect((host, port))
        say(echoed=echo(sock))

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port, f"{proxy.host}:{proxy.port}"),
    )
    assert said == {"echoed": "hello"}
    assert len(proxy.seen) == 1


def test_threads_wait_side_by_side(proxy, echo_server):
    def program(host, port):
        import threading

        answers = []

        def go():
            with socket.create_connection((host, port)) as sock:
                answers.append(echo(sock))

        threads = [threading.Thread(target=go) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        say(answers=len(answers), different=sorted(set(answers)))

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said == {"answers": 50, "different": ["hello"]}


def test_linux_ignores_the_address_that_a_stream_sends_to(proxy, echo_server):
    def program(host, port):
        elsewhere = ("192.0.2.1", 9)

        def calls(sock):
            return [
                outcome(sock.sendto, b"a", elsewhere),
                outcome(sock.sendto, b"b", 0, elsewhere),
                outcome(sock.sendmsg, [b"c"], [], 0, elsewhere),
                outcome(sock.sendto, b"d", ("a.b", 9)),
            ]

        tunnel = socket.create_connection((host, port))
        said = calls(tunnel)
        echoed = tunnel.recv(4, socket.MSG_WAITALL).decode()
        fast = [
            outcome(call, sock, elsewhere)[1]
            for sock in (tunnel, socket.socket())
            for call in (
                lambda sock, to: sock.sendto(b"x", socket.MSG_FASTOPEN, to),
                lambda sock, to: sock.sendmsg([b"x"], [], socket.MSG_FASTOPEN, to),
            )
        ]
        try:
            tunnel.sendto(b"x", "no address")
        except TypeError:
            malformed = True
        tunnel.shutdown(socket.SHUT_WR)
        say(
            said=said,
            echoed=echoed,
            fast=fast,
            malformed=malformed,
            shut=sorted({one[1] for one in calls(tunnel)}),
            unconnected=sorted({one[1] for one in calls(socket.socket())}),
        )

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said == {
        "said": [1, 1, 1, 1],
        "echoed": "abcd",
        "fast": ["EPERM"] * 4,
        "malformed": True,
        "shut": ["EPIPE"],
        "unconnected": ["EPIPE"],
    }


@pytest.mark.parametrize("v6_only", [0, 1])
def test_a_bound_ipv6_socket_reaches_an_ipv4_proxy(proxy, echo_server, v6_only):
    def program(host, port):
        while True:
            sock = socket.socket(socket.AF_INET6)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, v6_only)
            sock.bind(("::", 0))
            bound = sock.getsockname()[1]
            with socket.socket() as free:
                # For IPv6 alone, the kernel chooses a port that an IPv4 listener of another test may have:
                # it cannot be kept on the way to an IPv4 proxy then.
                if not v6_only or not outcome(free.bind, ("", bound)):
                    break
            sock.close()
        sock.settimeout(PATIENCE)
        sock.connect((f"::ffff:{host}", port))
        say(echoed=echo(sock), same=sock.getsockname()[1] == bound)

    said = kernel(proxy.url(), program, echo_server.host, echo_server.port)
    assert said == {"echoed": "hello", "same": True}
