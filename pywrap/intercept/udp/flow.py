"""A datagram socket that sends through a chain: a ``Flow``, and the parts that it is made of.

A flow begins with the first datagram, or connect(), to a destination that needs the chain. From then on the
methods of the socket (``datagram_methods``) come here.

* ``header_and_channel``: which header and which channel a destination has;
* ``association_setup``: sets up and watches the association of a channel, and queues datagrams for it;
* ``receive``: which datagrams that arrive are for the program, and where they come from;
* ``closing``: errors, and the end of an association or of the flow;
* ``kernel_socket``: the open file, which is shut down and replaced after an error.

The socket is not connected in the kernel: it sends to relays, and to direct destinations as well.

The end of an association is no error of the next send, which sets up another. Datagrams that are lost
meanwhile are a loss that UDP allows.
"""

from __future__ import annotations

import _socket
import errno
import os
from time import monotonic

from pywrap.intercept import originals
from pywrap.intercept.udp.association_setup import Associations
from pywrap.intercept.udp.channel import ABANDONED
from pywrap.intercept.udp.closing import Closing
from pywrap.intercept.udp.flow_state import FlowState
from pywrap.intercept.udp.header_and_channel import Routing
from pywrap.intercept.udp.kernel_socket import KernelSocket
from pywrap.intercept.udp.receive import Receiver
from pywrap.socks.datagram import LONGEST_PAYLOAD, unpack_header

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pywrap.intercept.runtime import Runtime
    from pywrap.intercept.udp.channel import Channel
    from pywrap.intercept.udp.flow_state import Route, SockAddr, Table


class Flow:
    """A flow on the socket ``sock``; the caller enters it into ``table``. ``latest``: the channel of the last
    datagram that was sent.
    """

    def __init__(self, runtime: Runtime, sock: _socket.socket, table: Table) -> None:
        self.kernel = KernelSocket(sock, table.renumber)
        self.state = state = FlowState(runtime, self.kernel, table)
        is_bound = originals.getsockname(sock)[1] != 0
        if not is_bound:
            self.kernel.bind(sock)
        self.closing = Closing(state)
        self._associations = Associations(state, self.closing)
        self.receiver = Receiver(state, self.closing, self._associations.second, accepts_unsolicited=is_bound)
        self.routing = Routing(state, self.closing, self.receiver)
        self.latest = ABANDONED

    # ------------------------------------------------------------ for the registry

    @property
    def number(self) -> int:
        """The inode of its file."""
        return self.kernel.number

    @property
    def fds(self) -> set[int]:
        """The program's descriptors of it."""
        return self.kernel.fds

    def let_go(self, fd: int) -> None:
        """Note that the program closes ``fd``. The caller holds ``registry.lock``."""
        self.closing.let_go(fd)

    def drop(self) -> None:
        """End the flow: no descriptor is left. The caller holds ``registry.lock``."""
        self.closing.drop()

    def forked(self) -> None:
        """In a child after fork(): watch the associations here as well."""
        self._associations.forked()
        self.closing.close_leftover()

    # ------------------------------------------------------------ the peer

    def connect(self, sock: _socket.socket, address: Any) -> None:
        """Send to ``address`` from now on, and take datagrams from there alone. Nothing is sent.

        Raises:
            OSError: the destination is refused.
        """
        state = self.state
        route = self.routing.find_route(sock, address, connecting=True)
        channel, header = route
        if channel is None:
            originals.connect(sock, header)
            state.peer = state.route = None
            state.forget_usual()
            return
        try:
            originals.getpeername(sock)
        except OSError:
            pass
        else:
            # The file is connected to a direct peer: the kernel would accept nothing from the relay.
            with state.runtime.registry.lock:
                # Wakes up a thread that waits for the direct peer, so that it waits for the new peer.
                self.kernel.wake()
                self.kernel.refresh()
        state.peer, state.route = channel.source(header, unpack_header(header).endpoint), route
        state.forget_usual()

    def local_name(self, name: SockAddr) -> SockAddr:
        """The result of getsockname(), where the kernel returns ``name``.

        A connected UDP socket has the address that its datagrams leave with, and programs connect one to
        learn that (and send nothing). Here it is the address on the way to the first proxy.
        """
        state = self.state
        if state.peer is None or state.route is None or name[0] not in ("0.0.0.0", "::"):
            return name
        channel = state.route[0]
        assert channel is not None, "only a peer through a chain is one"
        host = state.runtime.local_host(channel.chain, self.kernel.family)
        return (host or name[0], *name[1:])

    # ------------------------------------------------------------ sending

    def send(
        self,
        sock: _socket.socket,
        data: Any,
        route: Route,
        flags: int = 0,
        ancillary: Any = (),
        address: Any = None,
    ) -> int:
        """Send one datagram through a channel; return the bytes of its payload.

        ``address``: what the program calls the destination, None for the peer.

        Raises:
            OSError: the association cannot be set up, the queue is full (BlockingIOError), the datagram is
                too long (EMSGSIZE), or the kernel refuses.
        """
        channel, header = route
        assert channel is not None, "the caller sends directly"
        try:
            # Not joined by `+`, which arrays of numpy define differently.
            message = b"".join((header, data))
        except TypeError:
            # Raises the error that the socket module has for ``data`` that is no buffer.
            memoryview(data)
            raise
        size = len(message) - len(header)
        if size > LONGEST_PAYLOAD:
            # Checked here, since the kernel accepts a longer datagram for a relay with an IPv6 address.
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        if flags & _socket.MSG_MORE:
            raise OSError(errno.EOPNOTSUPP, "a datagram in parts (MSG_MORE) does not go through a proxy")
        if channel is not self.latest:
            # Stamp only when the socket switches channels, which saves a monotonic() for each datagram.
            self.latest = channel
            channel.used = monotonic()
        usual = channel.usual
        association = channel.association
        if (
            association is None
            or channel.request_port is not None
            or self.state.error is not None
            or self.state.is_closed
        ):
            association = self._associations.associate(sock, message, channel, flags)
            if association is None:
                return size
        packet = association.prefix + message
        by = sock if self.kernel.v6_socket is None else self.kernel.sender(sock)
        try:
            if ancillary:
                originals.sendmsg(by, [packet], ancillary, flags, channel.relay)
            else:
                originals.sendto(by, packet, flags, channel.relay)
        except (BlockingIOError, TimeoutError):
            raise
        except OSError as err:
            raise _in_words(err, channel) from err
        if self.kernel.v6_socket is None and channel.request_port is None:
            usual.add_destination(route if address is None else address, association.prefix + header)
        return size

    def send_directly(self, sock: _socket.socket, data: Any, address: Any, flags: int) -> int:
        """Send one datagram past the chain, to an address that is direct.

        Raises:
            OSError: that of the kernel, or the end of an association that was not reported yet.
        """
        return originals.sendto(self.kernel.sender(sock), data, flags, self.kernel.for_v6_socket(address))


def _in_words(err: OSError, channel: Channel) -> OSError:
    """``err``, the kernel's error of a send to the relay, with the relay in its text."""
    words = f"{err.strerror} (to the UDP relay {channel.relay[0]}:{channel.relay[1]} of the proxy)"
    return OSError(err.errno, words)
