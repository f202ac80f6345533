"""The methods of a datagram socket, in front of C's: they add headers, remove them, and know the peer.

A datagram socket is of a class derived from its own that has the methods of ``DatagramSocket``; no other
socket has them. It gets this class when it is made (``patches.lifecycle``): a thread that sleeps in C's
recv() before the first datagram is sent would otherwise get the answer with its header. Until a destination
needs the chain, the socket has no flow, and the methods do what C's do. trio would not accept the class, so
it is hidden from trio (``patches.trio``).

A method that is called through the class, as ``socket.socket.recv(sock, 10)``, is C's, and returns the header
with the payload. A method on that class would also be every stream's. Only a metaclass could tell the two
calls apart, and a class cannot get another metaclass.
"""

from __future__ import annotations

import _socket
import errno
import os
from _operator import index
from time import monotonic

from pywrap.intercept import originals
from pywrap.intercept.derived_class import MARK, Classes
from pywrap.intercept.socket_inodes import inode
from pywrap.intercept.udp.flow import Flow
from pywrap.intercept.udp.flow_table import FlowTable, table_of
from pywrap.intercept.udp.straight_datagrams import receiving, sending
from pywrap.tunnel.attempt import POLLIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pywrap.intercept.registry import SocketRegistry
    from pywrap.intercept.runtime import Runtime

# Options of linux/udp.h that are refused: UDP_SEGMENT cuts one buffer into datagrams, and UDP_GRO joins
# datagrams. The kernel could not put a header in front of each.
_SOL_UDP = 17
_SEGMENTS = (103, 104)

# Seconds that a thread sleeps at the most on a socket without a flow: programs wait on many such sockets.
_IDLE = 5.0

# Flags with which recv() does not wait.
_NO_SLEEP = _socket.MSG_DONTWAIT | _socket.MSG_ERRQUEUE

# By the names of the methods, what makes those of the straight road.
_STRAIGHT: dict[str, Any] = {"recv": receiving, "recvfrom": receiving, "send": sending, "sendto": sending}

# The attribute of a derived class that has its ``_Binding``.
_BINDING = "_pysocksify_binding"


def methods(sock: _socket.socket) -> Any:
    """The methods of ``DatagramSocket``, which a subclass of the program may have overridden."""
    return DatagramSocket


def has_flow(registry: SocketRegistry, sock: _socket.socket) -> bool:
    """Whether ``sock`` sends through a chain."""
    return id(sock) in table_of(registry).by_object


def prepare(registry: SocketRegistry, sock: _socket.socket) -> None:
    """Give ``sock`` the methods of ``DatagramSocket``, unless it has them."""
    if not hasattr(type(sock), MARK):
        table = table_of(registry)
        if table.classes is None:
            table.classes = Classes(registry.roots, lambda base: _members(base, table))
        table.classes.put_on(sock)


def adopt(runtime: Runtime, sock: _socket.socket) -> _socket.socket:
    """Have ``sock`` send through a chain from now on; the result is the same object."""
    registry = runtime.registry
    with registry.lock:
        table = table_of(registry)
        flow = table.get(inode(originals.fileno(sock)))
        if flow is None:
            flow = Flow(runtime, sock, table)
            table.add(flow)
        _join(registry, table, sock, flow)
    return sock


def join_known(registry: SocketRegistry, sock: _socket.socket) -> None:
    """Note that ``sock`` was made for a descriptor: if it is a flow's, so is the object."""
    with registry.lock:
        table = table_of(registry)
        flow = table.get(inode(originals.fileno(sock)))
        if flow is not None:
            _join(registry, table, sock, flow)


def _join(registry: SocketRegistry, table: FlowTable, sock: _socket.socket, flow: Flow) -> None:
    # Called first, since it may raise: for an object that C made, or that is older than the patches.
    prepare(registry, sock)
    table.join(sock, flow)


class _Binding:
    """The methods of the class ``base`` that those of ``DatagramSocket`` replace, and the table of flows."""

    __slots__ = ("base", "real_close", "real_del", "registry", "table")

    def __init__(self, base: Any, table: FlowTable) -> None:
        self.base = base
        self.table = table
        self.registry = table.registry
        self.real_close = getattr(base, _closing_method(base))
        self.real_del = base.__del__


def _closing_method(base: type) -> str:
    """socket.socket counts the files that makefile() made, and closes by ``_real_close`` then."""
    return "_real_close" if hasattr(base, "_real_close") else "close"


