"""The ports, and the thread that accepts there and carries.

What leads outwards is connected as a program's own socket is: so rules, chains and names are the same. That
may take its time, and has a thread of its own for each connection.
"""

from __future__ import annotations

import os
import sys
from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_TCP,
    SO_REUSEADDR,
    SOCK_CLOEXEC,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_NODELAY,
)
from select import EPOLLIN

from pywrap.intercept import originals
from pywrap.intercept.forward.own_peer import is_ours
from pywrap.intercept.forward.pair import Pair, reset
from pywrap.intercept.lock import Lock
from pywrap.intercept.own_socket import Own, own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from pywrap.intercept.runtime import Runtime

    # Reads what the client says first, if anything, and returns what is connected for it.
    Opener: TypeAlias = Callable[[Own], Own]

# Where there are ports at the moment.
_hosts: set[str] = set()

# How many addresses of 127.0.0.0/8 to try for a port that is to be a certain one.
_ATTEMPTS = 3


def connected(runtime: Runtime, host: str, port: int, timeout: float | None = None) -> Own:
    """A socket, which does not block, that is connected to ``host`` as the program's own would be.

    ``timeout``: seconds, None for what the settings say.

    Raises:
        OSError: it cannot be reached, or must not be; TimeoutError and socket.gaierror among them.
    """
    family = AF_INET6 if ":" in host else AF_INET
    sock = originals.Socket(family, SOCK_STREAM | SOCK_CLOEXEC)
    try:
        originals.settimeout(sock, timeout)
        runtime.functions["connect"](sock, (host, port))
        originals.setblocking(sock, False)
        sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        return own(sock)
    except BaseException:
        originals.close(sock)
        raise


class Forward:
    """A port, open until all connections to it have ended after ``settle``, or ``close``.

    ``address`` is of 127.0.0.0/8, and the port is ``port`` where that is free: libraries look for passwords
    by the port. ``ready`` is what the first connection is given; every other one what ``opener`` returns.
    """

    def __init__(self, opener: Opener, port: int = 0, ready: Own | None = None) -> None:
        forwarder = self._forwarder = _of_this_process()
        self._opener = opener
        self._ready = ready
        self._carried = 0
        self._keep = True
        self._settled = self._served = False
        self._listener = _listener(port)
        self.address: tuple[str, int] = self._listener.getsockname()
        _hosts.add(self.address[0])
        forwarder.call(lambda: forwarder.watch(self._listener.fileno(), EPOLLIN, self._accept))

    def settle(self, keep: bool = True) -> None:
        """The library is connected, or has begun to: the port is closed with the last of its connections.

        Without ``keep``, it is closed as soon as there has been one.
        """

        def settled() -> None:
            self._settled, self._keep = True, keep
            self._let_go(0)

        self._forwarder.call(settled)

    def close(self) -> None:
        """Accept nothing more, and abandon what was ready; what is carried goes on."""

        def closed() -> None:
            self._settled = self._served = True
            self._keep = False
            self._let_go(0)

        self._forwarder.call(closed)

    # ---------------------------------------------------------------- in the thread

    def _accept(self, _: int) -> None:
        try:
            fd, peer = originals.accept(self._listener)
        except OSError:
            # It is gone again, or there is no descriptor left: then the library waits.
            return
        client = Own(AF_INET, SOCK_STREAM, 0, fileno=fd)
        if not is_ours(peer, self.address):
            reset(client)
            return
        client.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
        self._carried += 1
        self._served = True
        ready, self._ready = self._ready, None
        if ready is not None:
            self._carry(client, ready)
        else:
            originals.start_new_thread(self._open, (client,))

    def _open(self, client: Own) -> None:
        """In a thread of its own."""
        try:
            client.setblocking(True)
            far = self._opener(client)
        except OSError:
            # It was said at -v.
            self._forwarder.call(lambda: self._fail(client))
        except BaseException:
            self._forwarder.call(lambda: self._fail(client))
            raise
        else:
            self._forwarder.call(lambda: self._carry(client, far))

    def _fail(self, client: Own) -> None:
        reset(client)
        self._let_go(1)

    def _carry(self, client: Own, far: Own) -> None:
        client.setblocking(False)
        Pair(client, far, self._forwarder.watch, lambda: self._let_go(1))

    def _let_go(self, count: int) -> None:
        self._carried = max(0, self._carried - count)
        is_over = self._settled and self._served and not (self._carried and self._keep)
        if is_over and self._listener.fileno() >= 0:
            _hosts.discard(self.address[0])
            self._forwarder.watch(self._listener.fileno(), 0, self._accept)
            self._listener.close()
            if self._ready is not None:
                self._ready.close()
                self._ready = None


