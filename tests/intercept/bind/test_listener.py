"""Sockets that listen at a proxy: listen(), accept(), and what they are asked meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.bind import BOUND, CAME, REQUEST, acceptable, at, listening, peer, readable, talk, url
from tests.support.child import kernel, source_of
from tests.support.inside import PATIENCE, descriptors, left_over, outcome, say
from tests.support.run import program, pysocksify, run
from tests.support.scripted import CHOICE, GREETING, scripted
from tests.support.servers import reference_server


@pytest.fixture(params=["reference", "dante"])
def binder(request):
    """The URL of each proxy that knows BIND."""
    if request.param == "reference":
        return request.getfixturevalue("proxy").url()
    return url(request.getfixturevalue("dante"))


# ---------------------------------------------------------------- a peer comes


@pytest.mark.parametrize("blocking", [True, False])
def test_a_peer_is_polled_for_and_accepted(binder, blocking):
    def program():
        sock = listening(blocking=sys.argv[1] == "True")
        before = readable(sock)
        other = peer(sock)
        after = readable(sock, PATIENCE)
        conn, address = sock.accept()
        say(
            before=before,
            after=after,
            peer=[conn.getpeername() == address == other.getsockname()],
            own=conn.getsockname() == other.getpeername() == sock.getsockname(),
            blocking=[os.get_blocking(conn.fileno()), conn.gettimeout()],
            inheritable=conn.get_inheritable(),
            talked=talk(conn, other),
        )

    said = at(
        binder,
        program,
        blocking,
    )
    assert said == {
        "before": False,
        "after": True,
        "peer": [True],
        "own": True,
        "blocking": [True, None],
        "inheritable": False,
        "talked": "talked",
    }


def test_in_every_interpreter(interpreter, dante):
    def program():
        sock = listening(blocking=False)
        other = peer(sock)
        sent = outcome(sock.send, b"x")[1]
        conn, address = acceptable(sock)
        sock.shutdown(socket.SHUT_RDWR)
        say(
            peer=address == conn.getpeername() == other.getsockname(),
            talked=talk(conn, other),
            refused=[sent, outcome(sock.accept)[1]],
        )

    command = pysocksify("-x", url(dante), "--listen", "bind")
    said = run(*command, interpreter, "-c", source_of(program)).json
    assert said == {"peer": True, "talked": "talked", "refused": ["EPIPE", "EINVAL"]}


@pytest.mark.parametrize("scheme", ["socks4", "socks4a", "socks5"])
def test_every_version_binds(dante, scheme):
    def program():
        sock = listening()
        other = peer(sock)
        conn, address = sock.accept()
        say(peer=address == other.getsockname(), talked=talk(conn, other))

    said = at(
        url(dante, scheme),
        program,
    )
    assert said == {"peer": True, "talked": "talked"}


def test_a_listener_is_one_by_all_that_it_is_asked(binder):
    def program():
        def asked(sock):
            return [
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN),
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
                outcome(sock.getpeername)[1],
                outcome(sock.connect, ("192.0.2.1", 80))[1],
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM,
                sock.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) == socket.AF_INET,
            ]

        sock = listening()
        fresh = asked(sock)
        sock.listen(5)
        _other = peer(sock)
        name = sock.getsockname()
        conn, _ = sock.accept()
        say(fresh=fresh, used=asked(sock), again=name == sock.getsockname())

    said = at(
        binder,
        program,
    )
    asked = [1, 0, "ENOTCONN", "EISCONN", True, True]
    assert said == {"fresh": asked, "used": asked, "again": True}


def test_options_of_the_listener_are_those_of_what_it_accepts(binder):
    def program():
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.listen()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        options = []
        for _ in range(2):
            _other = peer(sock)
            conn, _ = sock.accept()
            options.append(
                [
                    conn.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                    conn.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                ]
            )
            sock.listen()
        say(options=options)

    said = at(
        binder,
        program,
    )
    assert said == {"options": [[1, 1], [1, 1]]}


@pytest.mark.parametrize(("host", "place"), [("::1", "::1"), ("127.0.0.1", "::ffff:127.0.0.1")])
def test_an_ipv6_listener_is_where_the_proxy_is(host, place):
    def program():
        sock = socket.create_server(("", 0), family=socket.AF_INET6)
        place = sock.getsockname()
        other = socket.create_connection((place[0], place[1]), PATIENCE)
        conn, address = sock.accept()
        say(
            place=place[0],
            family=conn.family == socket.AF_INET6,
            peer=address[1] == other.getsockname()[1],
            long=len(address),
            talked=talk(conn, other),
        )

    with reference_server(listen=[(host, 0)]) as proxy:
        said = at(
            proxy.url(scheme="socks5" if host == "::1" else "socks4a"),
            program,
        )
    assert said == {"place": place, "family": True, "peer": True, "long": 4, "talked": "talked"}


# As the kernel has it for a socket that listens. (recv() from one that was shut down gets b"".)
def calls(sock):
    room = bytearray(10)
    return [
        outcome(function, *args)[1]
        for function, *args in (
            (sock.send, b"x"),
            (sock.sendall, b"x"),
            (sock.sendmsg, [b"x"]),
            (sock.sendto, b"x", ("127.0.0.1", 9)),
            (sock.recv, 10),
            (sock.recvfrom, 10),
            (sock.recvmsg, 10),
            (sock.recv_into, room),
            (sock.recvfrom_into, room),
            (sock.recvmsg_into, [room]),
            (sock.recv, 10, socket.MSG_PEEK),
        )
    ]


@pytest.mark.parametrize("blocking", [True, False])
def test_nothing_is_sent_or_received_on_a_listener(binder, blocking):
    def program():
        class Own(socket.socket):
            def recv(self, *args):
                return super().recv(*args)

        here = socket.create_server(("127.0.0.1", 0))
        expected = calls(here)
        sock = Own()
        sock.setblocking(sys.argv[1] == "True")
        sock.listen()
        same = [calls(sock) == expected]
        other = peer(sock)
        assert select.select([sock], [], [], PATIENCE)[0]
        same.append(calls(sock) == expected)
        conn, address = sock.accept()
        same.append(calls(sock) == expected)
        say(
            expected=expected,
            same=same,
            names=[type(sock).__name__, isinstance(sock, Own), type(conn) is socket.socket],
            of_c=conn.recv == socket.socket.recv.__get__(conn) and type(socket.socket.recv).__name__,
            talked=talk(conn, other),
        )

    said = at(
        binder,
        program,
        blocking,
    )
    assert said == {
        "expected": ["EPIPE"] * 4 + ["ENOTCONN"] * 7,
        "same": [True] * 3,
        "names": ["Own", True, True],
        "of_c": "method_descriptor",
        "talked": "talked",
    }


def test_a_socket_that_could_not_listen_has_the_methods_of_c_again():
    def program():
        sock = socket.socket()
        refused = outcome(sock.listen)[1]
        say(refused=refused, own=type(sock) is socket.socket)

    with scripted(len(GREETING), CHOICE, len(REQUEST), bytes([5, 7])) as proxy:
        said = at(
            url(proxy),
            program,
        )
    assert said == {"refused": errno.errorcode[errno.EOPNOTSUPP], "own": True}


def shut(sock, how):
    got = [outcome(sock.shutdown, how), outcome(sock.accept)[1:2], outcome(sock.accept)[1:2]]
    options = socket.SO_ACCEPTCONN, socket.SO_ERROR
    got.append([sock.getsockopt(socket.SOL_SOCKET, option) for option in options])
    return [*got, outcome(sock.send, b"x")[1], outcome(sock.shutdown, how)[1], readable(sock)]


@pytest.mark.parametrize("how", ["SHUT_RD", "SHUT_RDWR"])
@pytest.mark.parametrize("when", ["at once", "with a port", "with a peer", "after a peer"])
def test_shut_down_until_it_listens_again(binder, how, when):
    def program():
        name, when = sys.argv[1].split("/")
        how = getattr(socket, name)
        here = socket.create_server(("127.0.0.1", 0))
        here.setblocking(False)
        expected = shut(here, how)
        before = descriptors()
        sock = listening(blocking=False)
        if when != "at once":
            sock.getsockname()
        if "peer" in when:
            other = peer(sock)
            assert select.select([sock], [], [], PATIENCE)[0]
        if when == "after a peer":
            conn, _ = acceptable(sock)
            conn.close()
        same = shut(sock, how) == expected
        if when == "with a peer":
            try:
                ended = other.recv(1) == b""
            except ConnectionResetError:
                ended = True
        else:
            ended = True
        named = sock.getsockname()[1] > 0 or when == "at once"
        sock.listen()
        other = peer(sock)
        conn, address = acceptable(sock)
        talked = talk(conn, other)
        for each in conn, other, sock:
            each.close()
        say(same=same, expected=expected, ended=ended, named=named, talked=talked, left=left_over(before))

    said = at(
        binder,
        program,
        f"{how}/{when}",
    )
    assert said.pop("expected") == [None, ["EINVAL"], ["EINVAL"], [0, 0], "EPIPE", "ENOTCONN", True]
    assert said == {"same": True, "ended": True, "named": True, "talked": "talked", "left": 0}


@pytest.mark.parametrize("asking", [True, False])
def test_an_accept_that_waits_is_told_of_a_shutdown(hanging, asking):
    def program():
        import threading

        sock = listening(blocking=False)
        sock.settimeout(PATIENCE)
        told = []
        thread = threading.Thread(target=lambda: told.append(outcome(sock.accept)[1]))
        thread.start()
        state = f"/proc/self/task/{thread.native_id}/stat"
        while open(state).read().rpartition(")")[2].split()[0] != "S":
            pass
        sock.shutdown(socket.SHUT_RDWR)
        thread.join()
        say(told=told)

    with scripted(len(GREETING), CHOICE, len(REQUEST), BOUND, 1) as proxy:
        said = at(
            hanging if asking else url(proxy),
            program,
            options=("--timeout", "300"),
        )
    assert said == {"told": ["EINVAL"]}


def test_shut_down_for_writing_it_listens_on(binder):
    def program():
        sock = listening()
        sock.shutdown(socket.SHUT_WR)
        other = peer(sock)
        conn, _ = sock.accept()
        say(wrong=outcome(sock.shutdown, 7)[1], talked=talk(conn, other))

    said = at(
        binder,
        program,
    )
    assert said == {"wrong": "EINVAL", "talked": "talked"}


# ---------------------------------------------------------------- and others after it


def test_accepting_again_gets_another_port(binder):
    def program():
        import threading

        sock = listening()
        served, ports = [], [sock.getsockname()[1]]

        def serve():
            for _ in range(3):
                served.append(sock.accept())

        thread = threading.Thread(target=serve)
        thread.start()
        others = []
        while len(ports) < 4:
            others.append(peer(sock))
            while len(ports) < 4 and sock.getsockname()[1] in ports and thread.is_alive():
                pass
            ports.append(sock.getsockname()[1])
        thread.join()
        peers = [address == other.getsockname() for (_, address), other in zip(served, others, strict=True)]
        say(ports=len(set(ports[:3])), peers=peers)

    said = at(
        binder,
        program,
    )
    assert said == {"ports": 3, "peers": [True, True, True]}


def test_a_listener_that_is_closed_after_its_peer_asks_once():
    def program():
        before = descriptors()
        sock = listening()
        conn, address = sock.accept()
        sock.close()
        conn.close()
        say(name=address, left=left_over(before))

    with scripted(len(GREETING), CHOICE, len(REQUEST), BOUND, CAME, None) as proxy:
        said = at(
            url(proxy),
            program,
        )
    assert said == {"name": ["192.0.2.7", 20], "left": 0}
    assert proxy.received == [GREETING + REQUEST]


def test_a_loop_that_polls_for_one_at_a_time_is_served(binder):
    def program():
        import socketserver
        import threading

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.sendall(str(self.client_address[1]).encode())

        server = socketserver.TCPServer(("", 0), Handler)
        served = []

        def visit():
            while len(served) < 3:
                try:
                    with peer(server.socket) as other:
                        served.append(int(other.recv(100)) == other.getsockname()[1])
                except OSError:
                    # The port before.
                    pass

        thread = threading.Thread(target=visit)
        thread.start()
        for _ in range(3):
            server.handle_request()
        thread.join()
        say(served=served)

    said = at(
        binder,
        program,
    )
    assert said["served"] == [True] * 3


def serve_one_after_another():
    async def main():
        came = asyncio.Queue()

        async def serve(reader, writer):
            writer.write(await reader.readexactly(5))
            names = [writer.get_extra_info(name) for name in ("peername", "sockname")]
            await writer.drain()
            await came.put(names)
            writer.close()

        server = await asyncio.start_server(serve, host, 0)
        sock = server.sockets[0]
        ports, names = [], []
        for _ in range(3):
            place = sock.getsockname()
            while place[1] in ports:
                await asyncio.sleep(0)
                place = sock.getsockname()
            ports.append(place[1])
            reader, writer = await asyncio.open_connection("127.0.0.1", place[1])
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            expected = [writer.get_extra_info(name) for name in ("sockname", "peername")]
            names.append([name[1] for name in await came.get()] == [name[1] for name in expected])
            writer.close()
        server.close()
        return names

    host = sys.argv[1] or None
    say(names=asyncio.run(main()))


def test_asyncio_serves_one_after_another(binder):
    assert at(binder, serve_one_after_another, "0.0.0.0") == {"names": [True, True, True]}


@pytest.mark.parametrize("selector", ["EpollSelector", "PollSelector", "SelectSelector"])
def test_a_loop_that_does_not_ask_where_it_listens_is_woken_up(selector):
    def program():
        import asyncio
        import selectors

        async def main():
            served = asyncio.Semaphore(0)

            async def serve(reader, writer):
                assert await reader.readexactly(5) == b"hello"
                writer.close()
                served.release()

            server = await asyncio.start_server(serve, "0.0.0.0", 0)
            for _ in range(3):
                await served.acquire()
            server.close()

        selector = getattr(selectors, sys.argv[1])
        loop = asyncio.SelectorEventLoop(selector())
        loop.run_until_complete(main())
        loop.close()
        say(served=3)

    with scripted(len(GREETING), CHOICE, len(REQUEST), BOUND, CAME + b"hello", None) as proxy:
        said = at(
            url(proxy),
            program,
            selector,
        )
    assert said == {"served": 3}
    # The next may be on its way when the server is closed.
    assert proxy.received.count(GREETING + REQUEST) >= 3


def test_trio_serves_one_after_another(binder):
    def program():
        import trio

        async def main():
            served = []
            listeners = await trio.open_tcp_listeners(0, host="0.0.0.0")
            sock = listeners[0].socket

            async def serve(stream):
                served.append((await stream.receive_some(5)).decode())
                await stream.send_all(b"hello")

            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, serve, listeners)
                ports = []
                for _ in range(3):
                    while sock.getsockname()[1] in ports:
                        await trio.sleep(0)
                    ports.append(sock.getsockname()[1])
                    async with await trio.open_tcp_stream("127.0.0.1", ports[-1]) as stream:
                        await stream.send_all(b"hello")
                        await stream.receive_some(5)
                nursery.cancel_scope.cancel()
            return served

        say(served=trio.run(main))

    said = at(
        binder,
        program,
    )
    assert said == {"served": ["hello"] * 3}


def test_gevent_accepts_the_first(binder):
    said = run(
        *pysocksify("-x", binder, "--listen", "bind"),
        *program("accept_gevent.py"),
    ).json
    assert said == {"served": ["hello"]}


# ---------------------------------------------------------------- and when no peer comes


@pytest.fixture
def impatient():
    """A proxy that listens for little more than a second."""
    with reference_server(bind_timeout=1.2) as proxy:
        yield proxy


def test_accept_outlasts_the_proxys_patience(impatient):
    def program():
        import threading

        sock = listening()
        first = sock.getsockname()
        accepted = []
        thread = threading.Thread(target=lambda: accepted.append(sock.accept()))
        thread.start()
        while sock.getsockname() == first:
            pass
        other = peer(sock)
        thread.join()
        conn, address = accepted[0]
        say(peer=address == other.getsockname(), talked=talk(conn, other))

    command = pysocksify("-x", impatient.url(), "--listen", "bind", "-v")
    ran = run(*command, sys.executable, "-c", source_of(program))
    assert ran.json == {"peer": True, "talked": "talked"}
    assert f"proxy {impatient.host}:{impatient.port}: no peer came in time (listening, by BIND)" in ran.err
    assert "failed" not in ran.err


# What a loop serves, once it listens at another port than the first.
async def visited(ready=lambda: None, failed=lambda: None):
    errors = []

    def handle(loop, context):
        errors.append(errno.errorcode[context["exception"].errno])
        failed()

    async def serve(reader, writer):
        writer.write(await reader.readexactly(5))
        await writer.drain()
        writer.close()

    asyncio.get_running_loop().set_exception_handler(handle)
    server = await asyncio.start_server(serve, "0.0.0.0", 0)
    sock = server.sockets[0]
    first = sock.getsockname()
    ready()
    while sock.getsockname() == first:
        await asyncio.sleep(0)
    reader, writer = await asyncio.open_connection("127.0.0.1", sock.getsockname()[1])
    writer.write(b"hello")
    echoed = (await reader.readexactly(5)).decode()
    writer.close()
    serving = server.is_serving()
    server.close()
    say(errors=errors, echoed=echoed, serving=serving)


@pytest.mark.parametrize("selector", ["EpollSelector", "PollSelector", "SelectSelector"])
def test_a_loop_outlasts_the_proxys_patience(impatient, selector):
    def program():
        import selectors

        loop = asyncio.SelectorEventLoop(getattr(selectors, sys.argv[1])())
        loop.run_until_complete(visited())
        loop.close()

    said = at(
        impatient.url(),
        program,
        selector,
    )
    assert said == {"errors": [], "echoed": "hello", "serving": True}


def restarted_in_asyncio(host, port):
    control = socket.create_connection((host, port), PATIENCE)
    asyncio.run(visited(lambda: control.sendall(b"s"), lambda: control.sendall(b"f")))


def restarted_while_blocking(host, port):
    control = socket.create_connection((host, port), PATIENCE)
    sock = listening()
    first = sock.getsockname()
    control.sendall(b"s")
    errors = [outcome(sock.accept)[1]]
    control.sendall(b"f")
    accepted = []

    def serve():
        while not accepted:
            try:
                accepted.append(sock.accept())
            except ConnectionRefusedError:
                # It takes its time.
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    while sock.getsockname() == first:
        pass
    other = peer(sock)
    thread.join()
    other.sendall(b"hello")
    say(errors=errors, echoed=accepted[0][0].recv(5, socket.MSG_WAITALL).decode(), serving=True)


RESTARTED = {"asyncio": restarted_in_asyncio, "blocking": restarted_while_blocking}


@pytest.mark.parametrize("how", RESTARTED)
def test_a_proxy_that_is_gone_is_told_of_once_and_may_come_back(how):
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        with reference_server() as proxy:
            said = pool.submit(at, proxy.url(), RESTARTED[how], *server.getsockname())
            control, _ = server.accept()
            assert control.recv(1) == b"s"
        with control:
            assert control.recv(1) == b"f"
            with reference_server(listen=[proxy.address]):
                assert said.result() == {"errors": ["ECONNREFUSED"], "echoed": "hello", "serving": True}


def test_a_listener_that_is_closed_while_a_proxy_is_gone_leaves_nothing():
    def program():
        before = descriptors()
        sock = listening()
        outcome(sock.accept)
        sock.close()
        while len(os.listdir("/proc/self/task")) > 1:
            pass
        say(left=left_over(before))

    with scripted(len(GREETING), CHOICE, len(REQUEST), BOUND) as proxy:
        said = at(
            url(proxy),
            program,
        )
    assert said == {"left": 0}


# ---------------------------------------------------------------- waiting


def test_no_peer_is_there_yet(binder):
    def program():
        sock = listening()
        sock.settimeout(0.05)
        timed = outcome(sock.accept)
        sock.setblocking(False)
        at_once = outcome(sock.accept)
        other = peer(sock)
        conn, _ = acceptable(sock)
        say(timed=timed, at_once=at_once[:2], talked=talk(conn, other))

    said = at(
        binder,
        program,
    )
    assert said == {
        "timed": ["TimeoutError", None, "timed out"],
        "at_once": ["BlockingIOError", "EAGAIN"],
        "talked": "talked",
    }


def test_listen_does_not_block_a_loop_and_getsockname_waits(hanging):
    def program():
        sock = listening(blocking=False)
        accepted = outcome(sock.accept)[:2]
        say(accepted=accepted, readable=readable(sock), named=outcome(sock.getsockname))

    said = at(
        hanging,
        program,
        options=("--timeout", "1"),
    )
    named = said.pop("named")
    assert said == {"accepted": ["BlockingIOError", "EAGAIN"], "readable": False}
    assert named[:2] == ["TimeoutError", "ETIMEDOUT"]


def test_a_second_listener_waits_for_the_proxy_as_long_as_accept_may(hanging):
    def program():
        sock = listening(blocking=False)
        sock.settimeout(0.05)
        say(timed=outcome(sock.accept))

    said = at(
        hanging,
        program,
    )
    assert said == {"timed": ["TimeoutError", None, "timed out"]}


def test_two_threads_in_accept(binder):
    def program():
        import threading

        sock = listening()
        served = []
        threads = [threading.Thread(target=lambda: served.append(sock.accept())) for _ in range(2)]
        for thread in threads:
            thread.start()
        ports, others = [], []
        for count in range(2):
            while sock.getsockname()[1] in ports:
                pass
            ports.append(sock.getsockname()[1])
            others.append(peer(sock))
            while len(served) <= count:
                pass
        for thread in threads:
            thread.join()
        say(talked=[talk(conn, other) for (conn, _), other in zip(served, others, strict=True)])

    said = at(
        binder,
        program,
    )
    assert said == {"talked": ["talked", "talked"]}


# ---------------------------------------------------------------- dup, detach, fork, close


def test_duplicates_and_detached_descriptors_listen_on(binder):
    def program():
        sock = listening()
        copy = sock.dup()
        sock.close()
        first = peer(copy)
        conn, _ = copy.accept()
        talked = [talk(conn, first)]
        copy.listen()
        detached = socket.socket(fileno=copy.detach())
        second = peer(detached)
        conn, _ = detached.accept()
        talked.append(talk(conn, second))
        say(talked=talked, family=detached.family == socket.AF_INET)

    said = at(
        binder,
        program,
    )
    assert said == {"talked": ["talked", "talked"], "family": True}


def test_closing_ends_it_at_the_proxy():
    def program():
        before = descriptors()
        for blocking in (True, False):
            sock = listening(blocking)
            sock.getsockname()
            sock.close()
        for end in (lambda sock: sock.close(), lambda sock: os.close(sock.detach())):
            end(listening(blocking=False))
        while descriptors() != before or len(os.listdir("/proc/self/task")) > 1:
            pass
        say(left=False)

    script = (len(GREETING), CHOICE, len(REQUEST), BOUND, 1)
    # The last act of the script ends with our connection, and the context with the script.
    with scripted(*script) as proxy:
        said = at(
            url(proxy),
            program,
        )
    assert said == {"left": False}


def test_a_child_accepts_what_its_parent_listened_for(binder):
    def program():
        sock = listening()
        other = peer(sock)
        if os.fork() == 0:
            conn, _ = sock.accept()
            conn.sendall(conn.recv(5))
            os._exit(0)
        sock.close()
        other.sendall(b"hello")
        echoed = other.recv(5, socket.MSG_WAITALL).decode()
        os.wait()
        say(echoed=echoed)

    said = at(
        binder,
        program,
    )
    assert said == {"echoed": "hello"}


def test_a_child_that_is_forked_before_the_reply_asks_for_itself(binder):
    def program():
        import warnings

        warnings.simplefilter("ignore", DeprecationWarning)  # a thread of ours is at work
        sock = listening(blocking=False)
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.write(writing, str(sock.getsockname()[1]).encode() + b"\n")
            conn, _ = acceptable(sock)
            conn.sendall(b"hello from the child")
            os._exit(0)
        ports = [int(os.read(reading, 100)), sock.getsockname()[1]]
        with socket.create_connection(("127.0.0.1", ports[0]), PATIENCE) as other:
            child = other.recv(100).decode()
        other = peer(sock)
        conn, _ = acceptable(sock)
        os.wait()
        say(different=ports[0] != ports[1], child=child, parent=talk(conn, other))

    said = at(
        binder,
        program,
    )
    assert said == {"different": True, "child": "hello from the child", "parent": "talked"}


# ---------------------------------------------------------------- what the proxy says


def test_both_replies_byte_by_byte_and_what_follows_is_the_programs():
    def program():
        sock = listening()
        name = sock.getsockname()
        sock.settimeout(PATIENCE)
        conn, address = sock.accept()
        say(
            name=name,
            address=address,
            own=conn.getsockname(),
            peer=conn.getpeername(),
            greeting=conn.recv(100).decode(),
        )

    pieces = [bytes([byte]) for byte in BOUND + CAME]
    with scripted(len(GREETING), CHOICE, len(REQUEST), *pieces, b"220 hello", None) as proxy:
        said = at(
            url(proxy),
            program,
        )
    assert said == {
        "name": ["203.0.113.9", 4711],
        "address": ["192.0.2.7", 20],
        "own": ["203.0.113.9", 4711],
        "peer": ["192.0.2.7", 20],
        "greeting": "220 hello",
    }
    assert proxy.received == [GREETING + REQUEST]


def test_a_name_in_place_of_the_peer():
    with scripted(
        len(GREETING), CHOICE, len(REQUEST), BOUND, b"\x05\x00\x00\x03\x04host\x00\x14", None
    ) as proxy:
        said = at(
            url(proxy),
            """
            conn, address = listening().accept()
            say(known=socket.getnameinfo(address, 0)[0], port=address[1], same=conn.getpeername() == address)
            """,
        )
    assert said == {"known": "host", "port": 20, "same": True}


@pytest.mark.parametrize(
    ("reply", "number"),
    [(7, errno.EOPNOTSUPP), (2, errno.EACCES), (1, errno.ECONNREFUSED), (8, errno.EAFNOSUPPORT)],
)
def test_a_proxy_that_refuses(reply, number):
    def program():
        before = descriptors()
        sock = socket.socket()
        refused = outcome(sock.listen)
        blocking = [os.get_blocking(sock.fileno()), outcome(sock.accept)[1]]
        sock.close()
        waiting = listening(blocking=False)
        assert select.select([waiting], [], [], PATIENCE)[0]
        named = outcome(waiting.getsockname)
        told = [waiting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) for _ in range(2)]
        quiet = readable(waiting)
        waiting.close()
        other = listening(blocking=False)
        assert select.select([other], [], [], PATIENCE)[0]
        accepted = outcome(other.accept)
        quiet = [quiet, readable(other)]
        other.close()
        say(
            refused=refused,
            blocking=blocking,
            named=named == refused,
            told=told,
            accepted=accepted == refused,
            quiet=quiet,
            left=left_over(before),
        )

    with scripted(len(GREETING), CHOICE, len(REQUEST), bytes([5, reply])) as proxy:
        said = at(
            url(proxy),
            program,
        )
    kind, name, text = said.pop("refused")
    assert name == errno.errorcode[number]
    assert f"proxy {proxy.host}:{proxy.port}: " in text
    assert "(asked to BIND for 0.0.0.0:0)" in text
    assert said == {
        "blocking": [True, "EINVAL"],
        "named": True,
        "told": [number, 0],
        "accepted": True,
        "quiet": [False, False],
        "left": 0,
    }


def test_a_loop_whose_proxy_has_no_bind():
    def program():
        import asyncio

        async def main():
            told = asyncio.Event()

            def handle(loop, context):
                loop.default_exception_handler(context)
                told.set()

            asyncio.get_running_loop().set_exception_handler(handle)
            for _ in range(2):
                server = await asyncio.start_server(lambda reader, writer: writer.close(), "0.0.0.0", 0)
                await told.wait()
                told.clear()
                server.close()

        asyncio.run(main())

    with scripted(len(GREETING), CHOICE, len(REQUEST), bytes([5, 7])) as proxy:
        command = pysocksify("-x", url(proxy), "--listen", "bind")
        ran = run(*command, sys.executable, "-c", source_of(program))
    refused = (
        f"proxy {proxy.host}:{proxy.port}: command not supported by the proxy (asked to BIND for 0.0.0.0:0)"
    )
    said = [line for line in ran.err.splitlines() if line.startswith("pysocksify[")]
    assert [line.partition(": ")[2] for line in said] == [f"listening failed: {refused}"]
    # Of each listener. Nothing of the thread's, where it failed.
    assert ran.err.count(f"OSError: [Errno {errno.EOPNOTSUPP}] {refused}") == 2
    assert "background.py" not in ran.err


def test_a_proxy_that_is_not_there(refusing_port):
    said = at(
        f"socks5h://127.0.0.1:{refusing_port}",
        "say(said=outcome(socket.socket().listen))",
    )
    assert said == {
        "said": [
            "ConnectionRefusedError",
            "ECONNREFUSED",
            f"[Errno 111] cannot reach the proxy 127.0.0.1:{refusing_port}: Connection refused",
        ]
    }


@pytest.mark.parametrize("cut", [0, 1, 4, 9])
def test_a_proxy_that_dies_between_the_replies(cut):
    def program():
        sock = listening()
        died = outcome(sock.accept)
        sock.setblocking(False)
        say(died=died[1], text=died[2], readable=readable(sock), open=sock.fileno() >= 0)

    with scripted(len(GREETING), CHOICE, len(REQUEST), BOUND, CAME[:cut]) as proxy:
        said = at(
            url(proxy),
            program,
        )
    assert said.pop("text").endswith("(listening, by BIND)")
    assert said == {"died": "ECONNRESET", "readable": False, "open": True}


@pytest.mark.parametrize("reply", [1, 6])
def test_a_proxy_that_never_has_patience(reply):
    def program():
        sock = listening(blocking=False)
        sock.getsockname()
        tried = []
        while not tried or tried[-1] == "EAGAIN":
            assert select.select([sock], [], [], PATIENCE)[0]
            tried.append(outcome(sock.accept)[1])
        say(told=tried[-1], quiet=readable(sock))

    with scripted(len(GREETING), CHOICE, len(REQUEST), BOUND, bytes([5, reply]) + CAME[2:]) as proxy:
        said = at(
            url(proxy),
            program,
        )
    assert said == {"told": {1: "ECONNREFUSED", 6: "ETIMEDOUT"}[reply], "quiet": False}
    # Not at once, which may be a proxy that is started anew.
    assert len(proxy.received) == 4


def test_after_a_failure_accept_asks_again():
    with scripted(len(GREETING), CHOICE, len(REQUEST), BOUND) as proxy:
        said = at(
            url(proxy),
            """
            sock = listening()
            say(died=[outcome(sock.accept)[1] for _ in range(2)])
            """,
        )
    assert said == {"died": ["ECONNRESET"] * 2}
    assert len(proxy.received) == 5


# ---------------------------------------------------------------- whom the proxy lets in


def latest():
    import socket
    import sys

    from pywrap import intercept
    from pywrap.config.settings import Chain, Proxy, Settings

    host, proxy, bind_peer = sys.argv[1:]
    chain = Chain((Proxy("socks5h", "127.0.0.1", int(proxy)),))
    intercept.install(Settings(chains=(chain,), listen="bind", bind_peer=bind_peer))
    control = socket.create_connection((host, 21))
    sock = socket.socket()
    sock.listen()
    assert control.getsockname() == ("203.0.113.9", 4711) or ":" in host


@pytest.mark.parametrize(
    ("bind_peer", "host", "asked"),
    [
        ("latest", "192.0.2.9", b"\x05\x02\x00\x01" + b"\xc0\x00\x02\x09" + b"\x00\x15"),
        ("latest", "ftp.example", b"\x05\x02\x00\x03" + b"\x0bftp.example" + b"\x00\x15"),
        # Whom an IPv4 listener could not tell the program.
        ("latest", "2001:db8::9", REQUEST),
        ("any", "192.0.2.9", REQUEST),
    ],
)
def test_the_proxy_expects_the_destination_of_the_latest_connection(bind_peer, host, asked):
    # The shortest of what comes; the rest is of no interest.
    with scripted(len(GREETING), CHOICE, len(REQUEST), BOUND, None) as proxy:
        run(sys.executable, "-c", source_of(latest), host, proxy.port, bind_peer)
    assert any((GREETING + asked).startswith(received) for received in proxy.received)


def test_a_stranger_is_sent_away_and_the_expected_peer_comes(proxy):
    def program(host, port):
        control = socket.create_connection((host, port), PATIENCE)
        sock = socket.socket()
        sock.listen()
        control.sendall(str(sock.getsockname()[1]).encode())
        conn, address = sock.accept()
        say(address=address, received=conn.recv(5, socket.MSG_WAITALL).decode())

    def serve():
        control, _ = server.accept()
        with control:
            place = "127.0.0.1", int(control.recv(100))
            # Which may come before connect() has seen its end.
            with contextlib.suppress(ConnectionResetError):
                with socket.create_connection(place, PATIENCE, source_address=("127.0.0.2", 0)) as stranger:
                    assert stranger.recv(1) == b""
            with socket.create_connection(place, PATIENCE) as expected:
                expected.sendall(b"hello")
                return expected.getsockname()

    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        peer = pool.submit(serve)
        said = kernel(
            proxy.url(),
            program,
            *server.getsockname(),
            options=("--listen", "bind"),
        )
        assert said == {"address": list(peer.result(PATIENCE)), "received": "hello"}
    assert [command for command, _, _ in proxy.asked] == ["CONNECT", "BIND"]


@pytest.mark.parametrize(("bind_peer", "hints"), [("latest", 2), ("any", 0)])
def test_when_no_peer_came_it_may_not_have_been_let_in(bind_peer, hints):
    def program():
        _control = socket.create_connection(("192.0.2.9", 21))
        sock = listening()
        sock.settimeout(0.05)
        outcome(sock.accept)
        sock.close()
        listening().close()

    with scripted(len(GREETING), CHOICE, len(REQUEST), BOUND, None) as proxy:
        command = pysocksify("-x", url(proxy), "--listen", "bind", "--bind-peer", bind_peer, "-v")
        ran = run(*command, sys.executable, "-c", source_of(program))
    hint = "no peer came to 203.0.113.9:4711, which was for 192.0.2.9 only (for others: --bind-peer any)"
    assert ran.err.count(hint) == hints


def test_through_a_chain_the_last_proxy_listens(proxy, dante):
    def program():
        sock = listening()
        name = sock.getsockname()
        other = peer(sock)
        conn, address = sock.accept()
        say(peer=address == other.getsockname(), own=conn.getsockname() == name, talked=talk(conn, other))

    said = kernel(
        proxy.url(),
        program,
        options=("-x", url(dante), "--loopback", "direct", "--listen", "bind"),
    )
    assert said == {"peer": True, "own": True, "talked": "talked"}
    assert proxy.asked == [("CONNECT", dante.host, dante.port)]


# ---------------------------------------------------------------- what stays here


def test_a_server_listens_here_by_default():
    # Nobody is at the proxy's address.
    command = pysocksify("-x", "socks5h://192.0.2.1:1080")
    said = run(*command, *program("serve_http.py")).json
    assert said == {"status": 200, "host": "0.0.0.0", "asyncio": "hello"}
    said = run(*command, *program("serve_uvicorn.py")).json
    assert said == {"status": 200, "body": "hello", "host": "127.0.0.1"}


@pytest.mark.parametrize("place", ["127.0.0.1:0", "::1:0", "0.0.0.0:PORT", "[::ffff:127.0.0.1]:0"])
def test_with_bind_a_port_of_its_own_and_loopback_stay_here(place, hanging):
    def program():
        host, _, port = sys.argv[1].rpartition(":")
        host = host.strip("[]")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            number = free.getsockname()[1]
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        sock.bind((host, number if port == "PORT" else 0))
        sock.listen()
        name = sock.getsockname()
        other = socket.create_connection(("::1" if host == "::1" else "127.0.0.1", name[1]), PATIENCE)
        conn, address = sock.accept()
        say(host=name[0] == host, talked=talk(conn, other), peer=address[1] == other.getsockname()[1])

    said = at(
        hanging,
        program,
        place,
    )
    assert said == {"host": True, "talked": "talked", "peer": True}


def test_a_connected_socket_cannot_listen(binder, echo_server):
    said = at(
        binder,
        """
        sock = socket.create_connection((host, port), PATIENCE)
        say(said=outcome(sock.listen)[1])
        """,
        *(echo_server.host, echo_server.port),
    )
    assert said == {"said": "EINVAL"}


def test_listening_for_others_is_refused_where_that_is_blocked(proxy):
    def program():
        got = {}
        for host in "", "127.0.0.1":
            sock = socket.socket()
            sock.bind((host, 0))
            got[host] = outcome(sock.listen)
        got["unbound"] = outcome(socket.socket().listen)
        say(**got)

    said = kernel(
        proxy.url(),
        program,
        options=("--listen", "block"),
    )
    assert said["127.0.0.1"] is None
    for where in "", "unbound":
        assert said[where][:2] == ["PermissionError", "EPERM"]
        assert "listening for others than this machine is blocked" in said[where][2]
    assert proxy.seen == []
