"""select.epoll: as the interpreter's own, and its registrations follow a hand-over."""

from __future__ import annotations

import os
import select
import socket
import sys
from contextlib import ExitStack

import pytest

from pywrap.intercept import epoll
from pywrap.intercept.epoll import Epoll, Real
from tests.support.child import kernel, source_of
from tests.support.inside import PATIENCE, echo, outcome, say, start, wait_writable
from tests.support.run import pysocksify, run


def test_it_is_what_select_epoll_is(proxy):
    def program():
        import selectors

        left, right = socket.socketpair()
        with select.epoll(10, select.EPOLL_CLOEXEC) as poller:
            poller.register(left)
            first = poller.poll(0)
            poller.modify(left, select.EPOLLIN)
            second = poller.poll(timeout=0, maxevents=2)
            right.send(b"x")
            third = poller.poll()
            poller.unregister(left.fileno())
            fourth = poller.poll(0)
            errors = [outcome(poller.modify, left, 1)[:2], outcome(poller.unregister, left)[:2]]
            copy = select.epoll.fromfd(os.dup(poller.fileno()))
            copy.register(right, select.EPOLLOUT)
            fifth = len(poller.poll(0))
        same = selectors.DefaultSelector()
        first = first == [(left.fileno(), select.EPOLLOUT)]
        say(
            first=first,
            second=second,
            third=third[0][1],
            fourth=fourth,
            errors=errors,
            fifth=fifth,
            closed=[poller.closed, copy.closed],
            name=str(select.epoll),
            instance=isinstance(same._selector, select.epoll),
            poll=type(poller.poll).__name__,
        )

    said = kernel(
        proxy.url(),
        program,
    )
    assert said == {
        "first": True,
        "second": [],
        "third": 1,
        "fourth": [],
        "errors": [["FileNotFoundError", "ENOENT"]] * 2,
        "fifth": 1,
        "closed": [True, False],
        "name": "<class 'select.epoll'>",
        "instance": True,
        "poll": "builtin_function_or_method",
    }


@pytest.mark.parametrize("flags", [0, int(select.EPOLLET), int(select.EPOLLONESHOT)])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_registration_follows_and_can_be_modified(proxy, echo_server, flags, when):
    def program(host, port):
        poller = select.epoll()
        sock = socket.socket()
        sock.setblocking(False)
        if when == "before":
            poller.register(sock, select.EPOLLOUT | flags)
        sock.connect_ex((host, port))
        if when == "after":
            poller.register(sock, select.EPOLLOUT | flags)
        events = poller.poll(PATIENCE)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        poller.modify(sock, select.EPOLLIN)
        sock.send(b"hello")
        events += poller.poll(PATIENCE)
        poller.unregister(sock)
        say(
            fd=[fd == sock.fileno() for fd, _ in events],
            mask=[mask for _, mask in events],
            error=error,
            echoed=sock.recv(5).decode(),
            rest=poller.poll(0),
        )

    said = kernel(proxy.url(), program, echo_server.host, echo_server.port)
    assert said == {"fd": [True, True], "mask": [4, 1], "error": 0, "echoed": "hello", "rest": []}


def test_a_failure_wakes_it_up(proxy, refusing_port):
    def program(host, port):
        poller = select.epoll()
        sock = start(host, port)
        poller.register(sock, select.EPOLLOUT)
        events = poller.poll(PATIENCE)
        say(
            events=len(events),
            writable=bool(events[0][1] & select.EPOLLOUT),
            error=sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
        )

    said = kernel(
        proxy.url(),
        program,
        *("127.0.0.1", refusing_port),
    )
    assert said == {"events": 1, "writable": True, "error": 111}


