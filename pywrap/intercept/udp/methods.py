"""socket.sendto() and sendmsg(), and all other methods of a datagram socket that talks through a chain.

Before the C code sees the address, since that asks a resolver for a name. On a stream, Linux ignores an
address, except with MSG_FASTOPEN, which would connect: refused, as raw sockets are, unless the destination is
direct.

A datagram socket is of a class derived from its own, with the methods below in front of C's; other sockets
have none of them. It is so from the start (``lifecycle``): a thread that sleeps in C's recv() before the
first datagram is sent would be given the answer with its header. Until a destination needs the chain it has
no flow, and the methods do what they always did. trio, which would not accept the class, does not see it
(``trio``).

What is called through the class, as ``socket.socket.recv(sock, 10)``, goes past them and gets the header.
Whatever stood on that class would stand before recv() of every stream too, and only a metaclass could tell
the two calls apart: no class that has been made takes another one.
"""

from __future__ import annotations

import _socket
import errno
import os
from _operator import index
from time import monotonic

from pywrap.intercept import originals
from pywrap.intercept.addresses import target, with_host
from pywrap.intercept.derived_class import Classes
from pywrap.intercept.registry import MARK, inode
from pywrap.intercept.udp.flow import Flow
from pywrap.tunnel.attempt import POLLIN
from pywrap.tunnel.routes import DIRECT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.registry import SocketRegistry
    from pywrap.intercept.runtime import Runtime

# Of linux/udp.h: one buffer that the kernel cuts into datagrams, and datagrams that it joins. It could not
# put a header in front of each.
_SOL_UDP = 17
_SEGMENTS = (103, 104)

# Seconds that a thread sleeps at the most on a socket that talks through no chain yet. Programs wait on many
# that never will.
_IDLE = 5.0

# A recv() with one of these has its answer at once.
_NO_SLEEP = _socket.MSG_DONTWAIT | _socket.MSG_ERRQUEUE


def functions(runtime: Runtime) -> dict[str, Callable[..., Any]]:
    """sendto() and sendmsg() under ``runtime``."""

    def sendto(self: _socket.socket, data: Any, *rest: Any) -> int:
        """sendto(data[, flags], address) -> count."""
        if rest:
            if _is_stream(self, rest[-1], rest[0] if len(rest) == 2 else 0):
                return originals.send(self, data, *rest[:-1])
            if id(self) in runtime.registry.by_object:
                # From whoever has kept the function of the class it was before.
                return int(methods(self).sendto(self, data, *rest))
            address = permitted(runtime, self, rest[-1])
            if address is None:
                return int(methods(adopt(runtime, self)).sendto(self, data, *rest))
            rest = (*rest[:-1], address)
        return originals.sendto(self, data, *rest)

    def sendmsg(
        self: _socket.socket, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None, /
    ) -> int:
        """sendmsg(buffers[, ancdata[, flags[, address]]]) -> count."""
        if id(self) in runtime.registry.by_object:
            return int(methods(self).sendmsg(self, buffers, ancdata, flags, address))
        if address is not None:
            if _is_stream(self, address, flags):
                return originals.sendmsg(self, buffers, ancdata, flags)
            found = permitted(runtime, self, address)
            if found is None:
                return int(methods(adopt(runtime, self)).sendmsg(self, buffers, ancdata, flags, address))
            address = found
        return originals.sendmsg(self, buffers, ancdata, flags, address)

    return {"sendto": sendto, "sendmsg": sendmsg}


def methods(sock: _socket.socket) -> Any:
    """The class that has the methods below: not ``sock``'s own, which may be the program's."""
    return next(cls for cls in type(sock).__mro__ if MARK in vars(cls) and "recvmsg_into" in vars(cls))


def _is_stream(sock: _socket.socket, address: Any, flags: Any) -> bool:
    """Is ``sock`` of TCP, of which Linux does not look at the address? With TCP Fast Open it does."""
    _, kind, proto = originals.family_type_proto(sock)
    if kind != _socket.SOCK_STREAM or proto not in originals.TCP:
        return False
    if not isinstance(flags, int) or flags & _socket.MSG_FASTOPEN:
        return False
    # A malformed one has its TypeError from C.
    return target(sock, address) is not None


