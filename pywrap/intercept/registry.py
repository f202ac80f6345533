"""What is known of the program's sockets, by the inode of each.

Not by socket object, and not by descriptor: an inode survives dup(), detach() (SSLSocket) and fork(), and
socket objects have ``__slots__``.

* ``established``: the destination that a tunnel was opened to, as getpeername() tells it; ``names``: its own
  address for the other end, where getsockname() is to tell that;
* ``nonblocking``: tunnels in the making, and those that failed and whose errno nobody has asked for yet
  (``nonblocking``), by the inode of their placeholder;
* ``flow``: datagram sockets that talk through a chain (``flow``), and ``by_object``, the same by the id of
  each socket object of theirs; ``relays``: where their datagrams go, each with the number of flows;
* ``listener``: sockets that listen at a proxy (``listener``); ``any_port``: those that were bound to a port
  of the system's choice;
* the placeholders of tunnels that were handed over just now, by the inode of the socket that replaced them.
"""

from __future__ import annotations

import _weakref
import os
import sys
from time import monotonic, sleep

from pywrap.intercept import epoll
from pywrap.intercept.lock import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.bind.listener import Listener
    from pywrap.intercept.derived_class import Classes
    from pywrap.intercept.tcp.nonblocking import Pending
    from pywrap.intercept.udp.flow import Flow


def inode(fd: int) -> int:
    """The identity of an open socket; OSError(EBADF) for a descriptor that is none."""
    return os.fstat(fd).st_ino


def is_open(fd: int, number: int) -> bool:
    """Is ``fd`` still the socket with the inode ``number``?"""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    # A file on a disk can have the same number.
    return status.st_ino == number and status.st_mode & _S_IFMT == _S_IFSOCK


def _close(fd: int, number: int) -> None:
    """Close ``fd``, unless the program has done so, and it is another file."""
    if is_open(fd, number):
        os.close(fd)


# An epoll that was made by C code (libuv), or before us, still has the placeholder registered, and it is an
# event on that which wakes its owner up. That needs a moment, not more.
LINGERING = 64

_NEVER = sys.maxsize

_NO_DESCRIPTOR = -1

# Seconds that a program which ends waits for a proxy to take its last datagrams, looking that often.
PATIENCE = 5.0
_TICK = 0.005

# What the classes have that sockets become: those of datagrams (``methods``), and listeners
# (``derived_class``).
MARK = "_pysocksify_flow"

# Of stat.h: the module ``stat`` is another import at the start.
_S_IFMT = 0o170000
_S_IFSOCK = 0o140000


