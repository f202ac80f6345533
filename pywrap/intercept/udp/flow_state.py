"""The state that the parts of one flow share (``flow``)."""

from __future__ import annotations

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol, TypeAlias

    from pywrap.intercept.runtime import Runtime
    from pywrap.intercept.udp.channel import Channel
    from pywrap.intercept.udp.kernel_socket import KernelSocket
    from pywrap.tunnel.request_port import RequestPorts

    SockAddr: TypeAlias = tuple[Any, ...]
    # A channel and the header for it, or None and the address to send to directly.
    Route: TypeAlias = tuple[Channel | None, Any]

    class Table(Protocol):
        """The table in which flows are found by the inode of their file (``flow_table``)."""

        request_ports: RequestPorts

        def renumber(self, old: int, number: int) -> None: ...
        def forget(self, number: int) -> None: ...
        def send_rest_at_exit(self) -> None: ...


class FlowState:
    """``kernel``: the socket's open file. ``is_ipv6``: is the program's socket of AF_INET6?

    ``channels``: by the name of the chain, and a number for names at one port. ``relays``: the channel of
    each address that datagrams of a relay come from. ``routes``: by the address that the program sends to.
    ``peer``: the address that the socket is connected to through a chain, and ``route`` the route there.
    ``error``: what the next call raises. ``error_is_end``: an association has ended, and the next send may
    open another. ``is_shut``: the program has called shutdown() for receiving. ``is_closed``: no descriptor
    is left. ``leftover``: a copy of the socket, when the program has closed it before all was sent.
    """

    def __init__(self, runtime: Runtime, kernel: KernelSocket, table: Table) -> None:
        self.runtime = runtime
        self.kernel = kernel
        self.table = table
        self.is_ipv6 = kernel.family == _socket.AF_INET6
        self.channels: dict[tuple[str, int], Channel] = {}
        self.relays: dict[SockAddr, Channel] = {}
        self.routes: dict[SockAddr, Route] = {}
        self.peer: SockAddr | None = None
        self.route: Route | None = None
        self.error: OSError | None = None
        self.error_is_end = False
        self.is_shut = False
        self.is_closed = False
        self.leftover: _socket.socket | None = None

    def forget_usual(self) -> None:
        """The peer, or the file, is another: no datagram takes the straight road as the one before."""
        for channel in list(self.channels.values()):
            channel.forget_usual()
