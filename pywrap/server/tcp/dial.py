"""Connects to a destination: its name is resolved in a thread, its addresses are tried in order."""

from __future__ import annotations

import _socket
import errno
import os
from _socket import AF_INET, AF_INET6, NI_NAMEREQD, SOCK_STREAM
from time import monotonic

from pywrap.relay.descriptor_reserve import open_socket
from pywrap.relay.loop import OUT
from pywrap.server.threads import Pool
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint, is_unspecified, packed, unmapped, unpacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from pywrap.relay.loop import Loop
    from pywrap.relay.timers import Timer
    from pywrap.server.access_rules import Judge
    from pywrap.server.threads import Job

    SockAddr: TypeAlias = tuple[int, Any]  # family, sockaddr
    Answer: TypeAlias = list[SockAddr] | OSError

CODES = {
    errno.ECONNREFUSED: v5.CONNECTION_REFUSED,
    errno.ENETUNREACH: v5.NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: v5.HOST_UNREACHABLE,
    errno.ETIMEDOUT: v5.TTL_EXPIRED,
    errno.EACCES: v5.NOT_ALLOWED,
    errno.EPERM: v5.NOT_ALLOWED,
    errno.EAFNOSUPPORT: v5.ADDRESS_TYPE_NOT_SUPPORTED,
}

# Why a connection to 0.0.0.0 or :: is refused.
NO_DESTINATION = "an unspecified address is no destination"

# Errors by which this machine has no route to an address. An error from the network, for another address of
# the same name, is more useful to report.
_NO_WAY = {errno.ENETUNREACH, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}

# Errors of a second connect() while the first one is not done.
_UNDER_WAY = {errno.EALREADY, errno.EINPROGRESS, errno.EINTR}

# Errors of getaddrinfo(3) that are about the resolver, not about the name.
_ERRORS_OF_THE_RESOLVER = {_socket.EAI_SYSTEM, _socket.EAI_MEMORY}


class Resolver:
    """getaddrinfo() and getnameinfo() for one client, in threads that all clients share."""

    __slots__ = ("_client", "_pool")

    def __init__(self, loop: Loop, client: str = "", pool: Pool | None = None) -> None:
        self._client = client
        self._pool = pool or Pool(loop)

    def of(self, party: str) -> Resolver:
        """A resolver with the same threads for another client, ``party`` (``party_of``)."""
        view = Resolver.__new__(Resolver)
        view._client, view._pool = party, self._pool
        return view

    def resolve(self, host: str, port: int, then: Callable[[Answer], None]) -> Job:
        """Let the loop call ``then`` with the addresses, or with the OSError of getaddrinfo()."""
        return self._pool.run(self._client, lambda: _addresses(host, port), then)

    def reverse(self, address: str, then: Callable[[str | OSError], None]) -> Job:
        """Let the loop call ``then`` with the name, or with the OSError of getnameinfo()."""
        return self._pool.run(self._client, lambda: _socket.getnameinfo((address, 0), NI_NAMEREQD)[0], then)

    def run(self, work: Callable[[], Any], then: Callable[[Any], None]) -> Job:
        """Let the loop call ``then`` with the result of ``work()``, which may take long, or its OSError."""
        return self._pool.run(self._client, work, then)

    def cancel(self, job: Job) -> None:
        """Call no ``then`` for ``job`` any more."""
        self._pool.cancel(job)

    def close(self) -> None:
        """Let each thread end after its present look-up; nothing waits for them."""
        self._pool.close()


def party_of(host: str) -> str:
    """The client for limits: an IPv4 address, or the /64 of an IPv6 one, which one subscriber has."""
    if ":" not in host:
        return host
    address = packed(unmapped(host))
    return host if address is None else unpacked(address if len(address) == 4 else address[:8] + bytes(8))


def _addresses(host: str, port: int) -> list[SockAddr]:
    # As bytes: for a str, Python uses the codec "idna", which refuses some names that a resolver
    # may know, and is slow to import.
    found = _socket.getaddrinfo(host.encode("ascii"), port, 0, SOCK_STREAM)
    return [(family, sockaddr) for family, _, _, _, sockaddr in found]


def _literal(host: str, port: int) -> SockAddr:
    return AF_INET6 if ":" in host else AF_INET, (host, port)


