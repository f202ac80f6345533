"""A non-blocking connect() while its tunnel is on the way, and the moment when that takes its place."""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import sys

import pytest

from tests.support.child import kernel, source_of
from tests.support.inside import PATIENCE, descriptors, echo, left_over, outcome, say, start, wait_writable
from tests.support.run import pysocksify, run


def test_a_pending_socket_behaves_as_one_that_is_connecting(hanging):
    def program():
        sock = start("192.0.2.1", 80)
        say(
            readable=select.select([sock], [sock], [sock], 0.05) == ([], [], []),
            error=sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
            again=errno.errorcode[sock.connect_ex(("192.0.2.1", 80))],
            peer=outcome(sock.getpeername)[:2],
            send=outcome(sock.send, b"x")[:2],
            recv=outcome(sock.recv, 1)[:2],
            type=sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM,
            domain=sock.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) == socket.AF_INET,
            port=sock.getsockname()[1] > 0,
        )

    said = kernel(
        hanging,
        program,
    )
    assert said == {
        "readable": True,
        "error": 0,
        "again": "EALREADY",
        "peer": ["OSError", "ENOTCONN"],
        "send": ["BlockingIOError", "EAGAIN"],
        "recv": ["BlockingIOError", "EAGAIN"],
        "type": True,
        "domain": True,
        "port": True,
    }


def test_closing_it_ends_the_connection_to_the_proxy(hanging):
    def program():
        before = descriptors()
        for end in (lambda sock: sock.close(), lambda sock: os.close(sock.detach()), lambda sock: None):
            sock = start("192.0.2.1", 80)
            end(sock)
            del sock
        while descriptors() != before or len(os.listdir("/proc/self/task")) > 1:
            pass
        say(left=False)

    said = kernel(
        hanging,
        program,
    )
    assert said == {"left": False}


def test_a_file_on_the_number_of_a_closed_socket_is_left_alone(hanging, tmp_path):
    def program():
        file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
        socks = [start("192.0.2.1", 80) for _ in range(20)]
        for sock in socks:
            os.dup2(file, sock.fileno())
        while len(os.listdir("/proc/self/task")) > 1:
            pass
        say(files=all(os.path.sameopenfile(file, sock.detach()) for sock in socks))

    said = kernel(
        hanging,
        program,
        tmp_path / "file",
    )
    assert said == {"files": True}


def test_the_tunnel_comes_to_every_duplicate(proxy, echo_server):
    def program(host, port):
        sock = start(host, port)
        copy, raw = sock.dup(), socket.dup(sock.fileno())
        made = socket.fromfd(sock.fileno(), socket.AF_INET, socket.SOCK_STREAM)
        wait_writable(sock)
        sock.close()
        again = socket.socket(fileno=raw)
        say(copy=echo(copy), raw=echo(again), made=echo(made), family=again.family == socket.AF_INET)

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said == {"copy": "hello", "raw": "hello", "made": "hello", "family": True}


# Each hands the file of a pending socket on, in ways that pass no patch, and returns the descriptor.
def by_dup(sock):
    return os.dup(sock.fileno())


def by_dup2(sock):
    fd = os.open("/dev/null", os.O_RDONLY)
    return os.dup2(sock.fileno(), fd)


def by_fcntl(sock):
    import fcntl

    return fcntl.fcntl(sock.fileno(), fcntl.F_DUPFD_CLOEXEC, 100)


def by_scm_rights(sock):
    near, far = socket.socketpair()
    with near, far:
        socket.send_fds(near, [b"x"], [sock.fileno()])
        return socket.recv_fds(far, 1, 1)[1][0]


WAYS = by_dup, by_dup2, by_fcntl, by_scm_rights