def _members(base: type, table: FlowTable) -> dict[str, Any]:
    """The members of the class derived from ``base``."""
    methods = {
        name: _named(_in_front(name, method, base, table), method) for name, method in _METHODS.items()
    }
    return {_BINDING: _Binding(base, table), _closing_method(base): _close, "__del__": _delete, **methods}


class _Place:
    """``name`` of ``base``, and ``known``: what is there, unless the program has put it there."""

    __slots__ = ("attributes", "base", "known", "name")

    def __init__(self, name: str, base: type) -> None:
        self.attributes = vars(base)
        self.base = base
        self.known: Any = None
        self.name = name


def _in_front(name: str, method: Any, base: type, table: FlowTable) -> Any:
    """``method``, by the straight road where there is one."""
    place = _Place(name, base)
    general = _yielding(place, method)
    straight = _STRAIGHT.get(name)
    return general if straight is None else straight(place, table.by_object, _named(general, method))


def _yielding(place: _Place, method: Any) -> Any:
    """A method that calls ``method``; or, once the program has replaced it there, the program's.

    mock.patch replaces methods in this way.
    """
    attributes, name = place.attributes, place.name

    def yielding(self: Any, *args: Any, **kwargs: Any) -> Any:
        now = attributes.get(name)
        if now is place.known or now is None:
            return method(self, *args, **kwargs)
        if _is_known(now, place.base):
            place.known = now
            return method(self, *args, **kwargs)
        bind = getattr(type(now), "__get__", None)
        return (now if bind is None else bind(now, self, type(self)))(*args, **kwargs)

    return yielding


def _named(function: Any, method: Any) -> Any:
    """``function`` with the names of ``method``, for Python's messages about wrong arguments."""
    function.__name__, function.__qualname__ = method.__name__, method.__qualname__
    function.__doc__ = method.__doc__
    return function


def _is_known(function: Any, base: type) -> bool:
    """Whether ``function`` is one that ``base`` was written with, or one of ours."""
    module = getattr(function, "__globals__", {}).get("__name__", "")
    return bool(module == base.__module__ or module.startswith("pywrap."))


def _binding(sock: Any) -> _Binding:
    binding: _Binding = getattr(type(sock), _BINDING)
    return binding


def _flow_of(sock: Any) -> Flow | None:
    try:
        binding = type(sock)._pysocksify_binding
    except AttributeError:
        # The program has called the method of one socket with another socket.
        return None
    table: FlowTable = binding.table
    flow = table.by_object.get(id(sock))
    if flow is None and table and originals.fileno(sock) >= 0:
        # The socket comes from another process, or its class does not call socket.__init__().
        join_known(binding.registry, sock)
        flow = table.by_object.get(id(sock))
    return flow


def _base_of(sock: Any) -> Any:
    """The class that the methods of ``sock`` stand in front of."""
    binding: _Binding | None = getattr(type(sock), _BINDING, None)
    return type(sock) if binding is None else binding.base


def _wait_for_datagram(sock: _socket.socket, flags: int) -> Flow | None:
    """Sleep, but not in C's recv(), until there is a datagram; return the flow of ``sock`` by then."""
    flow = _flow_of(sock)
    if flow is not None:
        return flow
    timeout = originals.gettimeout(sock)
    if timeout == 0 or flags & _NO_SLEEP or originals.fileno(sock) < 0:
        return None
    if timeout is None and any(originals.getsockopt(sock, _socket.SOL_SOCKET, _socket.SO_RCVTIMEO, 16)):
        # The program has set a limit of the kernel's own.
        return None
    until = None if timeout is None else monotonic() + timeout
    while (flow := _flow_of(sock)) is None and originals.fileno(sock) >= 0:
        poller = originals.poll()
        poller.register(originals.fileno(sock), POLLIN)
        # In slices: another file may take the place of the one on which this thread sleeps, and under load a
        # thread can miss the event that wakes it up for that.
        slice = _IDLE if until is None else min(_IDLE, max(0.0, until - monotonic()))
        if poller.poll(slice * 1000):
            return _flow_of(sock)
        if until is not None and monotonic() >= until:
            raise TimeoutError("timed out")
    return flow


