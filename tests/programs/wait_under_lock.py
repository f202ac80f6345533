"""Something that waits, at each place where a signal handler may come while pysocksify holds its lock.

A signal handler comes after a call, or at the beginning of one, and so does a profile function.

    wait_under_lock.py HOST PORT OUTER

Prints the results of each of INNER, and whether there were many places.
"""

import errno
import faulthandler
import json
import socket
import sys
import warnings

from pywrap import intercept

PATIENCE = 30
HOST, PORT = sys.argv[1], int(sys.argv[2])


def pending():
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex((HOST, PORT))
    return sock


def listening():
    sock = socket.socket()
    sock.setblocking(False)
    sock.listen()
    return sock


def echoes(sock):
    sock.sendall(b"hello")
    return sock.recv(5, socket.MSG_WAITALL) == b"hello"


def blocks(sock, timeout):
    sock.settimeout(timeout)
    return sock.getpeername() == (HOST, PORT) and echoes(sock)


def block(sock):
    sock.setblocking(True)
    try:
        sock.getpeername()
    except OSError:
        # In the middle of connect(), the socket is unconnected yet.
        pass
    return True


def listens():
    with socket.socket() as sock:
        sock.listen()
        return sock.getsockname()[1] > 0


def reach():
    with socket.create_connection((HOST, PORT), PATIENCE) as sock:
        return echoes(sock)


class Sockets:
    """``new``; ``other`` and ``closed`` are pending; for ``asked``, a proxy is asked for a port."""

    def __init__(self):
        self.new = socket.socket()
        self.new.setblocking(False)
        self.other, self.closed, self.asked = pending(), pending(), listening()

    def close(self):
        for sock in vars(self).values():
            sock.close()


INNER = {
    "another socket, without a limit": lambda all: blocks(all.other, None),
    "another socket, with a limit": lambda all: blocks(all.other, PATIENCE),
    "the same socket": lambda all: block(all.new),
    "a listener": lambda all: listens(),
    "the name of a listener": lambda all: all.asked.getsockname()[1] > 0,
    "a connection": lambda all: reach(),
    "getaddrinfo": lambda all: socket.getaddrinfo("host.test", 80)[0][4][1] == 80,
}
OUTER = {
    "connect": lambda all: all.new.connect_ex((HOST, PORT)) in (0, errno.EINPROGRESS),
    "listen": lambda all: all.new.listen() is None,
    "close": lambda all: all.closed.close() is None,
    "option": lambda all: all.closed.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0,
}


class Intruder:
    """A profile function that calls ``inner`` once, at the place under the lock with the number ``place``."""

    def __init__(self, place, inner, sockets):
        self.result = None
        self._left = place
        self._inner = inner
        self._sockets = sockets
        self._lock = intercept._registry.lock

    def __call__(self, frame, event, argument):
        if event not in ("call", "c_return") or not self._lock.is_mine:
            return
        # Where the options of a socket are copied, there are hundreds of one kind.
        if frame.f_code.co_name != "_copy":
            self._left -= 1
            if self._left == 0:
                sys.setprofile(None)
                self.result = outcome(self._inner, self._sockets)


def outcome(function, sockets):
    try:
        return str(function(sockets))
    except Exception as error:
        return repr(error)


def walk(outer, inner):
    """The results of both, and whether there were many places."""
    results, place = set(), 0
    while True:
        place += 1
        sockets = Sockets()
        intruder = Intruder(place, inner, sockets)
        sys.setprofile(intruder)
        try:
            results.add(outcome(outer, sockets))
        finally:
            sys.setprofile(None)
        sockets.close()
        if intruder.result is None:
            return sorted(results), place > 10
        results.add(intruder.result)


warnings.simplefilter("ignore")
faulthandler.dump_traceback_later(50, exit=True)
print(json.dumps({name: walk(OUTER[sys.argv[3]], inner) for name, inner in INNER.items()}))
