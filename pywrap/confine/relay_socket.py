"""One UDP association of a program inside: its control connections, and the broker's socket to its relay."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, socket

from pywrap.errors import SocksError
from pywrap.relay.loop import IN
from pywrap.socks.wire import packed
from pywrap.tunnel.association import Watch
from pywrap.tunnel.chain import hop_label

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.confine.outside import OnDatagramsEnd
    from pywrap.relay.loop import Loop
    from pywrap.tunnel.association import Association

# How many datagrams are read in a row, before others have a turn.
_BATCH = 64
_LONGEST = 65535


def datagram_socket(host: str) -> socket:
    """A non-blocking UDP socket of the family of ``host``, a literal."""
    address = packed(host)
    is_ipv6 = address is not None and len(address) == 16
    return socket(AF_INET6 if is_ipv6 else AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC)


class RelaySocket:
    """An open ``association`` and the socket ``sock`` to its relay, which is closed with it.

    ``has_port``: whether the request had the port of ``sock`` (RFC 1928 section 4). ``on_end``: for the log,
    or None. ``received(self, data)`` is called with each datagram of the relay, and ``ended(self, error)``
    when a control connection or the relay is gone.

    Raises:
        SocksError: the relay cannot be reached; socket and association are closed.
    """

    __slots__ = (
        "_ended", "_loop", "_on_end", "_received", "_sock", "_watches", "association", "has_port",
        "numbers_received", "numbers_sent",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        association: Association,
        sock: socket,
        has_port: bool,
        on_end: OnDatagramsEnd | None,
        received: Callable[[RelaySocket, bytes], None],
        ended: Callable[[RelaySocket, str], None],
    ) -> None:
        self.association = association
        self.has_port = has_port
        # Bytes of payloads, and datagrams.
        self.numbers_sent = self.numbers_received = (0, 0)
        self._loop = loop
        self._sock = sock
        self._on_end = on_end
        self._received = received
        self._ended = ended
        self._watches: list[Watch] = []
        relay = association.relay
        try:
            # Connected, so that the kernel drops datagrams from other addresses.
            sock.connect((relay.host, relay.port))
        except OSError as err:
            association.close()
            sock.close()
            self._tell_end()
            raise SocksError(f"no way to the UDP relay {relay}: {err.strerror}", err.errno) from err
        loop.watch(sock.fileno(), IN, self._on_readable)
        for number, control in enumerate(association.controls):
            watch = Watch(control, hop_label(association.path, number))
            self._watches.append(watch)
            loop.watch(control.fileno(), IN, lambda events, watch=watch: self._on_control(watch))  # type: ignore[misc]

    def send(self, message: bytes, size: int) -> None:
        """Send ``message``: headers, and a payload of ``size`` bytes.

        Raises:
            OSError: the kernel does not send it; BlockingIOError when the buffer is full.
        """
        self._sock.send(self.association.prefix + message)
        self.numbers_sent = self.numbers_sent[0] + size, self.numbers_sent[1] + 1

    def count_received(self, size: int) -> None:
        """Count a datagram for the program, with a payload of ``size`` bytes."""
        self.numbers_received = self.numbers_received[0] + size, self.numbers_received[1] + 1

    def close(self) -> None:
        """End the association, and close the socket. May be called twice."""
        if self._watches:
            self._loop.close(self._sock)
            for watch in self._watches:
                self._loop.close(watch.sock)
            self._watches.clear()
            self._tell_end()

    def _tell_end(self) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self.numbers_sent, self.numbers_received)

    def _on_control(self, watch: Watch) -> None:
        try:
            watch.advance()
        except SocksError as err:
            self._ended(self, str(err))

    def _on_readable(self, events: int) -> None:
        for _ in range(_BATCH):
            if not self._watches:
                return
            try:
                data = self._sock.recv(_LONGEST)
            except BlockingIOError:
                return
            except OSError as err:
                self._ended(self, f"the UDP relay is gone: {err.strerror}")
                return
            self._received(self, data)
