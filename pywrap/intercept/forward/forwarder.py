"""The ports on loopback, and the thread that accepts connections there and copies their bytes.

The connection to the destination is made like those of the program's own sockets, with the same rules, chains
and names. Since that may take long, each is made in a thread of its own.
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

    # A function that reads the client's request, if its protocol has one, and returns the socket connected
    # for it.
    Opener: TypeAlias = Callable[[Own], Own]

# The addresses of 127.0.0.0/8 that have a port at the moment.
_hosts: set[str] = set()

# How many addresses of 127.0.0.0/8 to try for a given port number.
_ATTEMPTS = 3


def connected(runtime: Runtime, host: str, port: int, timeout: float | None = None) -> Own:
    """A non-blocking socket that is connected to ``host`` as the program's own would be.

    ``timeout``: seconds, None for the limits of the settings.

    Raises:
        OSError: the destination cannot be reached, or is refused; TimeoutError and socket.gaierror among
            them.
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
    """A port on loopback. It is closed when all connections to it have ended, once ``settle`` was called.

    ``address``: the port's own, of 127.0.0.0/8, with the number ``port`` where that is free, since libraries
    look for passwords by the number. ``ready``: a connected socket for the first connection to the port;
    ``opener`` makes those for all others.
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
        """From now on the end of the last connection closes the port: the library is connected, or connects.

        Without ``keep``, the port is closed as soon as there has been one connection.
        """

        def settled() -> None:
            self._settled, self._keep = True, keep
            self._let_go(0)

        self._forwarder.call(settled)

    def close(self) -> None:
        """Accept no more connections, and close ``ready`` if it was not used. Carried connections go on."""

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
            # The client is gone again; or no descriptor is left, and the library has to wait.
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
        """Make the connection for ``client``, in a thread of its own."""
        try:
            client.setblocking(True)
            far = self._opener(client)
        except OSError:
            # The failure was printed at -v already.
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
    """Whether ``host``, a literal, is the address of one of these ports."""
    return host in _hosts


def _listener(port: int) -> Own:
    """A socket that listens on loopback, at ``port`` if that is free."""
    for attempt in range(_ATTEMPTS + 1):
        sock = Own(AF_INET, SOCK_STREAM | SOCK_CLOEXEC)
        last = attempt == _ATTEMPTS
        # Not in 127.0.0.0/16, where services listen.
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
        """In a child after fork(): close the parent's connections, which would stay open here too."""
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
    """The descriptors of one run of the thread, and their handlers."""

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
        batch = self._epoll.poll()
        handlers = {fd: self.handlers[fd][1] for fd, _ in batch if fd in self.handlers}
        for fd, events in batch:
            if fd == self._bell:
                os.eventfd_read(fd)
            elif fd in self.handlers and self.handlers[fd][1] == handlers.get(fd):
                # Otherwise an earlier event of this batch has closed the descriptor, whose number may be that
                # of another connection by now.
                try:
                    handlers[fd](events)
                except Exception:
                    # A bug of ours, which ends this connection; the others go on.
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


# The one of this process, made for its first port.
_forwarder: Forwarder | None = None


def _of_this_process() -> Forwarder:
    global _forwarder
    if _forwarder is None:
        _forwarder = Forwarder()
        os.register_at_fork(after_in_child=_forwarder.forked)
    return _forwarder
