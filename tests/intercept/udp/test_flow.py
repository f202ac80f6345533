"""What a datagram socket's flow does when something goes wrong underneath it, or in another process."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time

import pytest

from tests.support.child import kernel, source_of
from tests.support.datagrams import udp_echo
from tests.support.inside import PATIENCE, descriptors, end_association, left_over, outcome, say, udp

ASSOCIATE = ("UDP ASSOCIATE", "0.0.0.0", 0)


def limited(more, function, *args):
    """The outcome while only so many descriptors can be opened."""
    first = os.dup(0)
    os.close(first)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first + more, hard))
    try:
        return outcome(function, *args)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def talk(proxy, code, *args, **how):
    return kernel(proxy.url(), code, *args, names=globals(), **how)


# ---------------------------------------------------------------- no descriptor left


@pytest.mark.parametrize("more", [0, 1])
def test_the_end_of_an_association_is_told_though_no_descriptor_is_left(proxy, echo, more):
    def program(host, port):
        sock = udp()
        before = descriptors()
        sock.sendto(b"before", (host, port))
        got = [sock.recv(10).decode()]
        end_association(int(sys.argv[3]))
        assert left_over(before) == 0
        errors = [limited(more, sock.recv, 10)[1], outcome(sock.recv, 10)[1]]
        sock.sendto(b"after", (host, port))
        got.append(sock.recv(10).decode())
        say(errors=errors, got=got)

    said = talk(proxy, program, echo.host, echo.port, proxy.port, timeout=20)
    assert said == {"errors": ["EMFILE", "ECONNREFUSED"], "got": ["before", "after"]}


# For the control connection, for a copy of the socket, for the thread's eventfd and epoll.
@pytest.mark.parametrize(("more", "calls"), [(0, 1), (1, 2), (2, 1), (3, 1)])
def test_an_association_for_which_descriptors_are_missing_leaves_none(proxy, echo, more, calls):
    def program(host, port):
        sock = udp()
        before = descriptors()
        # Opens what is opened once.
        with udp() as first:
            first.sendto(b"first", (host, port))
            first.recv(10)
        assert left_over(before) == 0
        errors = [limited(more, sock.sendto, b"x", (host, port))[1]]
        left = left_over(before)
        if calls == 2:
            # There was none either for the fresh file, which comes with what is told.
            errors.append(outcome(sock.sendto, b"x", (host, port))[1])
        sock.sendto(b"after", (host, port))
        say(errors=errors, left=left, got=sock.recv(10).decode())

    said = talk(proxy, program, echo.host, echo.port, timeout=20)
    assert said == {"errors": ["EMFILE"] * calls, "left": 0, "got": "after"}


# ---------------------------------------------------------------- in the middle of it


def test_a_signal_handler_may_send_while_a_fresh_file_takes_the_place_of_one(proxy, echo):
    def program(host, port):
        import signal

        from pywrap.intercept.udp import kernel_socket

        sock = udp()
        before = descriptors()
        sock.sendto(b"before", (host, port))
        got = [sock.recv(100).decode()]
        end_association(int(sys.argv[3]))
        assert left_over(before) == 0
        handled = []
        signal.signal(signal.SIGUSR1, lambda *_: handled.append(sock.sendto(b"handler", (host, port))))
        real = kernel_socket.clone_socket

        def like(*args):
            kernel_socket.clone_socket = real
            signal.raise_signal(signal.SIGUSR1)
            return real(*args)

        kernel_socket.clone_socket = like
        sock.sendto(b"after", (host, port))
        # The handler's answer may have come to the file that was replaced.
        while got[-1] != "after":
            got.append(sock.recv(100).decode())
        say(handled=handled, first=got[0])

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port, proxy.port),
        timeout=20,
    )
    assert said == {"handled": [7], "first": "before"}
    assert proxy.asked == [ASSOCIATE] * 2


def test_a_finalizer_may_send_while_another_thread_is_told_of_an_end(proxy, echo):
    def program(host, port):
        import threading

        from pywrap.intercept import patch_on_import

        sock = udp()
        before = descriptors()
        sock.sendto(b"before", (host, port))
        assert sock.recv(100) == b"before"
        end_association(int(sys.argv[3]))
        assert left_over(before) == 0
        told = []
        other = threading.Thread(target=lambda: told.append(outcome(sock.recv, 100)))
        # The collector runs in the middle of anything.
        with patch_on_import._registry.lock:
            other.start()
            while sys._current_frames()[other.ident].f_code.co_name != "take_error":
                time.sleep(0)
            sent = sock.sendto(b"finalizer", (host, port))
        other.join()
        say(sent=sent, told=[str(told[0], "ascii")])

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port, proxy.port),
        timeout=20,
    )
    assert said == {"sent": 9, "told": ["finalizer"]}


# ---------------------------------------------------------------- IPv4, and IPv6 underneath


def test_an_ipv4_socket_that_is_ipv6_underneath_has_ipv4_names(proxy_6, echo):
    def program(host, port):
        near = "127.0.0.1", int(sys.argv[3])
        sock = udp()
        sock.sendto(b"through", (host, port))
        got, before = sock.recv(10).decode(), sock.getsockname()
        sock.connect(near)
        after = sock.getsockname()
        say(got=got, peer=sock.getpeername(), names=[before[0], after[0]], same=before[1] == after[1])

    with udp_echo() as near:
        said = talk(
            proxy_6,
            program,
            *(echo.host, echo.port, near.port),
            options=("--direct", f"127.0.0.1:{near.port}"),
        )
    names = ["0.0.0.0", "127.0.0.1"]
    assert said == {"got": "through", "peer": ["127.0.0.1", near.port], "names": names, "same": True}


# ---------------------------------------------------------------- other processes


def test_a_child_has_nothing_of_a_socket_that_was_closed_with_datagrams_waiting(blackhole_proxy):
    def program():
        sock = udp(timeout=0)
        number = os.fstat(sock.fileno()).st_ino
        sock.sendto(b"waits", ("192.0.2.1", 9))
        sock.close()

        def kept():
            found = 0
            for fd in map(int, descriptors()):
                try:
                    found += os.fstat(fd).st_ino == number
                except OSError:
                    continue
            return found

        mine = kept()
        sys.stdout.flush()
        child = os.fork()
        if not child:
            os._exit(kept())
        say(mine=mine, childs=os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        sys.stdout.flush()
        os._exit(0)

    said = kernel(
        f"socks5h://{blackhole_proxy.host}:{blackhole_proxy.port}",
        program,
    )
    assert said == {"mine": 1, "childs": 0}


def test_a_child_that_fails_to_associate_leaves_its_parent_a_file_of_its_own(proxy, echo):
    def program(host, port):
        sock = udp()
        sock.sendto(b"before", (host, port))
        got = [sock.recv(10).decode()]
        child = os.fork()
        if not child:
            # What that does to the file, which is also the parent's.
            outcome(sock.shutdown, socket.SHUT_RD)
            os._exit(0)
        os.waitpid(child, 0)
        mine = os.fstat(sock.fileno()).st_ino
        sock.settimeout(0.01)
        got.append(outcome(sock.recv, 10)[0])
        is_another = os.fstat(sock.fileno()).st_ino != mine
        sock.settimeout(PATIENCE)
        sock.sendto(b"after", (host, port))
        say(got=[*got, sock.recv(10).decode()], is_another=is_another)

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
        timeout=20,
    )
    assert said == {"got": ["before", "TimeoutError", "after"], "is_another": True}
    assert proxy.asked == [ASSOCIATE]


def test_descriptors_do_not_pile_up_from_parent_to_child(proxy, echo):
    def program(host, port):
        sock = udp()
        sock.sendto(b"x", (host, port))
        sock.recv(10)
        counts = [len(descriptors())]
        for _ in range(3):
            child = os.fork()
            if child:
                os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            counts.append(len(descriptors()))
        say(more=[count - counts[0] for count in counts])

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
    )
    assert said == {"more": [0, 0, 0, 0]}


# As its arguments, where to send; and a descriptor to get the socket from.
def receiver():
    import socket
    import sys

    link = socket.socket(fileno=int(sys.argv[3]))
    sock = socket.socket(fileno=socket.recv_fds(link, 1, 1)[1][0])
    sock.settimeout(30)
    sock.sendto(b"there", (sys.argv[1], int(sys.argv[2])))
    print(*sock.recvfrom(10))


def test_a_descriptor_that_was_sent_to_another_process_has_an_association_there(proxy, echo):
    def program(host, port):
        import subprocess

        sock = udp()
        sock.sendto(b"before", (host, port))
        got = [sock.recv(10).decode()]
        ours, theirs = socket.socketpair()
        command, link = [sys.executable, "-c", sys.argv[3], host, str(port)], theirs.fileno()
        pipe = subprocess.PIPE
        with subprocess.Popen([*command, str(link)], pass_fds=[link], stdout=pipe, text=True) as child:
            socket.send_fds(ours, [b"."], [sock.fileno()])
            got.append(child.communicate()[0])
        sock.sendto(b"after", (host, port))
        got.append(sock.recv(10).decode())
        say(got=got)

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port, source_of(receiver)),
    )
    assert said == {"got": ["before", f"b'there' {(echo.host, echo.port)}\n", "after"]}
    assert proxy.asked == [ASSOCIATE] * 2


# ---------------------------------------------------------------- a program that shuts its socket down


def test_a_socket_that_the_program_has_shut_down_times_out_as_ever(proxy, echo):
    def program(host, port):
        plain = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock = udp()
        sock.sendto(b"x", (host, port))
        sock.recv(10)
        ends = []
        for each in plain, sock:
            ends.append(outcome(each.shutdown, socket.SHUT_RD)[1])
            each.settimeout(0.01)
            ends.append(outcome(each.recv, 10)[0])
        say(ends=ends)

    said = talk(
        proxy,
        program,
        *(echo.host, echo.port),
        timeout=20,
    )
    assert said == {"ends": ["ENOTCONN", "TimeoutError"] * 2}
