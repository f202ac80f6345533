"""The flows of a process: by the inode of each, and by the socket objects that it has.

The garbage collector may close a socket at any moment, also while the same thread changes the flow of that
socket. So a finalizer neither waits for the lock nor changes a flow if its own thread holds the lock: it
leaves the flow to ``reap``, which the next holder of the lock calls.
"""

from __future__ import annotations

import _weakref
import sys
from time import monotonic, sleep

from pywrap.intercept import originals
from pywrap.intercept.socket_inodes import inode
from pywrap.tunnel.request_port import RequestPorts

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.derived_class import Classes
    from pywrap.intercept.registry import SocketRegistry
    from pywrap.intercept.udp.flow import Flow

# Seconds that a program waits at its end until a proxy has taken its last datagrams; and between two looks.
PATIENCE = 5.0
_TICK = 0.005

_NO_DESCRIPTOR = -1


class FlowTable(dict[int, "Flow"]):
    """Flows by inode. ``by_object``: the same by the id of each socket object.

    ``request_ports``: which hops want our port in their requests.
    """

    def __init__(self, registry: SocketRegistry) -> None:
        super().__init__()
        self.by_object: dict[int, Flow] = {}
        self.registry = registry
        self.request_ports = RequestPorts()
        # The derived classes of datagram sockets (``datagram_methods``).
        self.classes: Classes | None = None
        # Weak references to the objects of ``by_object``, for their callbacks.
        self._objects: dict[int, Any] = {}
        # Flows that wait for ``reap``, each with its descriptor that the garbage collector has closed.
        self._orphans: list[tuple[Flow, int]] = []
        self._waits_at_exit = False

    # ------------------------------------------------------------ flows

    def add(self, flow: Flow) -> None:
        """Enter ``flow``, which begins. The caller holds ``registry.lock``."""
        self.reap()
        count = len(self)
        if count >= 64 and count & (count - 1) == 0:
            # At each power of two, look for sockets that were closed in a way that passes no patch.
            for known in list(self.values()):
                known.closing.drop_if_closed()
        self[flow.number] = flow

    def renumber(self, old: int, number: int) -> None:
        """Note that a flow has another file, with another inode. The caller holds ``registry.lock``."""
        self[number] = self.pop(old)

    def forget(self, number: int) -> None:
        """Remove the flow with the inode ``number``, which has ended. The caller holds ``registry.lock``."""
        self.pop(number, None)

    def at(self, fd: int) -> Flow | None:
        """The flow of the descriptor ``fd``, by its inode; None without one."""
        if not self or fd < 0:
            return None
        try:
            return self.get(inode(fd))
        except OSError:
            # The descriptor was closed in a way that passes no patch.
            return None

    # ------------------------------------------------------------ objects

    def of(self, sock: _socket.socket) -> Flow | None:
        """The flow of ``sock``; None where it has sent nothing through a chain."""
        return self.by_object.get(id(sock))

    def join(self, sock: _socket.socket, flow: Flow) -> None:
        """Note that ``sock`` is an object of ``flow``, until it is closed or deleted. Needs the lock."""
        flow.fds.add(originals.fileno(sock))
        number = id(sock)
        self.by_object[number] = flow
        try:
            self._objects[number] = _weakref.ref(sock, lambda _: self._deleted(number))
        except TypeError:
            # Objects of the C class itself have no weak references. None are needed: no ``__del__`` of a
            # program can run before ours (``datagram_methods``).
            pass

    def _deleted(self, number: int) -> None:
        """Forget an object that does not exist any more: the next one may get its id."""
        self._objects.pop(number, None)
        flow = self.by_object.pop(number, None)
        if flow is not None:
            # Our ``__del__`` was not called, or not yet, in a cycle. The descriptor may be closed with the
            # object.
            self.drop(flow, _NO_DESCRIPTOR, lambda: None)

    # ------------------------------------------------------------ the garbage collector

    def drop(self, flow: Flow, fd: int, close: Callable[[], None]) -> None:
        """Handle that the garbage collector closes ``fd``, by ``close()``. Never waits."""
        lock = self.registry.lock
        if lock.is_mine or sys.is_finalizing():
            close()
            self._orphans.append((flow, fd))
            return
        try:
            now = lock.acquire(False)
            if now:
                flow.closing.keep_queued(fd)
            close()
            self._orphans.append((flow, fd))
            if now:
                self.reap()
        finally:
            # Not decided by ``now``: an exception may have come between taking the lock and setting it.
            if lock.is_mine:
                lock.release()

    def reap(self) -> None:
        """End the flows of sockets that the garbage collector has closed. Under ``registry.lock``."""
        while True:
            try:
                flow, fd = self._orphans.pop()
            except IndexError:
                return
            flow.let_go(fd)

    # ------------------------------------------------------------ the end of the program

    def send_rest_at_exit(self) -> None:
        """Have the interpreter wait at its end until queued datagrams are sent."""
        if not self._waits_at_exit:
            # Imported here: few programs send such datagrams.
            import atexit

            self._waits_at_exit = True
            atexit.register(self._send_rest)

    def _send_rest(self) -> None:
        until = monotonic() + PATIENCE
        while self._has_rest() and monotonic() < until:
            sleep(_TICK)

    def _has_rest(self) -> bool:
        # Under the lock: the background thread empties a queue before it sends the datagrams.
        with self.registry.lock:
            return any(flow.closing.has_rest for flow in list(self.values()))


def table_of(registry: SocketRegistry) -> FlowTable:
    """The table that is ``registry.flows``, made at the first call."""
    known = registry.flows
    if known is None:
        made = FlowTable(registry)
        # No call between the test and the assignment: Python runs signal handlers at calls, and none may run
        # here.
        if registry.flows is None:
            registry.flows = made
        known = registry.flows
    assert isinstance(known, FlowTable), "no other module sets it"
    return known