def permitted(runtime: Runtime, sock: _socket.socket, address: Any) -> Any:
    """``address``, or what to use in its place; None where it takes the chain.

    Raises:
        PermissionError: it must not be sent.
    """
    found = target(sock, address)
    if found is None:
        return address
    verdict = runtime.verdict(found, datagram=True)
    if verdict.kind == DIRECT:
        return with_host(address, verdict.literal, verdict.destination.port)
    _, kind, proto = originals.family_type_proto(sock)
    refusal = runtime.no_datagrams(verdict, proto if kind == _socket.SOCK_DGRAM else -1)
    if refusal is not None:
        raise refusal
    return None


def prepare(registry: SocketRegistry, sock: _socket.socket) -> None:
    """Give ``sock`` the methods below, unless it has them."""
    if not hasattr(type(sock), MARK):
        if registry.datagrams is None:
            registry.datagrams = Classes(registry.roots, lambda base: _methods(base, registry))
        registry.datagrams.put_on(sock)


def adopt(runtime: Runtime, sock: _socket.socket) -> _socket.socket:
    """Make ``sock`` talk through a chain from now on; the result is the same object."""
    registry = runtime.registry
    with registry.lock:
        flow = registry.flows.get(inode(originals.fileno(sock)))
        if flow is None:
            flow = Flow(runtime, sock)
            registry.add_flow(flow)
        _join(registry, flow, sock)
    return sock


def join_known(registry: SocketRegistry, sock: _socket.socket) -> None:
    """``sock`` was made for a descriptor: if that is a flow's, it is one more object of it."""
    with registry.lock:
        flow = registry.flows.get(inode(originals.fileno(sock)))
        if flow is not None:
            _join(registry, flow, sock)


def _join(registry: SocketRegistry, flow: Flow, sock: _socket.socket) -> None:
    """``sock`` is one of the objects that ``flow`` has."""
    # Not in an object that C made, or that was made before us. First: it may not be possible.
    prepare(registry, sock)
    flow.kernel.fds.add(originals.fileno(sock))
    registry.join(sock, flow)


# ---------------------------------------------------------------- the methods


