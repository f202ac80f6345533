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

# A proxy's name is asked for again after this many seconds, so that a long-running program follows
# its proxy to a new address.
RESOLVED_FOR = 60.0


@frozen
class ProxyAddress:
    """One address of the first hop: a family and the tuple that connect() takes."""

    family: int
    sockaddr: tuple[Any, ...]


class FirstHop:
    """The proxy that we connect to ourselves.

    ``getaddrinfo`` is the interpreter's own, never the patched one: the first hop is the one name that
    has to be resolved here. ``start_thread`` likewise, for a resolver that nobody has time to wait for,
    and ``socketpair``, which tells of its end.
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
        # The ends of those who wait for the look-up that is under way.
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
        """Where the proxy is, in the order to try.

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
        """Does ``addresses`` answer at once?"""
        return monotonic() < self._fresh_until

    def look_up(self) -> Any:
        """Have the name resolved in a thread; the result becomes readable when ``found`` can tell."""
        near, far = self._socketpair()
        waiting = self._waiting
        if waiting is None:
            self._waiting = waiting = [far]
            try:
                self._start_thread(self._resolve, (waiting,))
            except RuntimeError:
                # No thread is left: then it is waited for here.
                self._resolve(waiting)
        else:
            waiting.append(far)
            if self._waiting is not waiting:
                # It was done in the meantime, perhaps before it could see this one.
                far.close()
        return near

    def found(self) -> tuple[ProxyAddress, ...]:
        """What the look-up has found; while it has not, or if it failed, what the one before had.

        Raises:
            SocksError: nothing.
        """
        if self._addresses:
            return self._addresses
        # A new one for each: who raises it adds where that was.
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
        """In a child after fork(): nobody looks anything up here."""
        self._waiting = None

    def known(self) -> tuple[ProxyAddress, ...]:
        """Where the proxy is, as far as it is known without asking."""
        return self._addresses

    def is_at(self, address: bytes, port: int) -> bool:
        """Is this the proxy's own address? Only the addresses known so far count."""
        return port == self.proxy.port and address in self._packed

    def unreachable(self, err: OSError) -> SocksError:
        """The kernel's errno, and a text that names the proxy."""
        why = os.strerror(err.errno) if err.errno else str(err)
        return SocksError(f"cannot reach the proxy {self.proxy}: {why}", err.errno or errno.ECONNREFUSED)


def socket_for(sock: _socket.socket, address: ProxyAddress) -> tuple[_socket.socket, tuple[Any, ...]]:
    """A socket that can connect to ``address``, and the tuple to give it: ``sock`` itself where possible.

    An IPv6 socket reaches an IPv4 proxy by its mapped address and stays what the program made; but not when
    it is bound to an IPv6 address, or bound with IPV6_V6ONLY, which cannot be changed then. The other way
    round needs another socket as well, with the options of the first and its port.
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
    """Bind ``fresh``, of IPv6, to the port that ``sock`` has, which the program may have told others.

    Of all addresses: that of the other family is none from which the proxy can be reached.
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
        # Not to be had: what the proxy sees is of no account to the destination.
        pass
    for each in (sock, fresh):
        each.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, before)


def should_abandon(sock: Any) -> bool:
    """Has the program closed the number of ``sock``, which is ours? Plain sockets cannot tell."""
    ask = getattr(sock, "should_abandon", None)
    return ask is not None and bool(ask())


def clone_socket(sock: T, family: int) -> T:
    """A new, unconnected socket with the type, the mode and the options of ``sock``.

    Without the address that it is bound to, which the old socket still has. A program that binds to
    a port of its own and connects again after a failure has not been met yet.
    """
    # Of its class, and not what ``_socket`` has under that name by now.
    fresh = type(sock)(family, sock.type, sock.proto)
    if should_abandon(sock):
        # There is nothing left that it could be like.
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
