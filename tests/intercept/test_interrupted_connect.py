"""A signal handler in the middle of a blocking connect(): what it does with that socket, and with others.

The proxy waits with its first answer until the handler has ended.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.child import kernel
from tests.support.inside import echo, outcome, say, start, wait_writable
from tests.support.scripted import CHOICE, GREETING, PATIENCE, REPLY

REQUEST = b"\x05\x01\x00\x01" + b"\xc0\x00\x02\x01" + b"\x00\x50"


class Interrupted:
    """A program whose handler calls ``in_the_middle(self)``, while the main thread is in connect().

    ``sock`` is the socket that connects; it has greeted the proxy. ``seen``: what the handler has returned.
    """

    def __init__(self, in_the_middle, control):
        self.in_the_middle = in_the_middle
        self.seen = []
        self.sock = socket.socket()
        self.number = self.sock.fileno()
        self._control = socket.create_connection(control)
        self._started, self._handled = threading.Event(), threading.Event()
        signal.signal(signal.SIGUSR1, self._handle)
        threading.Thread(target=self._ring).start()

    def _handle(self, *_):
        if not self._started.is_set():
            self._started.set()
            self.seen.append(self.in_the_middle(self))
            self._handled.set()

    def _ring(self):
        self._control.recv(1)
        # A signal that comes right before the call that blocks does not interrupt it: once more then.
        for _ in range(PATIENCE * 10):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
            if self._started.wait(0.1):
                break
        assert self._handled.wait(PATIENCE)
        self._control.sendall(b"x")


class Proxy:
    """Grants each connection, and echoes; the first is answered when the handler has ended."""

    def __init__(self, listener, control, replies):
        self._listener, self._control, self._replies = listener, control, replies
        self.received = []

    def serve(self):
        control, _ = self._control.accept()
        with control, ThreadPoolExecutor() as pool, contextlib.suppress(OSError):
            hold = threading.Event()
            pool.submit(self._answer, self._listener.accept()[0], control, hold)
            while True:
                pool.submit(self._answer, self._listener.accept()[0], None, hold)

    def _answer(self, client, control, over):
        with client, contextlib.suppress(ConnectionError):
            client.settimeout(PATIENCE)
            got = client.recv(len(GREETING), socket.MSG_WAITALL)
            if control is not None:
                control.sendall(b"x")
                control.recv(1)
            client.sendall(CHOICE)
            got += client.recv(len(REQUEST), socket.MSG_WAITALL)
            self.received.append(got)
            if control is None or self._replies:
                client.sendall(REPLY)
            while data := client.recv(100):
                client.sendall(data)


def interrupted(in_the_middle, then=None, replies=True, options=()):
    """What ``then(it)`` says, by default ``connect_and_say``, and what the proxy was asked."""

    def program(host, port):
        faulthandler.dump_traceback_later(50, exit=True)
        then(Interrupted(in_the_middle, (host, port)))

    then = then or connect_and_say
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_server(("127.0.0.1", 0)) as control,
    ):
        proxy = Proxy(listener, control, replies)
        thread = threading.Thread(target=proxy.serve)
        thread.start()
        try:
            said = kernel(
                f"socks5h://127.0.0.1:{listener.getsockname()[1]}",
                program,
                *control.getsockname(),
                options=("--loopback", "direct", *options),
            )
        finally:
            # Wakes up accept(), as close() would not.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
    return said, proxy.received


def connect_and_say(it):
    it.sock.connect(("192.0.2.1", 80))
    mode = [it.sock.gettimeout(), os.get_blocking(it.sock.fileno())]
    say(seen=it.seen, mode=mode, peer=it.sock.getpeername(), echoed=echo(it.sock))


@pytest.mark.parametrize(
    ("does", "seen", "mode"),
    [
        # As the kernel says it of a socket that is connecting.
        ("outcome(sock.getpeername)[1]", "ENOTCONN", [None, True]),
        ("outcome(sock.connect, ('192.0.2.9', 80))[1]", "EALREADY", [None, True]),
        ("errno.errorcode[sock.connect_ex(('192.0.2.9', 80))]", "EALREADY", [None, True]),
        ("sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)", 0, [None, True]),
        ("sock.setblocking(True)", None, [None, True]),
        ("sock.settimeout(20)", None, [20.0, False]),
        ("sock.setblocking(False)", None, [0.0, False]),
        ("sock.dup().close()", None, [None, True]),
        ("outcome(sock.listen)[1]", "EINVAL", [None, True]),
        ("repr(sock).startswith('<socket.socket fd=')", True, [None, True]),
    ],
)
def test_the_same_socket(does, seen, mode):
    def in_the_middle(it):
        return eval(does, {"sock": it.sock, "outcome": outcome, "errno": errno, "socket": socket})

    said, received = interrupted(in_the_middle)
    assert said == {"seen": [seen], "mode": mode, "peer": ["192.0.2.1", 80], "echoed": "hello"}
    assert received == [GREETING + REQUEST]


def test_setblocking_does_not_turn_the_time_out_off():
    """The mode is the file's, which is ours as well while it connects."""

    def in_the_middle(it):
        return it.sock.setblocking(True)

    def then(it):
        said = outcome(it.sock.connect, ("192.0.2.1", 80))
        say(seen=it.seen, said=said[1])

    said, _ = interrupted(in_the_middle, then, replies=False, options=("--timeout", "1"))
    assert said == {"seen": [None], "said": "ETIMEDOUT"}


def test_the_same_socket_is_closed_and_its_number_is_another_file():
    def in_the_middle(it):
        it.sock.close()
        return os.open("/dev/null", os.O_RDONLY) == it.number

    def then(it):
        it.sock.connect(("192.0.2.1", 80))
        say(seen=it.seen, file=os.readlink(f"/proc/self/fd/{it.number}"))

    said, _ = interrupted(in_the_middle, then)
    assert said == {"seen": [True], "file": "/dev/null"}


def connect_another(it):
    with socket.create_connection(("192.0.2.1", 80), PATIENCE) as other:
        return echo(other) == "hello"


def start_another(it):
    with start("192.0.2.1", 80) as other:
        return wait_writable(other) == 0


def start_another_and_wait_for_it(it):
    with start("192.0.2.1", 80) as other:
        other.setblocking(True)
        return echo(other) == "hello"


def look_a_name_up(it):
    return socket.getaddrinfo("host.test", 80)[0][4][1] == 80


@pytest.mark.parametrize(
    "does", [connect_another, start_another, start_another_and_wait_for_it, look_a_name_up]
)
def test_another_socket_and_a_name(does):
    said, received = interrupted(does)
    assert said == {
        "seen": [True],
        "mode": [None, True],
        "peer": ["192.0.2.1", 80],
        "echoed": "hello",
    }
    assert set(received) == {GREETING + REQUEST}
