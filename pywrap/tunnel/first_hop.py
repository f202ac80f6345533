"""The way to the first hop: its addresses, and a socket that can connect to them."""

from __future__ import annotations

import _socket
import _thread
import errno
import os
from time import monotonic

from pywrap.errors import SocksError
from pywrap.frozen import frozen
from pywrap.socks.wire import V4_MAPPED_TEXT, for_ipv6_socket, packed, unpacked
from pywrap.tunnel.sockopts import copy_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from pywrap.config.settings import Proxy

    T = TypeVar("T", bound=_socket.socket)

# Seconds after which a proxy's name is resolved again, so that a long-running program follows its proxy to a
# new address.
RESOLVED_FOR = 60.0


@frozen
class ProxyAddress:
    """One address of the first hop: a family and the tuple that connect() takes."""

    family: int
    sockaddr: tuple[Any, ...]


class FirstHop:
    """The proxy that we connect to ourselves.

    ``getaddrinfo``, ``start_thread`` and ``socketpair`` are the interpreter's own functions, never patched
    ones: the first hop's name is the one that has to be resolved on this machine. The latter two are for
    look-ups in the background (``look_up``).
    """

    def __init__(
        self,
        proxy: Proxy,
        getaddrinfo: Callable[..., list[Any]],
        start_thread: Callable[..., Any] = _thread.start_new_thread,
        socketpair: Callable[[], tuple[Any, Any]] = _socket.socketpair,
    ) -> None:
        self.proxy = proxy
        self._getaddrinfo = getaddrinfo
        self._start_thread = start_thread
        self._socketpair = socketpair
        # While a look-up is under way: for each caller of ``look_up``, the socket to close at its end.
        self._waiting: list[_socket.socket] | None = None
        self._failure: SocksError | None = None
        self._fresh_until = 0.0
        self._addresses: tuple[ProxyAddress, ...] = ()
        self._packed: set[bytes | None] = set()
        literal = packed(proxy.host)
        if literal is not None:
            self._addresses = (_address(literal, proxy.port),)
            self._packed = {literal}
            self._fresh_until = float("inf")

    def addresses(self) -> tuple[ProxyAddress, ...]:
        """The proxy's addresses, in the order to try; may resolve its name, and wait for the resolver.

        Raises:
            SocksError: its name cannot be resolved.
        """
        if not self.is_fresh:
            try:
                found = self._getaddrinfo(self.proxy.host, self.proxy.port, 0, _socket.SOCK_STREAM)
            except OSError as err:
                raise SocksError(
                    f"cannot resolve the proxy {self.proxy}: {err.strerror}", errno.EHOSTUNREACH
                ) from err
            self._addresses = tuple(ProxyAddress(int(row[0]), row[4]) for row in found)
            self._packed = {packed(known.sockaddr[0]) for known in self._addresses}
            self._fresh_until = monotonic() + RESOLVED_FOR
        return self._addresses

    @property
    def is_fresh(self) -> bool:
        """Whether ``addresses`` answers at once."""
        return monotonic() < self._fresh_until

    def look_up(self) -> Any:
        """Resolve the name in a thread; return a socket that is readable when ``found`` has the result."""
        near, far = self._socketpair()
        waiting = self._waiting
        if waiting is None:
            self._waiting = waiting = [far]
            try:
                self._start_thread(self._resolve, (waiting,))
            except RuntimeError:
                # No thread can be started: resolve here, and block.
                self._resolve(waiting)
        else:
            waiting.append(far)
            if self._waiting is not waiting:
                # The look-up has ended meanwhile, perhaps before this socket was in its list.
                far.close()
        return near

    def found(self) -> tuple[ProxyAddress, ...]:
        """The addresses that the last successful look-up has found.

        Raises:
            SocksError: no look-up has been successful.
        """
        if self._addresses:
            return self._addresses
        # A new exception for each caller: raising one adds to its traceback.
        why = self._failure or f"cannot resolve the proxy {self.proxy}: no answer in time"
        raise SocksError(str(why), errno.EHOSTUNREACH)

    def _resolve(self, waiting: list[_socket.socket]) -> None:
        try:
            self._failure = None
            self.addresses()
        except SocksError as err:
            self._failure = err
        finally:
            if self._waiting is waiting:
                self._waiting = None
            for sock in waiting:
                sock.close()

    def forked(self) -> None:
        """In a child after fork(): the thread of a look-up does not exist here."""
        self._waiting = None

    def known(self) -> tuple[ProxyAddress, ...]:
        """The proxy's addresses as far as they are known; resolves nothing."""
        return self._addresses

    def is_at(self, address: bytes, port: int) -> bool:
        """Whether ``address`` (4 or 16 bytes) and ``port`` are the proxy's, by the addresses known so far."""
        return port == self.proxy.port and address in self._packed

    def unreachable(self, err: OSError) -> SocksError:
        """The error to report for ``err`` of connect(), with its errno and a text that names the proxy."""
        why = os.strerror(err.errno) if err.errno else str(err)
        return SocksError(f"cannot reach the proxy {self.proxy}: {why}", err.errno or errno.ECONNREFUSED)


