"""The open file of a datagram socket with a flow: it is shut down and replaced without the program's notice.

This module knows nothing of proxies. After an error, a fresh file at the same port takes the place of the old
one. An IPv4 socket that has to reach a relay with an IPv6 address gets an IPv6 file.
"""

from __future__ import annotations

import _socket
import errno
import os
import sys
from select import POLLRDHUP
from time import monotonic, sleep

from pywrap.intercept import originals
from pywrap.intercept.hand_over import put
from pywrap.intercept.own_socket import Own
from pywrap.intercept.socket_inodes import inode, is_open
from pywrap.socks.wire import V4_MAPPED_TEXT
from pywrap.tunnel.first_hop import clone_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    SockAddr: TypeAlias = tuple[Any, ...]

# How many ports are tried: another process may take a port that was free a moment ago.
_ATTEMPTS = 8


# Seconds that a thread may need to leave a system call.
_LEAVE = 0.02


class ReceiveHandle(originals.Socket):
    """Another object for a descriptor of the program, which it never closes, not even when it is deleted.

    Its family is AF_INET6, whatever that of the file: for an IPv4 object, C would read only as much of the
    source as an IPv4 address has. It has no timeout of its own, and does not change the mode of the file.
    """

    __slots__ = ()

    def __init__(self, fd: int) -> None:
        # SOCK_NONBLOCK: without it, C would apply the program's setdefaulttimeout() to the file's mode.
        kind = _socket.SOCK_DGRAM | _socket.SOCK_NONBLOCK
        super().__init__(_socket.AF_INET6, kind, _socket.IPPROTO_UDP, fd)

    def __del__(self) -> None:
        """In the place of C's, which closes the descriptor."""


