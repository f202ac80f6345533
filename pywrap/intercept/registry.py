"""What is known of the program's sockets, by the inode of each.

The key is neither the socket object nor the descriptor: an inode survives dup(), detach() (SSLSocket) and
fork(), and socket objects have ``__slots__``.

* ``established``: the destination of each open tunnel, for getpeername(); ``names``: what getsockname()
  returns for it, where that is not the kernel's answer;
* ``connecting``: sockets on which a blocking connect() is under way;
* ``pending``: non-blocking connects that are under way, and those that failed and whose errno the program has
  not read yet (``tcp.nonblocking``), by the inode of the placeholder;
* ``listening``: sockets that listen at a proxy (``bind.listener``); ``any_port``: sockets that were bound to
  port 0;
* ``flows``: datagram sockets that send through a chain (``udp.flow_table``); ``relays``: the UDP relays that
  they send to, each with the number of its flows;
* ``_lingering``: placeholders of tunnels that were handed over, by the inode of what has replaced them.
"""

from __future__ import annotations

import os
import sys

from pywrap.intercept import epoll
from pywrap.intercept.lock import Lock
from pywrap.intercept.socket_inodes import inode, is_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Mapping
    from typing import Any, Protocol

    class Tracked(Protocol):
        """A socket of the program in one of the tables; its methods are called under ``lock``."""

        @property
        def number(self) -> int:
            """The inode of the socket in the table."""

        @property
        def fds(self) -> set[int]:
            """The program's descriptors of the socket in this process."""

        def let_go(self, fd: int) -> None:
            """The program closes ``fd``."""

        def drop(self) -> None:
            """Close what is ours: the program has no descriptor of the socket left."""

        def forked(self) -> None:
            """Called in a child after fork()."""

    class Pending(Tracked, Protocol):
        """A non-blocking connect(), as the patches see it (``tcp.nonblocking``)."""

        @property
        def real(self) -> _socket.socket: ...

        is_inherited: bool

        def look(self) -> None: ...
        def join(self, fd: int) -> bool: ...
        def take_error(self) -> int: ...
        def wait(self, timeout: float | None) -> None: ...

    class Listener(Tracked, Protocol):
        """A socket that listens at a proxy, as the patches see it (``bind.listener``)."""

        @property
        def asking(self) -> bool: ...
        def begin(self, sock: _socket.socket) -> None: ...
        def accept(self, sock: _socket.socket) -> tuple[int, Any]: ...
        def getsockname(self, fd: int) -> tuple[Any, ...]: ...
        def getsockopt(self, sock: _socket.socket, level: int, option: int, *buflen: int) -> Any: ...
        def setsockopt(self, sock: _socket.socket, *args: Any) -> None: ...
        def shutdown(self, sock: _socket.socket, how: int) -> None: ...


# How many placeholders stay open after their hand-over. An epoll object that C code made (libuv), or that is
# older than the patches, still has the placeholder registered, and an event on it wakes up the program. The
# latest ones are enough for that.
LINGERING = 64

_NEVER = sys.maxsize