def _methods(base: Any, registry: SocketRegistry) -> dict[str, Any]:
    by_object = registry.by_object

    def flow_of(sock: _socket.socket) -> Flow | None:
        flow = by_object.get(id(sock))
        if flow is None and registry.flows and originals.fileno(sock) >= 0:
            # Of another process, or of a class that does not call socket.__init__().
            join_known(registry, sock)
            flow = by_object.get(id(sock))
        return flow

    def awaited(sock: _socket.socket, flags: int) -> Flow | None:
        """Sleep until there is something to receive, and not in C: the flow that the socket has by then."""
        timeout = originals.gettimeout(sock)
        if timeout == 0 or flags & _NO_SLEEP or originals.fileno(sock) < 0:
            return flow_of(sock)
        if timeout is None and any(originals.getsockopt(sock, _socket.SOL_SOCKET, _socket.SO_RCVTIMEO, 16)):
            # The kernel's own limit, for who has set it.
            return flow_of(sock)
        until = None if timeout is None else monotonic() + timeout
        while (flow := flow_of(sock)) is None and originals.fileno(sock) >= 0:
            poller = originals.poll()
            poller.register(originals.fileno(sock), POLLIN)
            # In slices: another file may have taken the place of the one that this sleeps on, and under load
            # a thread can miss that it was woken up for it.
            slice = _IDLE if until is None else min(_IDLE, max(0.0, until - monotonic()))
            if poller.poll(slice * 1000):
                return flow_of(sock)
            if until is not None and monotonic() >= until:
                raise TimeoutError("timed out")
        return flow

    # -------------------------------------------------------- sending

    def send(self: _socket.socket, data: Any, flags: int = 0, /) -> int:
        """send(data[, flags]) -> count."""
        flow = flow_of(self)
        if flow is None or flow.route is None:
            return originals.send(self, data, flags)
        return flow.send(self, data, flow.route, flags)

    def sendto(self: _socket.socket, data: Any, *rest: Any) -> int:
        """sendto(data[, flags], address) -> count."""
        if not 1 <= len(rest) <= 2:
            # In its own words.
            return originals.sendto(self, data, *rest)
        flow = flow_of(self)
        if flow is None:
            return int(base.sendto(self, data, *rest))
        route = flow.find_route(self, rest[-1])
        flags = rest[0] if len(rest) == 2 else 0
        if route[0] is None:
            return flow.send_directly(self, data, route[1], flags)
        return flow.send(self, data, route, flags)

    def sendall(self: _socket.socket, data: Any, flags: int = 0, /) -> None:
        """sendall(data[, flags]): one datagram."""
        send(self, data, flags)

    def sendmsg(
        self: _socket.socket, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None, /
    ) -> int:
        """sendmsg(buffers[, ancdata[, flags[, address]]]) -> count."""
        flow = flow_of(self)
        if flow is None:
            return int(base.sendmsg(self, buffers, ancdata, flags, address))
        route = flow.route if address is None else flow.find_route(self, address)
        if route is None or route[0] is None:
            return originals.sendmsg(self, buffers, ancdata, flags, None if route is None else route[1])
        ancillary = list(ancdata)
        if any(item[0] == _SOL_UDP and item[1] in _SEGMENTS for item in ancillary):
            raise OSError(errno.EOPNOTSUPP, "UDP segmentation does not go through a proxy")
        return flow.send(self, b"".join(buffers), route, flags, ancillary)

    # -------------------------------------------------------- receiving

    # What C says without looking at the kernel's buffer is said before anybody waits.

    def recv(self: _socket.socket, bufsize: int, flags: int = 0, /) -> bytes:
        """recv(buffersize[, flags]) -> data."""
        if not bufsize:
            return originals.recv(self, bufsize, flags)
        return recvfrom(self, bufsize, flags)[0]

    def recvfrom(self: _socket.socket, bufsize: int, flags: int = 0, /) -> tuple[bytes, Any]:
        """recvfrom(buffersize[, flags]) -> (data, address info)."""
        size = index(bufsize)
        flow = awaited(self, flags) if size >= 0 else None
        if flow is None:
            return originals.recvfrom(self, bufsize, flags)
        data, source = flow.receiver.receive(self, size, flags)
        if len(data) > size and not flags & _socket.MSG_TRUNC:
            data = data[:size]
        return data, source or None

    def recv_into(self: _socket.socket, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """recv_into(buffer[, nbytes[, flags]]) -> nbytes_read."""
        with memoryview(buffer) as view:
            fits = 0 <= index(nbytes) <= view.nbytes != 0 and not view.readonly
        if not fits:
            return originals.recv_into(self, buffer, nbytes, flags)
        return recvfrom_into(self, buffer, nbytes, flags)[0]

    def recvfrom_into(self: _socket.socket, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        """recvfrom_into(buffer[, nbytes[, flags]]) -> (nbytes, address info)."""
        with memoryview(buffer) as view, view.cast("B") as room:
            fits = 0 <= index(nbytes) <= len(room) and not view.readonly
            flow = awaited(self, flags) if fits else None
            if flow is None:
                return originals.recvfrom_into(self, buffer, nbytes, flags)
            size = nbytes or len(room)
            data, source = flow.receiver.receive(self, size, flags)
            kept = data[:size]
            room[: len(kept)] = kept
        return len(data) if flags & _socket.MSG_TRUNC else len(kept), source or None

    def recvmsg(
        self: _socket.socket, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[bytes, list[Any], int, Any]:
        """recvmsg(bufsize[, ancbufsize[, flags]]) -> (data, ancdata, msg_flags, address)."""
        flow = awaited(self, flags) if index(bufsize) >= 0 and index(ancbufsize) >= 0 else None
        if flow is None:
            return originals.recvmsg(self, bufsize, ancbufsize, flags)
        data, ancdata, got, source = flow.receiver.receive_message(self, bufsize, ancbufsize, flags)
        return data, ancdata, got, source or None

    def recvmsg_into(
        self: _socket.socket, buffers: Any, ancbufsize: int = 0, flags: int = 0, /
    ) -> tuple[int, list[Any], int, Any]:
        """recvmsg_into(buffers[, ancbufsize[, flags]]) -> (nbytes, ancdata, msg_flags, address)."""
        buffers = list(buffers)
        rooms = [memoryview(buffer).cast("B") for buffer in buffers]
        fits = index(ancbufsize) >= 0 and not any(room.readonly for room in rooms)
        flow = awaited(self, flags) if fits else None
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

    # -------------------------------------------------------- endpoints, options, the end

    def connect(self: _socket.socket, address: Any, /) -> None:
        """connect(address): the default destination, and the only source."""
        flow = flow_of(self)
        if flow is None:
            base.connect(self, address)
        else:
            flow.connect(self, address)

    def connect_ex(self: _socket.socket, address: Any, /) -> int:
        """connect_ex(address) -> errno: as connect(), but returns what went wrong."""
        try:
            connect(self, address)
        except _socket.gaierror:
            raise
        except OSError as err:
            return err.errno or errno.EIO
        return 0

    def getpeername(self: _socket.socket) -> Any:
        """getpeername() -> address info: the destination that was asked for."""
        flow = flow_of(self)
        if flow is None:
            return originals.getpeername(self)
        # To port 0 there is no connection for Linux, whatever its connect() says.
        return flow.peer if flow.peer is not None and flow.peer[1] else flow.kernel.peer_name(self)

    def getsockname(self: _socket.socket) -> Any:
        """getsockname() -> address info: as if the way went by the first proxy."""
        flow = flow_of(self)
        return originals.getsockname(self) if flow is None else flow.local_name(flow.kernel.own_name(self))

    def getsockopt(self: _socket.socket, level: int, optname: int, *buflen: int) -> Any:
        """getsockopt(level, optname[, buflen]) -> int or bytes."""
        flow = flow_of(self)
        if flow is not None and (level, optname) == (_socket.SOL_SOCKET, _socket.SO_ERROR) and not buflen:
            error = flow.take_error()
            if error is not None:
                return error.errno
        return originals.getsockopt(self, level, optname, *buflen)

    def setsockopt(self: _socket.socket, level: int, optname: int, *value: Any) -> None:
        """setsockopt(level, optname, value[, optlen])."""
        if level == _SOL_UDP and optname in _SEGMENTS and flow_of(self) is not None:
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
        base.setsockopt(self, level, optname, *value)

    def shutdown(self: _socket.socket, how: int, /) -> None:
        """shutdown(flag)."""
        flow = flow_of(self)
        if flow is None:
            return originals.shutdown(self, how)
        flow.is_shut = flow.is_shut or how != _socket.SHUT_WR
        try:
            originals.shutdown(self, how)
        except OSError as err:
            # The kernel does it, and says that this socket is not connected: the program's may be.
            if err.errno != errno.ENOTCONN or flow.peer is None:
                raise

    def detach(self: _socket.socket) -> int:
        """detach(): close the object, and leave the descriptor open."""
        by_object.pop(id(self), None)
        return int(base.detach(self))

    # socket.socket counts the files that makefile() made, and closes by this one then.
    last = "_real_close" if hasattr(base, "_real_close") else "close"
    real_close, real_del = getattr(base, last), base.__del__

    def close(self: _socket.socket, *args: Any) -> None:
        fd = originals.fileno(self)
        flow = by_object.pop(id(self), None) or registry.flow_at(fd)
        if flow is not None and fd >= 0:
            with registry.lock:
                flow.close(fd)
        real_close(self, *args)

    def __del__(self: _socket.socket) -> None:
        fd = originals.fileno(self)
        # Of an object in a cycle, it is known before that it will be gone.
        flow = by_object.get(id(self)) or registry.flow_at(fd)
        if flow is not None and fd >= 0:
            registry.drop_flow(flow, fd, lambda: real_del(self))
        else:
            real_del(self)
        # After it: it may print the socket in a warning, which asks for its names.
        by_object.pop(id(self), None)

    replaced: dict[str, Any] = {
        function.__name__: function
        for function in (
            *(send, sendto, sendall, sendmsg),
            *(recv, recvfrom, recv_into, recvfrom_into, recvmsg, recvmsg_into),
            *(connect, connect_ex, getpeername, getsockname, getsockopt, setsockopt, shutdown, detach),
        )
    }
    for name, function in replaced.items():
        # What Python says of wrong arguments has it.
        function.__qualname__ = f"{base.__qualname__}.{name}"
    return {**replaced, last: close, "__del__": __del__}