class DatagramSocket:
    """The methods. The class has no instances: they are copied into classes derived from a socket's own."""

    __slots__ = ()

    # -------------------------------------------------------- sending

    def send(self: Any, data: Any, flags: int = 0, /) -> int:
        """send(data[, flags]) -> count."""
        flow = _flow_of(self)
        if flow is None or flow.state.route is None:
            return originals.send(self, data, flags)
        return flow.send(self, data, flow.state.route, flags)

    def sendto(self: Any, data: Any, *rest: Any) -> int:
        """sendto(data[, flags], address) -> count."""
        if not 1 <= len(rest) <= 2:
            # C raises the error.
            return originals.sendto(self, data, *rest)
        flow = _flow_of(self)
        if flow is None:
            return int(_base_of(self).sendto(self, data, *rest))
        route = flow.routing.find_route(self, rest[-1])
        flags = rest[0] if len(rest) == 2 else 0
        if route[0] is None:
            return flow.send_directly(self, data, route[1], flags)
        return flow.send(self, data, route, flags, address=rest[-1])

    def sendall(self: Any, data: Any, flags: int = 0, /) -> None:
        """sendall(data[, flags]): one datagram."""
        DatagramSocket.send(self, data, flags)

    def sendmsg(self: Any, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None, /) -> int:
        """sendmsg(buffers[, ancdata[, flags[, address]]]) -> count."""
        flow = _flow_of(self)
        if flow is None:
            return int(_base_of(self).sendmsg(self, buffers, ancdata, flags, address))
        route = flow.state.route if address is None else flow.routing.find_route(self, address)
        if route is None or route[0] is None:
            return originals.sendmsg(self, buffers, ancdata, flags, None if route is None else route[1])
        ancillary = list(ancdata)
        if any(item[0] == _SOL_UDP and item[1] in _SEGMENTS for item in ancillary):
            raise OSError(errno.EOPNOTSUPP, "UDP segmentation does not go through a proxy")
        return flow.send(self, b"".join(buffers), route, flags, ancillary, address)

    # -------------------------------------------------------- receiving

    # An argument that C refuses without a look at the buffer is refused before the thread waits.

    def recv(self: Any, bufsize: int, flags: int = 0, /) -> bytes:
        """recv(buffersize[, flags]) -> data."""
        if not bufsize:
            return originals.recv(self, bufsize, flags)
        return DatagramSocket.recvfrom(self, bufsize, flags)[0]

    def recvfrom(self: Any, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """recvfrom(buffersize[, flags]) -> (data, address info)."""
        size = index(bufsize)
        flow = _wait_for_datagram(self, flags) if size >= 0 else None
        if flow is None:
            return originals.recvfrom(self, bufsize, flags)
        data, source = flow.receiver.receive(self, size, flags)
        if len(data) > size and not flags & _socket.MSG_TRUNC:
            data = data[:size]
        return data, source or None

    def recv_into(self: Any, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """recv_into(buffer[, nbytes[, flags]]) -> nbytes_read."""
        with memoryview(buffer) as view:
            fits = 0 <= index(nbytes) <= view.nbytes != 0 and not view.readonly
        if not fits:
            return originals.recv_into(self, buffer, nbytes, flags)
        return DatagramSocket.recvfrom_into(self, buffer, nbytes, flags)[0]

    def recvfrom_into(self: Any, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """recvfrom_into(buffer[, nbytes[, flags]]) -> (nbytes, address info)."""
        with memoryview(buffer) as view, view.cast("B") as room:
            fits = 0 <= index(nbytes) <= len(room) and not view.readonly
            flow = _wait_for_datagram(self, flags) if fits else None
            if flow is None:
                return originals.recvfrom_into(self, buffer, nbytes, flags)
            size = nbytes or len(room)
            data, source = flow.receiver.receive(self, size, flags)
            kept = data[:size]
            room[: len(kept)] = kept
        return len(data) if flags & _socket.MSG_TRUNC else len(kept), source or None

    def recvmsg(
        self: Any, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[bytes, list[Any], int, Any]:
        """recvmsg(bufsize[, ancbufsize[, flags]]) -> (data, ancdata, msg_flags, address)."""
        flow = _wait_for_datagram(self, flags) if index(bufsize) >= 0 and index(ancbufsize) >= 0 else None
        if flow is None:
            return originals.recvmsg(self, bufsize, ancbufsize, flags)
        data, ancdata, got, source = flow.receiver.receive_message(self, bufsize, ancbufsize, flags)
        return data, ancdata, got, source or None

    def recvmsg_into(
        self: Any, buffers: Any, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[Any], int, Any]:
        """recvmsg_into(buffers[, ancbufsize[, flags]]) -> (nbytes, ancdata, msg_flags, address)."""
        buffers = list(buffers)
        rooms = [memoryview(buffer).cast("B") for buffer in buffers]
        fits = index(ancbufsize) >= 0 and not any(room.readonly for room in rooms)
        flow = _wait_for_datagram(self, flags) if fits else None
        if flow is None:
            return originals.recvmsg_into(self, buffers, ancbufsize, flags)
        data, ancdata, got, source = flow.receiver.receive_message(
            self, sum(map(len, rooms)), ancbufsize, flags
        )
        rest = data
        for room in rooms:
            piece, rest = rest[: len(room)], rest[len(room) :]
            room[: len(piece)] = piece
        return len(data), ancdata, got, source or None

    # -------------------------------------------------------- addresses, options, the end

    def connect(self: Any, address: Any, /) -> None:
        """connect(address): the default destination, and the only source."""
        flow = _flow_of(self)
        if flow is None:
            _base_of(self).connect(self, address)
        else:
            flow.connect(self, address)

    def connect_ex(self: Any, address: Any, /) -> int:
        """connect_ex(address) -> errno: as connect(), but returns what went wrong."""
        try:
            DatagramSocket.connect(self, address)
        except _socket.gaierror:
            raise
        except OSError as err:
            return err.errno or errno.EIO
        return 0

    def getpeername(self: Any) -> Any:
        """getpeername() -> address info: the destination that was asked for."""
        flow = _flow_of(self)
        if flow is None:
            return originals.getpeername(self)
        # After a connect() to port 0, which succeeds, Linux still reports ENOTCONN.
        return (
            flow.state.peer
            if flow.state.peer is not None and flow.state.peer[1]
            else flow.kernel.peer_name(self)
        )

    def getsockname(self: Any) -> Any:
        """getsockname() -> address info: the address on the way to the first proxy."""
        flow = _flow_of(self)
        return originals.getsockname(self) if flow is None else flow.local_name(flow.kernel.own_name(self))

    def getsockopt(self: Any, level: int, optname: int, *buflen: int) -> Any:
        """getsockopt(level, optname[, buflen]) -> int or bytes."""
        flow = _flow_of(self)
        if flow is not None and (level, optname) == (_socket.SOL_SOCKET, _socket.SO_ERROR) and not buflen:
            error = flow.closing.take_error()
            if error is not None:
                return error.errno
        return originals.getsockopt(self, level, optname, *buflen)

    def setsockopt(self: Any, level: int, optname: int, *value: Any) -> None:
        """setsockopt(level, optname, value[, optlen])."""
        if level == _SOL_UDP and optname in _SEGMENTS and _flow_of(self) is not None:
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
        _base_of(self).setsockopt(self, level, optname, *value)

    def shutdown(self: Any, how: int, /) -> None:
        """shutdown(flag)."""
        flow = _flow_of(self)
        if flow is None:
            return originals.shutdown(self, how)
        flow.state.is_shut = flow.state.is_shut or how != _socket.SHUT_WR
        try:
            originals.shutdown(self, how)
        except OSError as err:
            # The kernel has shut the file down, and reports ENOTCONN; but the program's socket may be
            # connected.
            if err.errno != errno.ENOTCONN or flow.state.peer is None:
                raise

    def detach(self: Any) -> int:
        """detach(): close the object, and leave the descriptor open."""
        binding = getattr(type(self), _BINDING, None)
        if binding is not None:
            binding.table.by_object.pop(id(self), None)
        return int(_base_of(self).detach(self))


def _close(self: Any, *args: Any) -> None:
    """In the place of ``_closing_method``."""
    binding = _binding(self)
    table, fd = binding.table, originals.fileno(self)
    flow = table.by_object.pop(id(self), None) or table.at(fd)
    if flow is not None and fd >= 0:
        with binding.registry.lock:
            flow.let_go(fd)
    binding.real_close(self, *args)


def _delete(self: Any) -> None:
    """In the place of ``__del__``."""
    binding = _binding(self)
    table, fd = binding.table, originals.fileno(self)
    # Not removed yet: an object in a cycle may be used until it is really deleted.
    flow = table.by_object.get(id(self)) or table.at(fd)
    if flow is not None and fd >= 0:
        table.drop(flow, fd, lambda: binding.real_del(self))
    else:
        binding.real_del(self)
    # Removed last: ``real_del`` may print the socket in a warning, which asks for its names.
    table.by_object.pop(id(self), None)


_METHODS: dict[str, Any] = {
    name: member for name, member in vars(DatagramSocket).items() if not name.startswith("__")
}
for _name, _method in _METHODS.items():
    # Python's messages about wrong arguments have it.
    _method.__qualname__ = f"socket.{_name}"