class KernelSocket:
    """``fds`` are the program's descriptors in this process, ``number`` the inode of the file that they are.

    ``family`` and ``proto`` are those of the program's socket. ``v6_socket``: the IPv6 socket to send by,
    once the file of an IPv4 socket is one; the program's IPv4 object cannot send to IPv6 addresses.
    ``handles``: by descriptor, the object to receive by. The file is replaced under ``registry.lock``, and
    ``renumbered(old, new)`` is called with the inodes then.
    """

    def __init__(self, sock: _socket.socket, renumbered: Callable[[int, int], None]) -> None:
        fd = originals.fileno(sock)
        self.family, self._kind, self.proto = originals.family_type_proto(sock)
        self.number = inode(fd)
        self.fds = {fd}
        self.v6_socket: _socket.socket | None = None
        self.handles: dict[int, ReceiveHandle] = {}
        self._renumbered = renumbered
        # The moment of the monotonic clock at which the file was shut down last.
        self._woken = 0.0

    def bind(self, sock: _socket.socket) -> None:
        """Bind ``sock`` to a free port, by its number: relays accept datagrams from that port.

        A port that the kernel chose for port 0 is lost when C code connects the socket to AF_UNSPEC.
        """
        for _ in range(_ATTEMPTS):
            with_port = Own(self.family, self._kind | _socket.SOCK_CLOEXEC, self.proto)
            try:
                with_port.bind(("", 0))
                port = with_port.getsockname()[1]
            finally:
                with_port.close()
            try:
                return originals.bind(sock, ("", port))
            except OSError as err:
                if err.errno != errno.EADDRINUSE:
                    raise
        originals.bind(sock, ("", 0))

    def handle(self, sock: _socket.socket) -> _socket.socket:
        """The object to receive by, for the program's ``sock``.

        By ``sock`` itself, if it has a timeout, C would poll and receive again and again while the file is
        shut down, and would not see that another file takes its place.
        """
        fd = originals.fileno(sock)
        if fd < 0:
            # ``sock`` is closed: C raises the error.
            return sock
        handle = self.handles[fd] = ReceiveHandle(fd)
        return handle

    def sender(self, sock: _socket.socket) -> _socket.socket:
        """The socket to send by, for the program's ``sock``, with its timeout."""
        if self.v6_socket is None:
            return sock
        self.v6_socket.settimeout(originals.gettimeout(sock))
        return self.v6_socket

    def for_v6_socket(self, address: Any) -> Any:
        """The program's ``address``, as ``sender`` takes it."""
        if self.v6_socket is None or not isinstance(address, tuple) or not address:
            return address
        return V4_MAPPED_TEXT + address[0], *address[1:]

    def of_program(self, address: SockAddr) -> SockAddr:
        """``address`` of the file's family, as the program's socket would return it."""
        return address if self.v6_socket is None else (address[0].removeprefix(V4_MAPPED_TEXT), address[1])

    def own_name(self, sock: _socket.socket) -> Any:
        """getsockname() of ``sock``, in the program's family."""
        return self._named(originals.getsockname, sock)

    def peer_name(self, sock: _socket.socket) -> Any:
        """getpeername() of ``sock``, likewise."""
        return self._named(originals.getpeername, sock)

    def _named(self, ask: Callable[[_socket.socket], Any], sock: _socket.socket) -> Any:
        if self.v6_socket is None:
            return ask(sock)
        host, port = ask(self.v6_socket)[:2]
        return "0.0.0.0" if host == "::" else host.removeprefix(V4_MAPPED_TEXT), port

    def alive(self) -> list[int]:
        """The descriptors that still refer to this file."""
        return [fd for fd in self.fds if is_open(fd, self.number)]

    def copy(self) -> _socket.socket | None:
        """Another descriptor of the file, to be closed; None when the program has none left."""
        for fd in self.alive():
            family = self.family if self.v6_socket is None else _socket.AF_INET6
            # With SOCK_NONBLOCK: otherwise C would apply the program's setdefaulttimeout() to the file.
            kind = self._kind | _socket.SOCK_NONBLOCK
            return Own(family, kind, self.proto, fileno=os.dup(fd))
        return None

    def is_shut(self) -> bool:
        """Whether the file is shut down, by this process or another."""
        for fd in self.alive():
            poller = originals.poll()
            poller.register(fd, POLLRDHUP)
            # poll() reports errors as well, whether it is asked for them or not.
            return any(event & POLLRDHUP for _, event in poller.poll(0))
        return False

    def wake(self) -> None:
        """Shut the file down until ``refresh``: that wakes up each thread that waits for it."""
        for fd in self.alive():
            # Not by a copy, for which no descriptor may be left.
            _shut_down(ReceiveHandle(fd))
            self._woken = monotonic()
            break

    def admit_ipv4(self) -> None:
        """Let an IPv6 socket send to IPv4 addresses.

        Raises:
            OSError: the socket is bound, and IPV6_V6ONLY cannot be changed any more.
        """
        sock = self.copy()
        if sock is not None:
            try:
                if sock.getsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY):
                    sock.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)
            finally:
                sock.close()

    def move_to_ipv6(self) -> None:
        """Let an IPv4 socket send to IPv6 addresses: an IPv6 file takes the place of its own."""
        old = self.copy() if self.v6_socket is None else None
        if old is not None:
            try:
                v6_socket = clone_socket(old, _socket.AF_INET6)
                v6_socket.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)
                _take_over(v6_socket, old, ("::", old.getsockname()[1]))
                _shut_down(old)
                self._woken = monotonic()
            finally:
                old.close()
            self.v6_socket = v6_socket
            self._replace(v6_socket)

    def refresh(self) -> None:
        """Put a fresh file in the place of this one, at its port."""
        old = self.copy()
        if old is not None:
            try:
                fresh = clone_socket(old, old.family)
                _take_over(fresh, old, old.getsockname())
            finally:
                old.close()
            self._replace(fresh)
            if self.v6_socket is None:
                fresh.close()
            else:
                self.v6_socket.close()
                self.v6_socket = fresh

    def close(self) -> None:
        """Close the sockets that are ours, of which the program has no descriptor."""
        if self.v6_socket is not None:
            self.v6_socket.close()
            self.v6_socket = None

    def _replace(self, fresh: _socket.socket) -> None:
        """Put the file of ``fresh`` on the program's descriptors, with the same epoll registrations."""
        _let_leave(self._woken)
        for fd in self.alive():
            fresh.setblocking(os.get_blocking(fd))
            put(fresh, fd, self.number)
        old, self.number = self.number, inode(fresh.fileno())
        self._renumbered(old, self.number)


def _let_leave(woken: float) -> None:
    """Give threads that were woken at the moment ``woken`` time to leave poll(2), if there may be any.

    Before poll(2) returns, the kernel looks at the descriptor again. If that is another file by then, the
    thread sleeps on, and no datagram that arrives there wakes it up.
    """
    # More than this thread and the background thread.
    if len(sys._current_frames()) > 2:
        sleep(max(0.0, woken + _LEAVE - monotonic()))


def _shut_down(sock: _socket.socket) -> None:
    try:
        # Only for receiving: a thread that is sending would otherwise get EPIPE.
        sock.shutdown(_socket.SHUT_RD)
    except OSError:
        # ENOTCONN: the socket is not connected, but Linux wakes up the threads that wait for it
        # (inet_shutdown()).
        pass


def _take_over(fresh: _socket.socket, old: _socket.socket, name: SockAddr) -> None:
    """Bind ``fresh`` to ``name``, the address of ``old``, which a sleeping thread may keep for a moment."""
    reuse = fresh.getsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR)
    for sock in (old, fresh):
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    try:
        fresh.bind(name)
    except OSError:
        # The address is not available any more. Another port can send to a relay as well.
        fresh.bind(("", 0))
    fresh.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, reuse)