class NameLookup:
    """One look-up of a host, which ends in exactly one of two calls unless it is cancelled.

    ``start()`` looks up addresses: ``found(addresses)``, with the port of ``endpoint``.
    ``reverse()`` looks up the name of an address: ``found(name)``. ``failed(code, words)``: the
    code of a SOCKS5 reply. ``timeout``: seconds. Addresses that ``judge`` refuses are left out.
    """

    __slots__ = (
        "_endpoint", "_failed", "_found", "_job", "_judge", "_loop", "_resolver", "_subject", "_timeout",
        "_timer",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        resolver: Resolver,
        endpoint: Endpoint,
        timeout: float,
        found: Callable[[Any], None],
        failed: Callable[[int, str], None],
        judge: Judge | None = None,
    ) -> None:
        self._judge = judge
        self._loop = loop
        self._resolver = resolver
        self._endpoint = endpoint
        self._subject = "name"
        self._timeout = timeout
        self._found: Callable[[Any], None] | None = found
        self._failed = failed
        self._job: Job | None = None
        self._timer: Timer | None = None

    def start(self) -> None:
        """Look the name up. The result may come before this returns."""
        assert self._found is not None
        host, port = self._endpoint.host, self._endpoint.port
        if packed(host) is not None:
            # An IP literal needs no look-up.
            self._found([_literal(host, port)])
        elif not host or "\\" in host:
            # A backslash stands for a byte beyond ASCII (``v5.read_endpoint``), which no name has in its IDNA
            # form.
            self._failed(v5.GENERAL_FAILURE, "not a host name")
        else:
            self._timer = self._loop.after(self._timeout, self._too_slow)
            self._job = self._resolver.resolve(host, port, self._answered)

    def reverse(self) -> None:
        """Look up the name of the address instead."""
        self._subject = "address"
        self._timer = self._loop.after(self._timeout, self._too_slow)
        self._job = self._resolver.reverse(self._endpoint.host, self._answered)

    def cancel(self) -> None:
        """End the look-up without a call. May be called when it has ended."""
        self._found = None
        if self._job is not None:
            self._resolver.cancel(self._job)
            self._job = None
        if self._timer is not None:
            self._loop.cancel(self._timer)
            self._timer = None

    def _answered(self, answer: Answer | str) -> None:
        found = self._found
        self.cancel()
        if found is None:
            return
        if isinstance(answer, OSError):
            known = isinstance(answer, _socket.gaierror) and answer.errno not in _ERRORS_OF_THE_RESOLVER
            code = v5.HOST_UNREACHABLE if known else v5.GENERAL_FAILURE
            self._failed(code, f"{self._problem}: {_lower(answer.strerror or str(answer))}")
        elif self._judge is None or isinstance(answer, str):
            found(answer)
        else:
            refusals = [self._judge.address(self._endpoint, address[1][0]) for address in answer]
            allowed = [address for address, refusal in zip(answer, refusals, strict=True) if not refusal]
            if allowed:
                found(allowed)
            else:
                self._failed(v5.NOT_ALLOWED, f"{refusals[0]} ({answer[0][1][0]})")

    def _too_slow(self) -> None:
        self.cancel()
        self._failed(v5.HOST_UNREACHABLE, f"{self._problem}: timed out")

    @property
    def _problem(self) -> str:
        return f"cannot resolve the {self._subject}"


class Dial:
    """One attempt to reach ``destination``, which ends in exactly one of two calls.

    ``connected(sock, bound)`` hands the socket over, which the loop may still watch for EPOLLOUT;
    ``bound``: its own address. ``failed(code, words)``: the code of a SOCKS5 reply. ``timeout``: seconds.
    """

    __slots__ = (
        "_loop", "_resolver", "_destination", "_timeout", "_deadline", "_connected", "_failed", "_judge",
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
        judge: Judge | None = None,
    ) -> None:
        self._loop = loop
        self._resolver = resolver
        self._destination = destination
        self._timeout = timeout
        self._deadline = monotonic() + timeout
        self._connected: Callable[[_socket.socket, Endpoint], None] | None = connected
        self._failed = failed
        self._judge = judge
        self._lookup: NameLookup | None = None
        self._addresses: list[SockAddr] = []
        self._error = 0
        self._sock: _socket.socket | None = None
        self._address: Any = None
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begin to look up and to connect."""
        host, port = self._destination.host, self._destination.port
        if packed(host) is None:
            self._lookup = NameLookup(
                *(self._loop, self._resolver, self._destination, self._timeout),
                *(self._resolved, self._fail, self._judge),
            )
            self._lookup.start()
        else:
            self._resolved([_literal(host, port)])

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
        # 0.0.0.0 is in malformed requests of SOCKS4a, and a filter resolves the names that it blocks to it.
        self._addresses = [address for address in addresses if not is_unspecified(address[1][0])]
        if self._addresses:
            self._next()
        else:
            self._fail(v5.NOT_ALLOWED, NO_DESTINATION)

    def _next(self) -> None:
        """Try the next address."""
        while self._addresses:
            family, self._address = self._addresses.pop(0)
            try:
                sock = open_socket(family, SOCK_STREAM)
            except OSError as err:
                self._remember(err.errno)
                continue
            self._sock = sock
            try:
                error = sock.connect_ex(self._address)
                if error in _UNDER_WAY:
                    # A near destination has answered already, so that no event has to be awaited.
                    error = sock.connect_ex(self._address)
            except OSError as err:
                # The address is malformed, or of a zone that does not exist.
                error = err.errno or errno.EIO
            if not error:
                self._reached(0)
                return
            if error not in _UNDER_WAY:
                self._drop(error)
                continue
            # Each address gets an equal share of the time left: the first one may drop all packets.
            share = (self._deadline - monotonic()) / (len(self._addresses) + 1)
            self._timer = self._loop.after(share, self._too_slow)
            self._loop.watch(sock.fileno(), OUT, self._on_writable)
            return
        words = "timed out" if self._error == errno.ETIMEDOUT else _lower(os.strerror(self._error))
        self._fail(CODES.get(self._error, v5.GENERAL_FAILURE), words)

    def _on_writable(self, events: int) -> None:
        assert self._sock is not None
        self._stop_timer()
        self._reached(self._sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR))

    def _reached(self, error: int) -> None:
        """Handle the result of the connection: ``error`` is 0 when it stands."""
        sock = self._sock
        assert sock is not None
        bound = sock.getsockname()
        if bound[:2] == self._address[:2]:
            # Nothing listens there, and the kernel chose that very port for our end: TCP then
            # connects the socket to itself.
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