def test_an_epoll_from_before_us_is_woken_up_as_well(proxy, echo_server):
    def program(host, port):
        from pywrap.intercept import originals

        poller = originals.epoll()
        sock = start(host, port)
        poller.register(sock, select.EPOLLOUT)
        fd, events = poller.poll(PATIENCE)[0]
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        say(writable=bool(events & select.EPOLLOUT), error=error, stale=poller.poll(0), echoed=echo(sock))

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said == {"writable": True, "error": 0, "stale": [], "echoed": "hello"}


def test_a_number_that_is_used_again_is_not_registered_by_us(proxy, echo_server):
    def program(host, port):
        poller = select.epoll()
        first = socket.socket()
        poller.register(first, select.EPOLLOUT)
        fd = first.fileno()
        first.close()
        sock = start(host, port)
        same = sock.fileno() == fd
        wait_writable(sock)
        say(same=same, events=poller.poll(0), echoed=echo(sock))

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said == {"same": True, "events": [], "echoed": "hello"}


def test_an_epoll_that_was_made_before_import_socket_is_covered(proxy, echo_server):
    # As lazy imports do it: what imports select first has the class that follows a hand-over.
    said = run(
        *pysocksify("-x", proxy.url(), "--loopback", "proxy"),
        *(sys.executable, "-c", source_of(early), echo_server.host, str(echo_server.port)),
    ).json
    assert said == {"socket": False, "events": 4, "error": 0, "same": True, "modified": [1], "selector": True}


def early():
    import json
    import select
    import sys

    had_socket = "socket" in sys.modules
    poller = select.epoll()
    import selectors

    selector = selectors.EpollSelector()
    import socket

    sock = socket.socket()
    sock.setblocking(False)
    poller.register(sock, select.EPOLLOUT)
    sock.connect_ex((sys.argv[1], int(sys.argv[2])))
    ((fd, events),) = poller.poll(30)
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    poller.modify(sock, select.EPOLLIN)
    sock.send(b"hello")
    print(
        json.dumps(
            {
                "socket": had_socket,
                "events": events,
                "error": error,
                "same": fd == sock.fileno(),
                "modified": [mask for _, mask in poller.poll(30)],
                "selector": isinstance(selector._selector, type(poller)),
            }
        )
    )


@pytest.fixture
def moving():
    """An epoll of ours and two files, the first of which is registered and about to become the second."""
    with Epoll() as poller, ExitStack() as stack:
        sockets = [stack.enter_context(sock) for _ in range(2) for sock in socket.socketpair()]
        fd = sockets[0].fileno()
        poller.register(fd, select.EPOLLOUT)
        epoll.leave(fd)
        yield poller, fd
        if fd in epoll._moving:
            epoll.rejoin(fd)


FRESH = socket.socketpair()


def hand_over(fd):
    os.dup2(FRESH[0].fileno(), fd)
    epoll.rejoin(fd)


def test_what_is_unregistered_during_a_hand_over_stays_so(moving):
    poller, fd = moving
    poller.unregister(fd)
    hand_over(fd)
    assert poller.poll(0) == []
    with pytest.raises(FileNotFoundError):
        poller.unregister(fd)


def test_what_is_modified_during_a_hand_over_is_so_afterwards(moving):
    poller, fd = moving
    poller.modify(fd, select.EPOLLIN)
    with pytest.raises(FileExistsError):
        poller.register(fd, select.EPOLLOUT)
    hand_over(fd)
    assert poller.poll(0) == []
    poller.modify(fd, select.EPOLLOUT)
    assert poller.poll(0) == [(fd, select.EPOLLOUT)]


def test_what_is_registered_anew_during_a_hand_over_has_its_new_mask(moving):
    poller, fd = moving
    poller.unregister(fd)
    poller.register(fd, select.EPOLLIN)
    hand_over(fd)
    assert poller.poll(0) == []
    poller.unregister(fd)


def test_what_is_unregistered_while_the_kernel_is_told_does_not_come_back(moving):
    poller, fd = moving
    poller._real = Between(poller._real, lambda: poller.unregister(fd))
    hand_over(fd)
    assert poller._real.poll(0) == []