@pytest.mark.parametrize("hand_on", WAYS, ids=[each.__name__ for each in WAYS])
def test_what_is_copied_past_the_patches_is_connected_after_the_original_is_closed(
    hand_on, proxy, echo_server
):
    def program(host, port):
        sock = start(host, port)
        copy = socket.socket(fileno=hand_on(sock))
        sock.close()
        family = copy.family == socket.AF_INET
        say(family=family, error=wait_writable(copy), peer=copy.getpeername(), echoed=echo(copy))

    address = echo_server.host, echo_server.port
    said = kernel(proxy.url(), program, *address)
    assert said == {"family": True, "error": 0, "peer": [*address], "echoed": "hello"}


@pytest.mark.parametrize("hand_on", WAYS, ids=[each.__name__ for each in WAYS])
def test_an_epoll_tells_of_a_copy_whose_original_is_closed(hand_on, proxy, echo_server):
    def program(host, port):
        sock = start(host, port)
        fd = hand_on(sock)
        poller = select.epoll()
        poller.register(fd, select.EPOLLOUT)
        sock.close()
        events = poller.poll(PATIENCE)
        copy = socket.socket(fileno=fd)
        error = copy.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        say(is_told=[each for each, _ in events] == [fd], error=error, echoed=echo(copy))

    said = kernel(proxy.url(), program, echo_server.host, echo_server.port)
    assert said == {"is_told": True, "error": 0, "echoed": "hello"}


def test_a_tunnel_that_opens_while_its_socket_is_on_the_way_in_another_is_that_sockets(proxy, echo_server):
    def program(host, port):
        from pywrap import intercept

        near, far = socket.socketpair()
        before = descriptors()
        sock = start(host, port)
        socket.send_fds(near, [b"x"], [sock.fileno()])
        sock.close()
        while not intercept.current().registry.established:
            os.sched_yield()
        copy = socket.socket(fileno=socket.recv_fds(far, 1, 1)[1][0])
        result = [wait_writable(copy), copy.getpeername(), echo(copy)]
        copy.close()
        say(result=result, left=left_over(before))

    said = kernel(proxy.url(), program, echo_server.host, echo_server.port)
    assert said == {"result": [0, [echo_server.host, echo_server.port], "hello"], "left": 0}


def test_a_tunnel_that_nobody_receives_is_closed(proxy, echo_server):
    def program(host, port):
        from pywrap import intercept

        before = descriptors()
        near, far = socket.socketpair()
        sock = start(host, port)
        socket.send_fds(near, [b"x"], [sock.fileno()])
        sock.close()
        while not intercept.current().registry.established:
            os.sched_yield()
        near.close(), far.close()
        say(left=left_over(before), pending=len(intercept.current().registry.pending))

    said = kernel(proxy.url(), program, echo_server.host, echo_server.port)
    assert said == {"left": 0, "pending": 0}


def test_a_child_that_has_a_pending_socket_does_not_keep_the_parents_connection_open(proxy, echo_server):
    def program(host, port):
        before = descriptors()
        sock = start(host, port)
        poller = select.epoll()
        poller.register(sock, select.EPOLLOUT)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            # Until the parent has looked.
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
        poller.poll(PATIENCE)
        sock.close(), poller.close()
        left = left_over([*before, "reader", "writer"])
        os.close(writer), os.waitpid(child, 0)
        say(left=left)

    said = kernel(proxy.url(), program, echo_server.host, echo_server.port)
    assert said == {"left": 0}


def test_a_detached_descriptor_gets_its_tunnel(proxy, echo_server):
    def program(host, port):
        fd = start(host, port).detach()
        select.select([], [fd], [], PATIENCE)
        sock = socket.socket(fileno=fd)
        say(
            error=sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
            echoed=echo(sock),
            peer=sock.getpeername(),
        )

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said == {"error": 0, "echoed": "hello", "peer": [echo_server.host, echo_server.port]}


