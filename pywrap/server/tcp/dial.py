"""Reaching a destination: its name resolved in a thread, its addresses tried in order."""

from __future__ import annotations

import _socket
import errno
import os
from _queue import SimpleQueue
from _socket import AF_INET, AF_INET6, NI_NAMEREQD, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM
from threading import Thread
from time import monotonic

from pywrap.relay.loop import OUT
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from pywrap.relay.loop import Loop
    from pywrap.relay.timers import Timer

    SockAddr: TypeAlias = tuple[int, Any]  # family, sockaddr
    Answer: TypeAlias = list[SockAddr] | OSError
    Question: TypeAlias = tuple[Callable[[], Any], Callable[[Any], None]]

# Names that hang take a thread each until the resolver gives up on them (10 s with glibc's
# defaults), and all others wait behind the last of them.
THREADS = 16

CODES = {
    errno.ECONNREFUSED: v5.CONNECTION_REFUSED,
    errno.ENETUNREACH: v5.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: v5.HOST_UNREACHABLE,
    errno.ETIMEDOUT: v5.TTL_EXPIRED,
    errno.EACCES: v5.NOT_ALLOWED,
    errno.EPERM: v5.NOT_ALLOWED,
    errno.EAFNOSUPPORT: v5.ADDRESS_TYPE_NOT_SUPPORTED,
}

# This machine has no way to use such an address. It says less than the answer of a network
# to another address of the same name.
_NO_WAY = {errno.ENETUNREACH, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}

# They say nothing about the name.
_ERRORS_OF_THE_RESOLVER = {_socket.EAI_SYSTEM, _socket.EAI_MEMORY}


