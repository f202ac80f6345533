"""Look-ups and stream connections of a loop that makes them in C: by the functions of ``socket`` instead.

These functions are patched, and the loop gets a socket that is connected. As in asyncio's own loops, a
look-up runs in the default executor.
"""

from __future__ import annotations

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

INET = (_socket.AF_INET, _socket.AF_INET6)


async def getaddrinfo(
    self: Any, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
) -> Any:
    """As of asyncio's loops."""
    import socket

    return await self.run_in_executor(None, socket.getaddrinfo, host, port, family, type, proto, flags)


async def getnameinfo(self: Any, sockaddr: Any, flags: int = 0) -> Any:
    """As of asyncio's loops."""
    import socket

    return await self.run_in_executor(None, socket.getnameinfo, sockaddr, flags)


def sock_connect(original: Callable[..., Any]) -> Callable[..., Any]:
    """A replacement for ``original``, which it calls for sockets that are not of IP."""

    async def sock_connect(self: Any, sock: Any, address: Any) -> None:
        if sock.family not in INET:
            await original(self, sock, address)
            return
        if self.get_debug() and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        infos = await resolved(self, address, sock.family, sock.type, sock.proto, 0)
        address = infos[0][4]
        try:
            sock.connect(address)
            return
        except (BlockingIOError, InterruptedError):
            pass
        fd = sock.fileno()
        writable = self.create_future()
        self.add_writer(fd, _wake, writable)
        try:
            await writable
        finally:
            self.remove_writer(fd)
        error = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if error:
            raise OSError(error, f"Connect call failed {address}")

    return sock_connect


def create_connection(original: Callable[..., Any]) -> Callable[..., Any]:
    """A replacement for ``original``, to which it passes a connected socket if the program names a host."""

    async def create_connection(
        self: Any,
        protocol_factory: Any,
        host: Any = None,
        port: Any = None,
        *,
        ssl: Any = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: Any = None,
        local_addr: Any = None,
        server_hostname: Any = None,
        ssl_handshake_timeout: Any = None,
        ssl_shutdown_timeout: Any = None,
    ) -> Any:
        options = {
            "ssl": ssl,
            "server_hostname": server_hostname,
            "ssl_handshake_timeout": ssl_handshake_timeout,
            "ssl_shutdown_timeout": ssl_shutdown_timeout,
        }
        if sock is not None or (host is None and port is None):
            return await original(self, protocol_factory, host, port, sock=sock, **options)
        if ssl and server_hostname is None:
            if not host:
                raise ValueError("You must set server_hostname when using ssl without a host")
            options["server_hostname"] = host
        if local_addr is not None and not (isinstance(local_addr, tuple | list) and len(local_addr) == 2):
            raise ValueError("local_addr must be a tuple of host and port")
        stream = _socket.SOCK_STREAM
        infos = await resolved(self, (host, port), family, stream, proto, flags)
        local = None if local_addr is None else await resolved(self, local_addr, family, stream, proto, flags)
        sock = await _first_connected(self, infos, local)
        try:
            return await original(self, protocol_factory, sock=sock, **options)
        except BaseException:
            # Does nothing where the loop has closed the descriptor.
            sock.close()
            raise

    return create_connection


async def _first_connected(loop: Any, infos: list[Any], local: list[Any] | None) -> Any:
    """A socket that is connected to the first of ``infos`` that can be reached."""
    errors: list[OSError] = []
    for info in infos:
        try:
            return await _connected(loop, info, local)
        except OSError as err:
            errors.append(err)
    try:
        if len({str(err) for err in errors}) == 1:
            raise errors[0]
        raise OSError(f"Multiple exceptions: {', '.join(map(str, errors))}")
    finally:
        # Their tracebacks refer to this frame, which refers to them: a circle.
        errors.clear()


async def _connected(loop: Any, info: Any, local: list[Any] | None) -> Any:
    import socket

    family, kind, proto, _, address = info
    sock = socket.socket(family, kind, proto)
    try:
        sock.setblocking(False)
        if local is not None:
            _bind(sock, family, local)
        await loop.sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(sock: Any, family: int, local: list[Any]) -> None:
    error = OSError(f"no matching local address with {family=} found")
    for local_family, *_, address in local:
        if local_family == family:
            try:
                sock.bind(address)
                return
            except OSError as err:
                error = err
    try:
        raise error
    finally:
        # Its traceback has this frame.
        del error


async def resolved(loop: Any, address: Any, family: int, kind: int, proto: int, flags: int) -> list[Any]:
    """Rows as of getaddrinfo(), which is not called for a literal, so that scope and flow label stay."""
    import socket

    host, port, *rest = address
    if isinstance(host, str) and isinstance(port, int) and not proto and "%" not in host:
        own = _socket.AF_INET6 if ":" in host else _socket.AF_INET
        try:
            socket.inet_pton(own, host)
        except OSError:
            # Not a literal: a name.
            pass
        else:
            if family in (0, own):
                return [(own, kind, proto, "", (host, port, *rest))]
    infos: list[Any] = await loop.getaddrinfo(host, port, family=family, type=kind, proto=proto, flags=flags)
    if not infos:
        raise OSError("getaddrinfo() returned empty list")
    return infos


def _wake(future: Any) -> None:
    if not future.done():
        future.set_result(None)
