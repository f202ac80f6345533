"""An association of this server with the proxy that it goes through: datagrams pass on as they are.

Both ends put the same header in front (RFC 1928 section 7), so nothing has to be changed.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6

from pywrap.relay.loop import IN
from pywrap.server.udp.outbound import BATCH, udp_socket
from pywrap.socks.wire import Endpoint, is_unspecified, packed, unmapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from pywrap.relay.loop import Loop


class Onward:
    """``control`` is the connection that the association lives as long as; ``lost`` is called when it ends.

    Raises:
        OSError: there is no way to the relay.
    """

    def __init__(self, loop: Loop, control: socket, relay: Endpoint, lost: Callable[[], None]) -> None:
        self._loop = loop
        self._control = control
        self._lost: Callable[[], None] | None = lost
        self._answer: Callable[[memoryview], None] | None = None
        host = unmapped(relay.host)
        if packed(host) is None or is_unspecified(host):
            # Where the proxy itself is: it says no better.
            host = unmapped(control.getpeername()[0])
        self._sock = udp_socket(AF_INET6 if ":" in host else AF_INET)
        try:
            self._sock.connect((host, relay.port))
        except BaseException:
            self._sock.close()
            raise
        loop.watch(control.fileno(), IN, self._on_control)

    def start(self, answer: Callable[[memoryview], None], buffer: memoryview) -> None:
        self._answer, self._buffer = answer, buffer
        self._loop.watch(self._sock.fileno(), IN, self._on_datagram)

    def send(self, datagram: bytes) -> None:
        """Send, or raise what says why not.

        Raises:
            OSError: that datagram is dropped.
        """
        try:
            self._sock.send(datagram)
        except ConnectionRefusedError:
            # Of an earlier one; it is told once.
            self._sock.send(datagram)

    def close(self) -> None:
        if self._lost is not None:
            self._lost = self._answer = None
            self._loop.close(self._control)
            self._loop.close(self._sock)

    def _on_datagram(self, events: int) -> None:
        for _ in range(BATCH):
            if self._answer is None:
                return
            try:
                count = self._sock.recv_into(self._buffer)
            except BlockingIOError:
                return
            except OSError:
                # ICMP: the relay is not there any more, which its connection tells as well.
                continue
            self._answer(self._buffer[:count])

    def _on_control(self, events: int) -> None:
        try:
            if self._control.recv(4096):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        lost = self._lost
        assert lost is not None
        lost()
