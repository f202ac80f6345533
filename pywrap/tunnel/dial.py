"""The way to the first hop: its addresses, and a socket that can connect to them."""

from __future__ import annotations

import _socket
import errno
import os
from time import monotonic

from pywrap.errors import SocksError
from pywrap.frozen import frozen
from pywrap.socks.wire import packed, unpacked
from pywrap.tunnel.sockopts import copy_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.config.settings import Proxy

# A proxy's name is asked for again after this many seconds, so that a long-running program follows
# its proxy to a new address.
RESOLVED_FOR = 60.0


@frozen
class Address:
    """One address of the first hop: a family and the tuple that connect() takes."""

    family: int
    sockaddr: tuple[Any, ...]


class FirstHop:
    """The proxy that we connect to ourselves.

    ``getaddrinfo`` is the interpreter's own, never the patched one: the first hop is the one name that
    has to be resolved here.
    """

    def __init__(self, proxy: Proxy, getaddrinfo: Callable[..., list[Any]]) -> None:
        self.proxy = proxy
        self._getaddrinfo = getaddrinfo
        self._fresh_until = 0.0
        self._addresses: tuple[Address, ...] = ()
        self._packed: set[bytes | None] = set()
        literal = packed(proxy.host)
        if literal is not None:
            self._addresses = (_address(literal, proxy.port),)
            self._packed = {literal}
            self._fresh_until = float("inf")

    def addresses(self) -> tuple[Address, ...]:
        """Where the proxy is, in the order to try.

        Raises:
            SocksError: its name cannot be resolved.
        """
        if monotonic() >= self._fresh_until:
            try:
                found = self._getaddrinfo(self.proxy.host, self.proxy.port, 0, _socket.SOCK_STREAM)
            except OSError as err:
                raise SocksError(
                    f"cannot resolve the proxy {self.proxy}: {err.strerror}", errno.EHOSTUNREACH
                ) from err
            self._addresses = tuple(Address(int(row[0]), row[4]) for row in found)
            self._packed = {packed(known.sockaddr[0]) for known in self._addresses}
            self._fresh_until = monotonic() + RESOLVED_FOR
        return self._addresses

    def known(self) -> tuple[Address, ...]:
        """Where the proxy is, as far as it is known without asking."""
        return self._addresses

    def is_at(self, address: bytes, port: int) -> bool:
        """Is this the proxy's own address? Only the addresses known so far count."""
        return port == self.proxy.port and address in self._packed

    def unreachable(self, err: OSError) -> SocksError:
        """The kernel's errno, and a text that names the proxy."""
        why = os.strerror(err.errno) if err.errno else str(err)
        return SocksError(f"cannot reach the proxy {self.proxy}: {why}", err.errno or errno.ECONNREFUSED)


def fit(sock: _socket.socket, address: Address) -> tuple[_socket.socket, tuple[Any, ...]]:
    """A socket that can connect to ``address``, and the tuple to give it: ``sock`` itself where possible.

    An IPv6 socket reaches an IPv4 proxy by its mapped address and stays what the program made. The
    other way round needs another socket, with the options of the first.
    """
    if sock.family == address.family:
        return sock, address.sockaddr
    if sock.family == _socket.AF_INET6:
        sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)
        mapped = "::ffff:" + address.sockaddr[0]
        return sock, (mapped, *address.sockaddr[1:])
    return like(sock, address.family), address.sockaddr


def like(sock: _socket.socket, family: int) -> _socket.socket:
    """A new, unconnected socket with the type, the mode and the options of ``sock``.

    Without the address that it is bound to, which the old socket still has. A program that binds to
    a port of its own and connects again after a failure has not been met yet.
    """
    # Of its class, and not what ``_socket`` has under that name by now.
    fresh = type(sock)(family, sock.type, sock.proto)
    try:
        copy_options(sock, fresh)
        fresh.setblocking(os.get_blocking(sock.fileno()))
    except BaseException:
        fresh.close()
        raise
    return fresh


def _address(literal: bytes, port: int) -> Address:
    if len(literal) == 4:
        return Address(_socket.AF_INET, (unpacked(literal), port))
    return Address(_socket.AF_INET6, (unpacked(literal), port, 0, 0))