class Resolver:
    """getaddrinfo() and getnameinfo() in a few threads, started as they are needed."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._questions: SimpleQueue[Question | None] = SimpleQueue()
        self._asked = 0
        self._threads = 0

    def resolve(self, host: str, port: int, then: Callable[[Answer], None]) -> None:
        """Let the loop call ``then`` with the addresses, or with what getaddrinfo() raised."""
        self._ask(lambda: _addresses(host, port), then)

    def reverse(self, address: str, then: Callable[[str | OSError], None]) -> None:
        """Let the loop call ``then`` with the name, or with what getnameinfo() raised."""
        self._ask(lambda: _socket.getnameinfo((address, 0), NI_NAMEREQD)[0], then)

    def _ask(self, look_up: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self._asked += 1
        if self._asked > self._threads and self._threads < THREADS:
            # A daemon: a name that hangs must not keep the program from ending.
            Thread(target=self._work, name="pysocksd resolver", daemon=True).start()
            self._threads += 1
        self._questions.put((look_up, then))

    def close(self) -> None:
        """Let the threads end, each after the name that it is at; nobody waits for them."""
        for _ in range(self._threads):
            self._questions.put(None)

    def _work(self) -> None:
        while (question := self._questions.get()) is not None:
            look_up, then = question
            answer: Any
            try:
                answer = look_up()
            except OSError as err:
                answer = err
            self._loop.call(lambda then=then, answer=answer: self._deliver(then, answer))  # type: ignore[misc]

    def _deliver(self, then: Callable[[Any], None], answer: Any) -> None:
        self._asked -= 1
        then(answer)


def _addresses(host: str, port: int) -> list[SockAddr]:
    # As bytes: a str goes through the idna codec, which refuses some names that a resolver
    # may know, and is slow to import.
    found = _socket.getaddrinfo(host.encode("ascii"), port, 0, SOCK_STREAM)
    return [(family, sockaddr) for family, _, _, _, sockaddr in found]


class NameLookup:
    """One question about a host, which ends in exactly one of two calls unless it is cancelled.

    ``start()`` asks for addresses: ``found(addresses)`` has them, with the port of ``endpoint``.
    ``reverse()`` asks for the name of an address: ``found(name)``. ``failed(code, words)`` has
    the reply of SOCKS5 for it.
    """

    __slots__ = ("_endpoint", "_failed", "_found", "_loop", "_resolver", "_subject", "_timeout", "_timer")

    def __init__(
        self,
        loop: Loop,
        resolver: Resolver,
        endpoint: Endpoint,
        timeout: float,
        found: Callable[[Any], None],
        failed: Callable[[int, str], None],
    ) -> None:
        self._loop = loop
        self._resolver = resolver
        self._endpoint = endpoint
        self._subject = "name"
        self._timeout = timeout
        self._found: Callable[[Any], None] | None = found
        self._failed = failed
        self._timer: Timer | None = None

    def start(self) -> None:
        assert self._found is not None
        host, port = self._endpoint.host, self._endpoint.port
        if packed(host) is not None:
            # Its own answer, at once.
            self._found([(AF_INET6 if ":" in host else AF_INET, (host, port))])
        elif not host or "\\" in host:
            # The backslash stands for a byte beyond ASCII: names are sent in their IDNA form.
            self._failed(v5.GENERAL_FAILURE, "not a host name")
        else:
            self._timer = self._loop.after(self._timeout, self._too_slow)
            self._resolver.resolve(host, port, self._answered)

    def reverse(self) -> None:
        self._subject = "address"
        self._timer = self._loop.after(self._timeout, self._too_slow)
        self._resolver.reverse(self._endpoint.host, self._answered)

    def cancel(self) -> None:
        """Forget it. May be called when it has ended."""
        self._found = None
        if self._timer is not None:
            self._loop.cancel(self._timer)
            self._timer = None

    def _answered(self, answer: Answer | str) -> None:
        found = self._found
        self.cancel()
        if found is None:
            return
        if isinstance(answer, OSError):
            known = answer.errno not in _ERRORS_OF_THE_RESOLVER
            code = v5.HOST_UNREACHABLE if known else v5.GENERAL_FAILURE
            self._failed(code, f"{self._problem}: {_lower(answer.strerror or str(answer))}")
        else:
            found(answer)

    def _too_slow(self) -> None:
        self.cancel()
        self._failed(v5.HOST_UNREACHABLE, f"{self._problem}: timed out")

    @property
    def _problem(self) -> str:
        return f"cannot resolve the {self._subject}"


class Dial:
    """One attempt to reach ``destination``, which ends in exactly one of two calls.

    ``connected(sock, bound)`` hands the socket over, still watched by the loop for EPOLLOUT;
    ``bound`` is its own address. ``failed(code, words)`` has the reply of SOCKS5 for it.
    """

    __slots__ = (
        "_loop", "_deadline", "_connected", "_failed",
        "_lookup", "_addresses", "_error", "_sock", "_address", "_timer",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        resolver: Resolver,
        destination: Endpoint,
        timeout: float,
        connected: Callable[[_socket.socket, Endpoint], None],
        failed: Callable[[int, str], None],
    ) -> None:
        self._loop = loop
        self._deadline = monotonic() + timeout
        self._connected: Callable[[_socket.socket, Endpoint], None] | None = connected
        self._failed = failed
        self._lookup: NameLookup | None = NameLookup(
            loop, resolver, destination, timeout, self._resolved, self._fail
        )
        self._addresses: list[SockAddr] = []
        self._error = 0
        self._sock: _socket.socket | None = None
        self._address: Any = None
        self._timer: Timer | None = None

    def start(self) -> None:
        assert self._lookup is not None
        self._lookup.start()

    def cancel(self) -> None:
        """Give up silently."""
        self._connected = None
        self._stop_timer()
        if self._lookup is not None:
            self._lookup.cancel()
            self._lookup = None
        if self._sock is not None:
            self._loop.close(self._sock)
            self._sock = None

    # ------------------------------------------------------------ its addresses

    def _resolved(self, addresses: list[SockAddr]) -> None:
        self._lookup = None
        self._addresses = addresses
        self._next()

    def _next(self) -> None:
        """Try the next address that there is."""
        while self._addresses:
            family, self._address = self._addresses.pop(0)
            try:
                sock = _socket.socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
            except OSError as err:
                self._remember(err.errno)
                continue
            self._sock = sock
            try:
                sock.connect(self._address)
            except BlockingIOError:
                pass
            except OSError as err:
                self._drop(err.errno)
                continue
            # An equal share of what is left for each: a name's first address may be one
            # that swallows everything.
            share = (self._deadline - monotonic()) / (len(self._addresses) + 1)
            self._timer = self._loop.after(share, self._too_slow)
            self._loop.watch(sock.fileno(), OUT, self._on_writable)
            return
        words = "timed out" if self._error == errno.ETIMEDOUT else _lower(os.strerror(self._error))
        self._fail(CODES.get(self._error, v5.GENERAL_FAILURE), words)

    def _on_writable(self, events: int) -> None:
        sock = self._sock
        assert sock is not None
        self._stop_timer()
        error = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        bound = sock.getsockname()
        if bound[:2] == self._address[:2]:
            # Nobody listens there, and the kernel chose that very port for us: TCP then
            # connects a socket to itself.
            error = errno.ECONNREFUSED
        if error:
            self._drop(error)
            self._next()
            return
        connected, self._connected = self._connected, None
        self._sock = None
        assert connected is not None
        connected(sock, Endpoint(bound[0], bound[1]))

    def _too_slow(self) -> None:
        self._drop(errno.ETIMEDOUT)
        self._next()

    def _drop(self, error: int | None) -> None:
        assert self._sock is not None
        self._loop.close(self._sock)
        self._sock = None
        self._remember(error)

    def _remember(self, error: int | None) -> None:
        if not self._error or self._error in _NO_WAY or error not in _NO_WAY:
            self._error = error or errno.EIO

    # ------------------------------------------------------------ the end

    def _fail(self, code: int, words: str) -> None:
        self.cancel()
        self._failed(code, words)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._loop.cancel(self._timer)
            self._timer = None


def _lower(words: str) -> str:
    return words[:1].lower() + words[1:]
