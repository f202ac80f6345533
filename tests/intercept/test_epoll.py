"""select.epoll: as the interpreter's own, and its registrations follow a hand-over."""

from __future__ import annotations

import pytest

from tests.support.child import kernel


def test_it_is_what_select_epoll_is(proxy):
    said = kernel(
        proxy.url(),
        """
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
        say(first=first, second=second, third=third[0][1], fourth=fourth,
            errors=errors, fifth=fifth, closed=[poller.closed, copy.closed], name=str(select.epoll),
            instance=isinstance(same._selector, select.epoll), poll=type(poller.poll).__name__)
        """,
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


@pytest.mark.parametrize("flags", ["0", "select.EPOLLET", "select.EPOLLONESHOT"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_registration_follows_and_can_be_modified(proxy, echo_server, flags, when):
    said = kernel(
        proxy.url(),
        f"""
        poller = select.epoll()
        sock = socket.socket()
        sock.setblocking(False)
        if {when!r} == "before":
            poller.register(sock, select.EPOLLOUT | {flags})
        sock.connect_ex((host, port))
        if {when!r} == "after":
            poller.register(sock, select.EPOLLOUT | {flags})
        events = poller.poll(PATIENCE)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        poller.modify(sock, select.EPOLLIN)
        sock.send(b"hello")
        events += poller.poll(PATIENCE)
        poller.unregister(sock)
        say(fd=[fd == sock.fileno() for fd, _ in events], mask=[mask for _, mask in events],
            error=error, echoed=sock.recv(5).decode(), rest=poller.poll(0))
        """,
        *(echo_server.host, echo_server.port),
    )
    assert said == {"fd": [True, True], "mask": [4, 1], "error": 0, "echoed": "hello", "rest": []}


def test_a_failure_wakes_it_up(proxy, refusing_port):
    said = kernel(
        proxy.url(),
        """
        poller = select.epoll()
        sock = start(host, port)
        poller.register(sock, select.EPOLLOUT)
        events = poller.poll(PATIENCE)
        say(events=len(events), writable=bool(events[0][1] & select.EPOLLOUT),
            error=sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        """,
        *("127.0.0.1", refusing_port),
    )
    assert said == {"events": 1, "writable": True, "error": 111}


def test_an_epoll_from_before_us_is_woken_up_as_well(proxy, echo_server):
    said = kernel(
        proxy.url(),
        """
        from pywrap.intercept import originals
        poller = originals.epoll()
        sock = start(host, port)
        poller.register(sock, select.EPOLLOUT)
        fd, events = poller.poll(PATIENCE)[0]
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        say(writable=bool(events & select.EPOLLOUT), error=error, stale=poller.poll(0), echoed=echo(sock))
        """,
        *(echo_server.host, echo_server.port),
    )
    assert said == {"writable": True, "error": 0, "stale": [], "echoed": "hello"}


def test_a_number_that_is_used_again_is_not_registered_by_us(proxy, echo_server):
    said = kernel(
        proxy.url(),
        """
        poller = select.epoll()
        first = socket.socket()
        poller.register(first, select.EPOLLOUT)
        fd = first.fileno()
        first.close()
        sock = start(host, port)
        same = sock.fileno() == fd
        wait_writable(sock)
        say(same=same, events=poller.poll(0), echoed=echo(sock))
        """,
        *(echo_server.host, echo_server.port),
    )
    assert said == {"same": True, "events": [], "echoed": "hello"}
