"""Something that waits, at each place where a signal handler may come while pysocksify holds its lock.

A signal handler comes after a call, or at the beginning of one, and so does a profile function.

    wait_under_lock.py HOST PORT UDP_PORT FULL_PORT OUTER

A connection to FULL_PORT is pending for ever. Prints the results of each of INNER, and whether there were
many places.
"""

import errno
import faulthandler
import json
import socket
import sys
import warnings

from pywrap.intercept import patch_on_import

PATIENCE = 30
HOST, PORT, UDP_PORT, FULL_PORT = sys.argv[1], *map(int, sys.argv[2:5])


def pending(port=PORT):
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex((HOST, port))
    return sock


def pending_for_ever():
    return pending(FULL_PORT)


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


def sent():
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.sendto(b"hello", (HOST, UDP_PORT))
    return sock


def answered(sock, timeout):
    sock.settimeout(timeout)
    return sock.recv(10) == b"hello"


def listens():
    with socket.socket() as sock:
        sock.listen()
        return sock.getsockname()[1] > 0


def reach():
    with socket.create_connection((HOST, PORT), PATIENCE) as sock:
        return echoes(sock)


class Sockets:
    """``new``, and those of the others that are named.

    ``other`` and ``closed`` are pending; for ``asked``, a proxy is asked for a port; what ``datagram`` has
    sent waits for an association.
    """

    MAKE = {"other": pending, "closed": pending_for_ever, "asked": listening, "datagram": sent}

    def __init__(self, *names):
        self.new = socket.socket()
        self.new.setblocking(False)
        for name in names:
            setattr(self, name, self.MAKE[name]())

    def close(self):
        for sock in vars(self).values():
            sock.close()


# By name: the socket that it needs, and the function.
INNER = {
    "another socket, without a limit": ("other", lambda all: blocks(all.other, None)),
    "another socket, with a limit": ("other", lambda all: blocks(all.other, PATIENCE)),
    "the same socket": (None, lambda all: block(all.new)),
    "a listener": (None, lambda all: listens()),
    "the name of a listener": ("asked", lambda all: all.asked.getsockname()[1] > 0),
    "a connection": (None, lambda all: reach()),
    "a datagram, without a limit": ("datagram", lambda all: answered(all.datagram, None)),
    "a datagram, with a limit": ("datagram", lambda all: answered(all.datagram, PATIENCE)),
    "getaddrinfo": (None, lambda all: socket.getaddrinfo("host.test", 80)[0][4][1] == 80),
}
OUTER = {
    "connect": (None, lambda all: all.new.connect_ex((HOST, PORT)) in (0, errno.EINPROGRESS)),
    "listen": (None, lambda all: all.new.listen() is None),
    "close": ("closed", lambda all: all.closed.close() is None),
    "option": ("closed", lambda all: all.closed.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0),
}


class Intruder:
    """A profile function that calls ``inner`` once, at the place under the lock with the number ``place``."""

    def __init__(self, place, inner, sockets):
        self.result = None
        self._left = place
        self._inner = inner
        self._sockets = sockets
        self._lock = patch_on_import._registry.lock

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
    (outer_name, outer), (inner_name, inner) = outer, inner
    names = [name for name in (outer_name, inner_name) if name is not None]
    results, place = set(), 0
    while True:
        place += 1
        sockets = Sockets(*names)
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
print(json.dumps({name: walk(OUTER[sys.argv[5]], inner) for name, inner in INNER.items()}))