class SocketRegistry:
    """The tables. ``lock`` guards ``pending``, ``listening`` and each hand-over; see the page in ``lock``."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.pending: dict[int, Pending] = {}
        self.listening: dict[int, Listener] = {}
        self.any_port: set[int] = set()
        self.established: dict[int, tuple[Any, ...]] = {}
        self.names: dict[int, tuple[Any, ...]] = {}
        self.flows: dict[int, Flow] = {}
        self.by_object: dict[int, Flow] = {}
        self.relays: dict[tuple[Any, ...], int] = {}
        # The classes that are patched: socket.socket (of each module of that name) and _socket.socket.
        self.roots: list[type] = []
        # What datagram sockets are made of.
        self.datagrams: Classes | None = None
        self._waits_at_exit = False
        # The objects of ``by_object``, to be told when they are gone.
        self._objects: dict[int, Any] = {}
        # Flows, each with a descriptor of it that the garbage collector has closed.
        self._orphans: list[tuple[Flow, int]] = []
        # Each a descriptor and its inode.
        self._lingering: dict[int, tuple[int, int]] = {}
        self._sweep_at = 64

    def establish(self, fd: int, peer: tuple[Any, ...], name: tuple[Any, ...] | None = None) -> None:
        """``fd`` is a tunnel to ``peer``; ``name`` is what getsockname() tells, None for the kernel's."""
        number = inode(fd)
        self.established[number] = peer
        if name is not None:
            self.names[number] = name
        self._grown()

    def name_of(self, fd: int) -> tuple[Any, ...] | None:
        """What getsockname() is to tell of ``fd``; None for the kernel's answer."""
        return self.names.get(inode(fd)) if fd >= 0 else None

    def leave_port(self, fd: int) -> None:
        """``fd`` is bound to whichever port is free."""
        self.any_port.add(inode(fd))
        self._grown()

    def listen_at(self, number: int, listener: Listener) -> None:
        """What the program listens on has the inode ``number`` from now on. Under ``lock``."""
        self.listening[number] = listener
        self._grown()

    def listener_of(self, fd: int) -> Listener | None:
        """What listens at a proxy for ``fd``."""
        if not self.listening or fd < 0:
            return None
        # Its inode changes under the lock.
        with self.lock:
            return self.listening.get(inode(fd))

    def error_of(self, fd: int) -> int:
        """What SO_ERROR has to tell of ``fd``: an errno, or 0. Told once, as by the kernel."""
        if not self.pending and not self._lingering:
            return 0
        number = inode(fd)
        with self.lock:
            placeholder = self._lingering.pop(number, None)
            if placeholder is not None:
                _close(*placeholder)
            pending = self.pending.get(number)
            return pending.take_error() if pending is not None else 0

    def keep_failed(self, number: int, failed: Pending) -> None:
        """``failed`` waits at its placeholder ``number`` for somebody to ask for its errno."""
        self.pending[number] = failed
        self._grown()

    def closing(self, fd: int) -> None:
        """The program closes ``fd``. Under ``lock``."""
        waiting = self.pending_of(fd) or self.listener_of(fd)
        if waiting is not None:
            waiting.let_go(fd)

    def linger(self, number: int, fd: int) -> None:
        """Keep the placeholder at ``fd`` open until SO_ERROR is asked of the socket ``number``."""
        if number in self._lingering:
            return
        if len(self._lingering) >= LINGERING:
            _close(*self._lingering.pop(next(iter(self._lingering))))
        try:
            self._lingering[number] = os.dup(fd), inode(fd)
        except OSError:
            # No descriptor left (EMFILE): who polls in Python is woken up without it.
            pass

    def send_rest_at_exit(self) -> None:
        """Have the interpreter wait, when it ends, for datagrams that wait for their association."""
        if not self._waits_at_exit:
            # Here, not on top: a program that sends no such datagram has no use for it.
            import atexit

            self._waits_at_exit = True
            atexit.register(self._send_rest)

    def _send_rest(self) -> None:
        until = monotonic() + PATIENCE
        while self._has_rest() and monotonic() < until:
            sleep(_TICK)

    def _has_rest(self) -> bool:
        # Not while a flow sends it, when the queue is empty already.
        with self.lock:
            return any(flow.has_rest for flow in self.flows.values())

    def join(self, sock: Any, flow: Flow) -> None:
        """``sock`` is an object of ``flow``, until it is closed or gone."""
        number = id(sock)
        self.by_object[number] = flow
        try:
            self._objects[number] = _weakref.ref(sock, lambda _: self._gone(number))
        except TypeError:
            # Of the C class itself: no program's ``__del__`` can come before ours (``methods``).
            pass

    def _gone(self, number: int) -> None:
        """An object does not exist any more, and the next one may get its ``number``."""
        self._objects.pop(number, None)
        flow = self.by_object.pop(number, None)
        if flow is not None:
            # Past our ``__del__``, or before it in a cycle. Has it taken its descriptor with it?
            self.drop_flow(flow, _NO_DESCRIPTOR, lambda: None)

    def flow_at(self, fd: int) -> Flow | None:
        """The flow of ``fd``, whichever object it is of."""
        if not self.flows or fd < 0:
            return None
        try:
            return self.flows.get(inode(fd))
        except OSError:
            # Closed in a way that passes no patch.
            return None

    def drop_flow(self, flow: Flow, fd: int, close: Callable[[], None]) -> None:
        """The garbage collector closes ``fd``, by ``close()``.

        It does so in the middle of anything, also of what is done to this very flow: nothing is waited for,
        and nothing done that this thread may be in the middle of. What is left to do, ``reap`` does.
        """
        if self.lock.is_mine or sys.is_finalizing():
            close()
            self._orphans.append((flow, fd))
            return
        try:
            now = self.lock.acquire(False)
            if now:
                flow.keep_queued(fd)
            close()
            self._orphans.append((flow, fd))
            if now:
                self.reap()
        finally:
            # Rather than by what ``now`` is: an exception may have come before it was that.
            if self.lock.is_mine:
                self.lock.release()

    def reap(self) -> None:
        """End the flows of sockets that the garbage collector has closed. Under ``lock``."""
        while True:
            try:
                flow, fd = self._orphans.pop()
            except IndexError:
                return
            flow.close(fd)

    def add_flow(self, flow: Flow) -> None:
        """``flow`` begins. Under ``lock``."""
        self.reap()
        count = len(self.flows)
        if count >= 64 and count & (count - 1) == 0:
            # Closed in a way that passes no patch: looked for at each power of two.
            for known in list(self.flows.values()):
                known.end_if_closed()
        self.flows[flow.kernel.number] = flow

    def renumber(self, old: int, number: int) -> None:
        """Another file has taken the place of a flow's. Under ``lock``."""
        self.flows[number] = self.flows.pop(old)

    def allow(self, relay: tuple[Any, ...]) -> None:
        """Datagrams may go to ``relay``: the audit hook asks."""
        self.relays[relay] = self.relays.get(relay, 0) + 1

    def disallow(self, relay: tuple[Any, ...]) -> None:
        """One flow to ``relay`` has ended."""
        left = self.relays.get(relay, 0) - 1
        if left > 0:
            self.relays[relay] = left
        else:
            self.relays.pop(relay, None)

    def is_relay(self, address: Any) -> bool:
        """May datagrams go to ``address``?"""
        try:
            return address in self.relays
        except TypeError:
            # Not hashable: no address of ours.
            return False

    def pending_of(self, fd: int) -> Pending | None:
        """The tunnel that ``fd`` waits for."""
        if not self.pending or fd < 0:
            return None
        # Not in the middle of a hand-over, when it is neither pending nor in its place.
        with self.lock:
            pending = self.pending.get(inode(fd))
            if pending is not None:
                pending.look()
            return pending

    def forked(self) -> None:
        """In a child after fork(): the parent goes on with what is pending, the child cannot."""
        epoll.forked()
        for tunnel in list(self.pending.values()):
            tunnel.forked()
        for flow in list(self.flows.values()):
            flow.forked()
        for listener in list(self.listening.values()):
            listener.forked()
        # Whoever was sweeping is not here to end it.
        self._sweep_at = 64

    def _grown(self) -> None:
        if self._size() >= self._sweep_at:
            self._sweep()

    def _size(self) -> int:
        return len(self.established) + len(self.pending) + len(self.listening) + len(self.any_port)

    def _sweep(self) -> None:
        """Forget the sockets that are closed.

        They can be closed in ways that pass no patch (os.close, the garbage collector, C code), so what
        is alive is looked up, each time the tables have doubled.
        """
        # By one thread: a hundred that connect at once would all come here, and look up each other's.
        self._sweep_at = _NEVER
        try:
            # Before looking: a tunnel that another thread establishes meanwhile is no candidate.
            established, pending = list(self.established.items()), list(self.pending.values())
            listening, any_port = list(self.listening.items()), set(self.any_port)
            alive = _open_inodes()
            self.any_port -= any_port - alive
            for number, peer in established:
                if number not in alive and self.established.get(number) is peer:
                    self.established.pop(number, None)
                    self.names.pop(number, None)
            with self.lock:
                for number, listener in listening:
                    if number not in alive and listener.number == number:
                        listener.drop()
                for tunnel in pending:
                    if tunnel.number not in alive:
                        tunnel.drop()
        except OSError:
            # No /proc in a chroot, or no descriptor left to read it with: the tables grow until next time.
            pass
        finally:
            self._sweep_at = max(64, 2 * self._size())


def _open_inodes() -> set[int]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(inode(int(fd)))
        except OSError:
            # The directory's own descriptor, or closed since.
            continue
    return found