def test_options_set_on_it_are_the_tunnels(proxy, echo_server):
    def program(host, port):
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.bind(("127.0.0.1", 0))
        bound = sock.getsockname()
        sock.set_inheritable(True)
        sock.connect_ex((host, port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wait_writable(sock)
        say(
            nodelay=sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
            keepalive=sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            bound=bound == sock.getsockname(),
            inheritable=sock.get_inheritable(),
            blocking=os.get_blocking(sock.fileno()),
        )

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said == {"nodelay": 1, "keepalive": 1, "bound": True, "inheritable": True, "blocking": False}


def test_leaving_non_blocking_mode_waits_for_the_tunnel(proxy, echo_server):
    def program(host, port):
        results = []
        for method, value in (("setblocking", True), ("settimeout", None), ("settimeout", 20)):
            sock = start(host, port)
            getattr(sock, method)(value)
            sock.sendall(b"hello")
            results.append(sock.recv(5, socket.MSG_WAITALL).decode())
        say(results=results, blocking=os.get_blocking(sock.fileno()))

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said == {"results": ["hello"] * 3, "blocking": False}


def test_waiting_for_it_with_a_timeout_ends(hanging):
    def program():
        sock = start("192.0.2.1", 80)
        sock.settimeout(0.05)
        say(recv=outcome(sock.recv, 1)[:2])

    said = kernel(
        hanging,
        program,
    )
    assert said == {"recv": ["TimeoutError", None]}


def test_a_failure_is_told_once_and_the_socket_can_try_again(proxy, echo_server, refusing_port):
    def program(host, port):
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex((host, int(sys.argv[3])))
        select.select([], [sock], [], PATIENCE)
        first = [sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for _ in range(2)]
        peer = outcome(sock.getpeername)[1]
        sock.connect_ex((host, port))
        second = wait_writable(sock)
        say(
            first=first,
            peer=peer,
            second=second,
            echoed=echo(sock),
            nodelay=sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
        )

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port, refusing_port),
    )
    assert said == {"first": [111, 0], "peer": "ENOTCONN", "second": 0, "echoed": "hello", "nodelay": 1}


def test_connect_again_tells_the_failure_too(proxy, refusing_port):
    def program(host, port):
        sock = start(host, port)
        select.select([], [sock], [], PATIENCE)
        say(again=errno.errorcode[sock.connect_ex((host, port))])

    said = kernel(
        proxy.url(),
        program,
        *("127.0.0.1", refusing_port),
    )
    assert said == {"again": "ECONNREFUSED"}


def test_a_connected_tunnel_is_connected(proxy, echo_server):
    def program(host, port):
        sock = start(host, port)
        wait_writable(sock)
        blocking = socket.create_connection((host, port))
        say(
            again=[errno.errorcode[s.connect_ex((host, port))] for s in (sock, sock, blocking)],
            echoed=echo(sock),
        )

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said == {"again": ["EISCONN"] * 3, "echoed": "hello"}


def test_500_at_once(proxy, echo_server):
    def program(host, port):
        before = descriptors()
        socks = [start(host, port) for _ in range(500)]
        assert len(os.listdir("/proc/self/task")) <= 2
        poller = select.poll()
        for sock in socks:
            poller.register(sock, select.POLLOUT)
        waiting = {sock.fileno(): sock for sock in socks}
        errors = []
        while waiting:
            for fd, _ in poller.poll(PATIENCE * 1000):
                poller.unregister(fd)
                errors.append(waiting.pop(fd).getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        echoed = {echo(sock) for sock in socks}
        for sock in socks:
            sock.close()
        while len(os.listdir("/proc/self/task")) > 1:
            pass
        say(errors=set(errors) == {0}, echoed=list(echoed), left=left_over(before))

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
        options=("--timeout", "100"),
    )
    assert said == {"errors": True, "echoed": ["hello"], "left": 0}
    assert len(proxy.seen) == 500


def test_without_descriptors_it_is_emfile_and_nothing_hangs(proxy, echo_server):
    def program(host, port):
        import resource

        start(host, port).close()
        socks = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        try:
            while True:
                sock = socket.socket()
                sock.setblocking(False)
                socks.append(sock)
                error = sock.connect_ex((host, port))
                if error != errno.EINPROGRESS:
                    break
        except OSError as err:
            error = err.errno
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        started = socks[:-1]
        ends = {wait_writable(sock) for sock in started}
        for sock in socks:
            sock.close()
        again = start(host, port)
        say(
            error=errno.errorcode[error],
            ends=all(end in (0, errno.EMFILE) for end in ends),
            again=wait_writable(again),
            echoed=echo(again),
        )

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said == {"error": "EMFILE", "ends": True, "again": 0, "echoed": "hello"}