def socket_for(sock: _socket.socket, address: ProxyAddress) -> tuple[_socket.socket, tuple[Any, ...]]:
    """A socket that can connect to ``address``, ``sock`` itself where possible, and the tuple for connect().

    An AF_INET6 socket reaches an IPv4 proxy by its IPv4-mapped address; but not when it is bound to an IPv6
    address, or bound with IPV6_V6ONLY, which cannot be changed any more. Then, and when an AF_INET socket has
    to reach an IPv6 proxy, the result is a new socket with the options and the port of ``sock``.
    """
    if sock.family == address.family:
        return sock, address.sockaddr
    if sock.family != _socket.AF_INET6:
        fresh = clone_socket(sock, address.family)
        _take_port(fresh, sock)
        return fresh, address.sockaddr
    mapped = (for_ipv6_socket(address.sockaddr[0]), *address.sockaddr[1:])
    host, port = sock.getsockname()[:2]
    reaches_all = host == "::" or host.startswith(V4_MAPPED_TEXT)
    if reaches_all and not sock.getsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY):
        return sock, mapped
    fresh = clone_socket(sock, sock.family) if port or not reaches_all else sock
    fresh.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)
    if fresh is not sock:
        _take_port(fresh, sock)
    return fresh, mapped


def _take_port(fresh: _socket.socket, sock: _socket.socket) -> None:
    """Bind ``fresh``, an AF_INET6 socket, to the port of ``sock``, which the program may have announced.

    To ``::`` and not to the address of ``sock``: from that the proxy cannot be reached.
    """
    port = sock.getsockname()[1]
    if not port:
        return
    before = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR)
    for each in (sock, fresh):
        each.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    try:
        fresh.bind(("::", port))
    except OSError:
        # The port is not free. Only the proxy sees it; the destination does not.
        pass
    for each in (sock, fresh):
        each.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, before)


def is_lost(sock: Any) -> bool:
    """Whether the program has closed the descriptor of ``sock`` meanwhile; False for a plain socket.

    Our own sockets (``intercept.own_socket.Own``) can tell.
    """
    ask = getattr(sock, "is_lost", None)
    return ask is not None and bool(ask())


def clone_socket(sock: T, family: int) -> T:
    """A new, unconnected socket of ``family`` with the type, the mode and the options of ``sock``.

    It is not bound: ``sock`` still has the address.
    """
    # Of the class of ``sock``: ``_socket.socket`` may be a patched class by now.
    fresh = type(sock)(family, sock.type, sock.proto)
    if is_lost(sock):
        # The descriptor is closed: there are no options to copy.
        return fresh
    try:
        copy_options(sock, fresh)
        fresh.setblocking(os.get_blocking(sock.fileno()))
    except BaseException:
        fresh.close()
        raise
    return fresh


def _address(literal: bytes, port: int) -> ProxyAddress:
    if len(literal) == 4:
        return ProxyAddress(_socket.AF_INET, (unpacked(literal), port))
    return ProxyAddress(_socket.AF_INET6, (unpacked(literal), port, 0, 0))