class Between:
    """An epoll of the kernel's; another thread does something after the registration."""

    def __init__(self, real, act):
        self._real, self._act = real, act

    def register(self, fd, events):
        self._real.register(fd, events)
        self._act()

    def __getattr__(self, name):
        return getattr(self._real, name)


class Around:
    """An epoll of the kernel's; another thread does something right before or after one call of it."""

    def __init__(self, real, call, before=None, after=None):
        self._real, self._call = real, call
        self._before, self._after = before, after

    def __getattr__(self, name):
        return self._and_more if name == self._call else getattr(self._real, name)

    def _and_more(self, *args):
        call, self._call = getattr(self._real, self._call), None
        if self._before is not None:
            self._before()
        try:
            call(*args)
        finally:
            if self._after is not None:
                self._after()


def test_a_hand_over_that_ends_right_after_the_kernel_has_refused_unregister_is_not_seen(moving):
    poller, fd = moving
    poller._real = Around(poller._real, "unregister", after=lambda: hand_over(fd))
    poller.unregister(fd)
    assert poller.poll(0) == []
    with pytest.raises(FileNotFoundError):
        poller.unregister(fd)


def test_a_hand_over_that_ends_right_after_the_kernel_has_refused_modify_is_not_seen(moving):
    poller, fd = moving
    poller._real = Around(poller._real, "modify", after=lambda: hand_over(fd))
    poller.modify(fd, select.EPOLLIN | select.EPOLLOUT)
    assert poller._real.poll(0) == [(fd, select.EPOLLOUT)]
    poller.modify(fd, select.EPOLLIN)
    assert poller._real.poll(0) == []


def test_a_hand_over_that_ends_right_before_register_is_not_seen(moving):
    poller, fd = moving
    poller.unregister(fd)
    poller._real = Around(poller._real, "register", before=lambda: hand_over(fd))
    poller.register(fd, select.EPOLLOUT)
    assert poller._real.poll(0) == [(fd, select.EPOLLOUT)]
    poller.modify(fd, select.EPOLLIN)


def test_a_hand_over_within_register_loses_no_registration():
    with Epoll() as poller, ExitStack() as stack:
        fd = [stack.enter_context(sock) for sock in socket.socketpair()][0].fileno()

        def hand_over_now():
            epoll.leave(fd)
            os.dup2(FRESH[0].fileno(), fd)
            epoll.rejoin(fd)

        poller._real = Around(poller._real, "register", before=lambda: epoll.leave(fd))
        poller.register(fd, select.EPOLLOUT)
        hand_over_now()
        assert poller._real.poll(0) == [(fd, select.EPOLLOUT)]
        poller.modify(fd, select.EPOLLIN)
        assert poller._real.poll(0) == []


@pytest.mark.parametrize("flags", [select.EPOLLET, select.EPOLLONESHOT, select.EPOLLEXCLUSIVE])
def test_flags_are_kept(flags):
    with Epoll() as poller:
        near, far = socket.socketpair()
        with near, far:
            poller.register(near, select.EPOLLOUT | flags)
            fd = near.fileno()
            epoll.leave(fd)
            hand_over(fd)
            # The kernel's own word for it.
            with open(f"/proc/self/fdinfo/{poller.fileno()}") as lines:
                masks = [int(line.split()[3], 16) for line in lines if line.startswith("tfd:")]
    assert [mask & flags for mask in masks] == [flags]


@pytest.mark.parametrize("call", ["register", "modify", "unregister"])
def test_mistakes_are_the_interpreters(call):
    args = () if call == "unregister" else (select.EPOLLIN,)
    with Epoll() as ours, Real() as theirs:
        for mistake in ("text", None, -1, 1 << 40, 5000):
            errors = []
            for poller in ours, theirs:
                with pytest.raises(Exception) as raised:
                    getattr(poller, call)(mistake, *args)
                errors.append((raised.type, str(raised.value)))
            assert errors[0] == errors[1]