def test_a_fork_leaves_the_parents_tunnel_alone_and_fails_the_childs(proxy, echo_server):
    def program(host, port):
        sock = start(host, port)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            own = start(host, port)
            mine = wait_writable(own)
            os.write(writer, json.dumps([error, mine, echo(own)]).encode())
            os._exit(0)
        os.waitpid(child, 0)
        error = wait_writable(sock)
        say(parent=[error, echo(sock)], child=json.loads(os.read(reader, 1000)))

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    # The tunnel may have been there before the fork.
    assert said["parent"] == [0, "hello"]
    assert said["child"][0] in (0, 103)
    assert said["child"][1:] == [0, "hello"]


def test_the_tables_do_not_grow_with_closed_sockets(proxy, echo_server):
    def program(host, port):
        from pywrap import intercept

        for number in range(300):
            if number % 2:
                socket.create_connection((host, port)).close()
            else:
                sock = start(host, port)
                wait_writable(sock)
                sock.close()
        found = intercept.current().registry
        say(established=len(found.established) < 150, pending=len(found.pending))

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said == {"established": True, "pending": 0}


def test_failures_that_are_not_asked_about_leave_nothing(proxy, refusing_port):
    def program(host, port):
        from pywrap import intercept

        before = descriptors()
        for number in range(200):
            sock = start(host, port)
            select.select([], [sock], [], PATIENCE)
            if number % 2:
                sock.close()
            else:
                os.close(sock.detach())
        found = intercept.current().registry
        most = len(found.pending)
        # What passed no patch is found when the tables have grown.
        found._sweep()
        say(most=most < 150, pending=len(found.pending), left=left_over(before))

    said = kernel(
        proxy.url(),
        program,
        *("127.0.0.1", refusing_port),
    )
    assert said == {"most": True, "pending": 0, "left": 0}


def test_options_of_a_failed_socket_are_those_of_a_tcp_socket(proxy, refusing_port):
    def program(host, port):
        sock = start(host, port)
        select.select([], [sock], [], PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        domain = sock.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) == socket.AF_INET
        peer = outcome(sock.getpeername)[1]
        copy = sock.dup()
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        say(
            domain=domain,
            peer=peer,
            error=error,
            again=copy.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
            nodelay=[s.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for s in (sock, copy)],
        )

    said = kernel(
        proxy.url(),
        program,
        *("127.0.0.1", refusing_port),
    )
    assert said == {"domain": True, "peer": "ENOTCONN", "error": 111, "again": 0, "nodelay": [1, 1]}


def test_tls_on_a_pending_socket(proxy, https_server):
    def program(host, port):
        import ssl

        sock = start(host, port)
        wait_writable(sock)
        sock.setblocking(True)
        context = ssl.create_default_context(cafile=sys.argv[3])
        with context.wrap_socket(sock, server_hostname="localhost") as tls:
            say(peer=tls.getpeername(), version=tls.version())

    said = kernel(
        proxy.url(),
        program,
        *(https_server.host, https_server.port, https_server.ca_pem),
    )
    assert said == {"peer": [https_server.host, https_server.port], "version": "TLSv1.3"}


def test_what_is_said_of_a_connection_is_said_before_the_program_can_end(proxy, echo_server):
    def program(host, port):
        # Forked: each of them has a thread of ours of its own, and starts sooner than an interpreter.
        for _ in range(20):
            if os.fork() == 0:
                wait_writable(start(host, port))
                os._exit(0)
            os.wait()

    command = pysocksify("-v", "-x", proxy.url(), "--loopback", "proxy")
    ran = run(*command, sys.executable, "-c", source_of(program, echo_server.host, echo_server.port))
    assert ran.err.count("connected in") == 20
