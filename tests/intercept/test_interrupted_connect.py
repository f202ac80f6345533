"""A signal handler in the middle of a blocking connect(): what it does with that socket, and with others.

The proxy waits with its first answer until the handler has ended.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.child import kernel
from tests.support.scripted import CHOICE, GREETING, PATIENCE, REPLY

REQUEST = b"\x05\x01\x00\x01" + b"\xc0\x00\x02\x01" + b"\x00\x50"

# ``in_the_middle()`` is the handler's; the main thread is in connect(), and has greeted the proxy.
CODE = """
import faulthandler, signal, threading
faulthandler.dump_traceback_later(50, exit=True)
control = socket.create_connection((host, port))
seen, started, handled = [], threading.Event(), threading.Event()

def handler(*_):
    if started.is_set():
        return
    started.set()
    seen.append(in_the_middle())
    handled.set()

def ring():
    control.recv(1)
    # A signal that comes right before the call that blocks does not interrupt it: once more then.
    for _ in range(PATIENCE * 10):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
        if started.wait(0.1):
            break
    assert handled.wait(PATIENCE)
    control.sendall(b"x")

signal.signal(signal.SIGUSR1, handler)
threading.Thread(target=ring).start()
sock = socket.socket()
"""


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


def interrupted(code, replies=True, options=()):
    """What ``code`` says, and what the proxy was asked."""
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
                CODE + code,
                *control.getsockname(),
                options=("--loopback", "direct", *options),
            )
        finally:
            # Wakes up accept(), as close() would not.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
    return said, proxy.received


CONNECT = """
sock.connect(("192.0.2.1", 80))
say(seen=seen, mode=[sock.gettimeout(), os.get_blocking(sock.fileno())], peer=sock.getpeername(),
    echoed=echo(sock))
"""


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
    said, received = interrupted(f"def in_the_middle():\n    return {does}\n" + CONNECT)
    assert said == {"seen": [seen], "mode": mode, "peer": ["192.0.2.1", 80], "echoed": "hello"}
    assert received == [GREETING + REQUEST]


def test_setblocking_does_not_turn_the_time_out_off():
    """The mode is the file's, which is ours as well while it connects."""
    code = """
def in_the_middle():
    return sock.setblocking(True)
said = outcome(sock.connect, ("192.0.2.1", 80))
say(seen=seen, said=said[1])
"""
    said, _ = interrupted(code, replies=False, options=("--timeout", "1"))
    assert said == {"seen": [None], "said": "ETIMEDOUT"}


def test_the_same_socket_is_closed_and_its_number_is_another_file():
    code = """
def in_the_middle():
    sock.close()
    return os.open("/dev/null", os.O_RDONLY) == number
number = sock.fileno()
said = outcome(sock.connect, ("192.0.2.1", 80))
say(seen=seen, said=said[1], file=os.readlink(f"/proc/self/fd/{number}"))
"""
    said, _ = interrupted(code)
    # EBADF is the interpreter's own answer.
    assert said == {"seen": [True], "said": "EBADF", "file": "/dev/null"}


OTHERS = {
    "a blocking connection": """
    with socket.create_connection(("192.0.2.1", 80), PATIENCE) as other:
        return echo(other) == "hello"
""",
    "a non-blocking connection": """
    with start("192.0.2.1", 80) as other:
        return wait_writable(other) == 0
""",
    "a non-blocking connection that is waited for": """
    with start("192.0.2.1", 80) as other:
        other.setblocking(True)
        return echo(other) == "hello"
""",
    "getaddrinfo": """
    return socket.getaddrinfo("host.test", 80)[0][4][1] == 80
""",
}


@pytest.mark.parametrize("does", OTHERS.values(), ids=OTHERS)
def test_another_socket_and_a_name(does):
    said, received = interrupted(f"def in_the_middle():{does}" + CONNECT)
    assert said == {
        "seen": [True],
        "mode": [None, True],
        "peer": ["192.0.2.1", 80],
        "echoed": "hello",
    }
    assert set(received) == {GREETING + REQUEST}