def is_forwarded(host: str) -> bool:
    """Is ``host``, an address, that of a port of ours?"""
    return host in _hosts


def _listener(port: int) -> Own:
    """A socket that listens on loopback, at ``port`` if that can be."""
    for attempt in range(_ATTEMPTS + 1):
        sock = Own(AF_INET, SOCK_STREAM | SOCK_CLOEXEC)
        last = attempt == _ATTEMPTS
        # Not 127.0.0.0/16, where services are.
        second, third, fourth = (byte % 254 + 1 for byte in os.urandom(3))
        try:
            sock.setblocking(False)
            originals.setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, 1)
            originals.bind(sock, (f"127.{second}.{third}.{fourth}", 0 if last else port))
            originals.listen(sock, 8)
            return sock
        except OSError:
            sock.close()
            if last:
                raise
    raise AssertionError("the last attempt returns or raises")


class Forwarder:
    """The thread of one process, which runs while there are ports or connections to carry."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._calls: list[Callable[[], None]] = []
        self._running: _Running | None = None

    def call(self, function: Callable[[], None]) -> None:
        """Have the thread call ``function``; from any thread.

        Raises:
            OSError, RuntimeError: no descriptor, or no thread, is left for it.
        """
        with self._lock:
            self._calls.append(function)
            if self._running is None:
                try:
                    running = _Running()
                    originals.start_new_thread(self._run, (running,))
                except BaseException:
                    self._calls.remove(function)
                    raise
                self._running = running
            else:
                self._running.ring()

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """In the thread: call ``handler(events)`` when one of ``events`` comes to ``fd``; 0 forgets it."""
        if self._running is not None:
            self._running.watch(fd, events, handler)

    def forked(self) -> None:
        """In a child after fork(): the connections are the parent's, and would stay open with ours."""
        self._lock = Lock()
        self._calls = []
        running, self._running = self._running, None
        if running is not None:
            running.close_all()

    def _run(self, running: _Running) -> None:
        while True:
            with self._lock:
                calls, self._calls = self._calls, []
                if not calls and not running.handlers:
                    self._running = None
                    running.close()
                    return
            for function in calls:
                function()
            if running.handlers:
                running.turn()


class _Running:
    """What the thread waits by."""

    def __init__(self) -> None:
        self.handlers: dict[int, tuple[int, Callable[[int], None]]] = {}
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll: Any = originals.epoll()
        self._epoll.register(self._bell, EPOLLIN)

    def ring(self) -> None:
        os.eventfd_write(self._bell, 1)

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        known = self.handlers.get(fd)
        if not events:
            if known is not None:
                del self.handlers[fd]
                self._epoll.unregister(fd)
            return
        if known is None:
            self._epoll.register(fd, events)
        elif known[0] != events:
            self._epoll.modify(fd, events)
        self.handlers[fd] = events, handler

    def turn(self) -> None:
        for fd, events in self._epoll.poll():
            if fd == self._bell:
                os.eventfd_read(fd)
            elif fd in self.handlers:
                # An earlier event of this batch may have ended it.
                try:
                    self.handlers[fd][1](events)
                except Exception:
                    # A bug of ours. The other connections go on.
                    self.watch(fd, 0, _nothing)
                    sys.excepthook(*sys.exc_info())

    def close(self) -> None:
        self._epoll.close()
        os.close(self._bell)

    def close_all(self) -> None:
        for fd in self.handlers:
            os.close(fd)
        self.close()


def _nothing(_: int) -> None:
    pass


# Made for the first port.
_forwarder: Forwarder | None = None


def _of_this_process() -> Forwarder:
    global _forwarder
    if _forwarder is None:
        _forwarder = Forwarder()
        os.register_at_fork(after_in_child=_forwarder.forked)
    return _forwarder