class SocketRegistry:
    """The tables. ``lock`` guards ``pending``, ``listening`` and each hand-over (see the module ``lock``)."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.connecting: set[int] = set()
        self.pending: dict[int, Pending] = {}
        self.listening: dict[int, Listener] = {}
        self.any_port: set[int] = set()
        self.established: dict[int, tuple[Any, ...]] = {}
        self.names: dict[int, tuple[Any, ...]] = {}
        # None until the program makes a datagram socket.
        self.flows: Mapping[int, Tracked] | None = None
        self.relays: dict[tuple[Any, ...], int] = {}
        # The classes that are patched: socket.socket (of each module of that name) and _socket.socket.
        self.roots: list[type] = []
        # For each: its descriptor and the inode of that.
        self._lingering: dict[int, tuple[int, int]] = {}
        self._sweep_at = 64

    def tracked(self, number: int) -> Tracked | None:
        """The entry of the inode ``number``; None without one. The caller holds ``lock``."""
        flows = self.flows or {}
        return self.pending.get(number) or self.listening.get(number) or flows.get(number)

    @property
    def has_unconnected(self) -> bool:
        """Whether any socket is pending, has failed, or listens: for these the kernel's answers are wrong."""
        return bool(self.pending or self.listening or self._lingering)

    def establish(self, number: int, peer: tuple[Any, ...], name: tuple[Any, ...] | None = None) -> None:
        """Note that the socket of inode ``number`` is a tunnel to ``peer``, which getpeername() returns.

        getsockname() returns ``name`` for it, or the kernel's answer if that is None.
        """
        self.established[number] = peer
        if name is not None:
            self.names[number] = name
        self._grown()

    def name_of(self, fd: int) -> tuple[Any, ...] | None:
        """What getsockname() returns for ``fd``; None for the kernel's answer."""
        return self.names.get(inode(fd)) if fd >= 0 else None

    def leave_port(self, fd: int) -> None:
        """Note that the program has bound ``fd`` to port 0, which leaves the choice to the system."""
        self.any_port.add(inode(fd))
        self._grown()

    def listen_at(self, number: int, listener: Listener) -> None:
        """Note that ``listener`` has the inode ``number`` from now on. The caller holds ``lock``."""
        self.listening[number] = listener
        self._grown()

    def listener_of(self, fd: int) -> Listener | None:
        """The listener that ``fd`` is a descriptor of."""
        if not self.listening or fd < 0:
            return None
        # Taken, since the inode of a listener changes under the lock.
        with self.lock:
            return self.listening.get(inode(fd))

    def error_of(self, fd: int) -> int | None:
        """SO_ERROR of ``fd``: an errno once, and 0 while a connect() is pending; None: ask the kernel."""
        if not self.pending and not self._lingering:
            return None
        # The inode is read under the lock: in a hand-over, ``fd`` is neither the placeholder nor the tunnel.
        with self.lock:
            number = inode(fd)
            placeholder = self._lingering.pop(number, None)
            if placeholder is not None:
                _close(*placeholder)
            pending = self.pending.get(number)
            return pending.take_error() if pending is not None and pending.join(fd) else None

    def keep_failed(self, number: int, failed: Pending) -> None:
        """Keep ``failed`` at the inode of its placeholder until the program reads its errno."""
        self.pending[number] = failed
        self._grown()

    def closing(self, fd: int) -> None:
        """Tell the entry of ``fd`` that the program closes it. The caller holds ``lock``."""
        waiting = self.pending_of(fd) or self.listener_of(fd)
        if waiting is not None:
            waiting.let_go(fd)

    def linger(self, number: int, fd: int) -> None:
        """Keep the placeholder at ``fd`` open until the program reads SO_ERROR of the socket ``number``."""
        if number in self._lingering:
            return
        if len(self._lingering) >= LINGERING:
            _close(*self._lingering.pop(next(iter(self._lingering))))
        try:
            self._lingering[number] = os.dup(fd), inode(fd)
        except OSError:
            # No descriptor is left (EMFILE). Epoll objects that Python code made are woken up without it.
            pass

    def allow(self, relay: tuple[Any, ...]) -> None:
        """Let the audit hook pass datagrams to ``relay``, for one more flow."""
        self.relays[relay] = self.relays.get(relay, 0) + 1

    def disallow(self, relay: tuple[Any, ...]) -> None:
        """Undo one ``allow``: a flow to ``relay`` has ended."""
        left = self.relays.get(relay, 0) - 1
        if left > 0:
            self.relays[relay] = left
        else:
            self.relays.pop(relay, None)

    def is_relay(self, address: Any) -> bool:
        """Whether datagrams may go to ``address``, since a flow uses this relay."""
        try:
            return address in self.relays
        except TypeError:
            # ``address`` is not hashable, so it is not that of a relay.
            return False

    def pending_of(self, fd: int) -> Pending | None:
        """The connect() that is pending at ``fd``, or has failed there."""
        if not self.pending or fd < 0:
            return None
        # Under the lock, since in the middle of a hand-over ``fd`` is neither the placeholder nor the tunnel.
        with self.lock:
            pending = self.pending.get(inode(fd))
            if pending is not None:
                pending.look()
                if not pending.join(fd):
                    return None
            return pending

    def about_to_fork(self) -> None:
        """In the parent before fork(): note that the child will have the placeholders too."""
        for tunnel in list(self.pending.values()):
            tunnel.is_inherited = True

    def forked(self) -> None:
        """In a child after fork(): pending connections are the parent's, which goes on with them."""
        epoll.forked()
        # The threads that were connecting do not exist here.
        self.connecting.clear()
        for tunnel in list(self.pending.values()):
            tunnel.forked()
        for flow in list((self.flows or {}).values()):
            flow.forked()
        for listener in list(self.listening.values()):
            listener.forked()
        # A thread that was sweeping does not exist here.
        self._sweep_at = 64

    def _grown(self) -> None:
        if self._size() >= self._sweep_at:
            self._sweep()

    def _size(self) -> int:
        return len(self.established) + len(self.pending) + len(self.listening) + len(self.any_port)

    def _sweep(self) -> None:
        """Forget the sockets that are closed.

        Sockets can be closed in ways that pass no patch (os.close, the garbage collector, C code). So the
        open descriptors are listed each time that the tables have doubled.
        """
        # Only one thread sweeps: a hundred that connect at once would all list the descriptors.
        self._sweep_at = _NEVER
        try:
            # Copied before the listing, which lacks a tunnel that another thread establishes meanwhile.
            established, pending = self.established.copy(), self.pending.copy()
            listening, any_port = self.listening.copy(), self.any_port.copy()
            alive = _open_inodes()
            self.any_port -= any_port - alive
            for number, peer in established.items():
                if number not in alive and self.established.get(number) is peer:
                    self.established.pop(number, None)
                    self.names.pop(number, None)
            with self.lock:
                for number, listener in listening.items():
                    if number not in alive and listener.number == number:
                        listener.drop()
                for tunnel in pending.values():
                    if tunnel.number not in alive:
                        tunnel.drop()
        except OSError:
            # No /proc in a chroot, or no descriptor left to read it with: the tables grow until next time.
            pass
        finally:
            self._sweep_at = max(64, 2 * self._size())


def _close(fd: int, number: int) -> None:
    """Close ``fd``, unless its inode is not ``number``: the program has closed it then."""
    if is_open(fd, number):
        os.close(fd)


def _open_inodes() -> set[int]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(inode(int(fd)))
        except OSError:
            # The descriptor by which the folder was listed, or one that was closed since.
            continue
    return found
