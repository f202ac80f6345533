"""create_datagram_endpoint() of a loop that sends in C: with a Python socket and asyncio's transport."""

from __future__ import annotations

import _socket

from pywrap.intercept.loops.streams import INET, resolved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def create_datagram_endpoint(original: Callable[..., Any]) -> Callable[..., Any]:
    """A replacement for ``original``, which it calls for sockets that are not of IP."""

    async def create_datagram_endpoint(
        self: Any,
        protocol_factory: Any,
        local_addr: Any = None,
        remote_addr: Any = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: Any = None,
        allow_broadcast: Any = None,
        sock: Any = None,
        **others: Any,
    ) -> Any:
        if sock is not None:
            given = local_addr or remote_addr or family or proto or flags or reuse_port or allow_broadcast
            if given or getattr(sock, "family", None) not in INET or sock.type != _socket.SOCK_DGRAM:
                return await original(
                    self,
                    protocol_factory,
                    local_addr,
                    remote_addr,
                    **{"family": family, "proto": proto, "flags": flags, "reuse_port": reuse_port},
                    allow_broadcast=allow_broadcast,
                    sock=sock,
                )
            sock.setblocking(False)
            return await _endpoint(self, protocol_factory, sock, None)
        if family not in (0, *INET) or not (family or local_addr or remote_addr):
            raise ValueError("unexpected address family")
        if others.get("reuse_address"):
            # The texts are those of asyncio and uvloop.
            raise ValueError(
                "Passing `reuse_address=True` is no longer supported, as the usage of SO_REUSEPORT in UDP "
                "poses a significant security concern."
            )
        for address in (local_addr, remote_addr):
            if address is not None and not (isinstance(address, tuple | list) and len(address) == 2):
                raise TypeError("2-tuple is expected")
        local = local_addr and await resolved(self, local_addr, family, _socket.SOCK_DGRAM, proto, flags)
        remote = remote_addr and await resolved(self, remote_addr, family, _socket.SOCK_DGRAM, proto, flags)
        sock, peer = await _opened(self, family, proto, local, remote, reuse_port, allow_broadcast)
        return await _endpoint(self, protocol_factory, sock, peer)

    return create_datagram_endpoint


async def _opened(
    loop: Any, family: int, proto: int, local: Any, remote: Any, reuse_port: Any, allow_broadcast: Any
) -> tuple[Any, Any]:
    """The socket, bound and connected to the first pair of addresses that works, and its peer."""
    import socket

    pairs = [
        (here[0] if here else there[0] if there else family, here and here[4], there and there[4])
        for here in local or (None,)
        for there in remote or (None,)
        if not here or not there or here[0] == there[0]
    ]
    error: OSError = OSError("can not get address information")
    for number, here, there in pairs:
        sock = socket.socket(number, socket.SOCK_DGRAM, proto)
        try:
            sock.setblocking(False)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if allow_broadcast:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if here:
                sock.bind(here)
            if there:
                # connect() of a datagram socket does not wait.
                sock.connect(there)
            return sock, there
        except OSError as err:
            sock.close()
            error = err
        except BaseException:
            sock.close()
            raise
    try:
        raise error
    finally:
        # The traceback refers to this frame, which refers to the error: a circle.
        del error


async def _endpoint(loop: Any, protocol_factory: Any, sock: Any, peer: Any) -> Any:
    from asyncio.selector_events import _SelectorDatagramTransport  # type: ignore[attr-defined]

    protocol = protocol_factory()
    made = loop.create_future()
    transport = _SelectorDatagramTransport(_AsSelectorLoop(loop), sock, protocol, peer, made)
    try:
        await made
    except BaseException:
        transport.close()
        raise
    return transport, protocol


class _AsSelectorLoop:
    """``loop`` with the names that the transport expects of asyncio's own loops."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        # The transport enters itself here, so that asyncio can warn of two transports for one descriptor.
        self._transports: dict[int, Any] = {}
        self._add_reader = loop.add_reader
        self._remove_reader = loop.remove_reader
        self._add_writer = loop.add_writer
        self._remove_writer = loop.remove_writer
        # The transport's repr() asks the selector for the registered events.
        self._selector = self

    def get_key(self, fd: int) -> Any:
        raise KeyError(fd)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)
