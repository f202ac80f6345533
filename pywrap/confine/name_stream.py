"""DNS questions of programs over TCP (RFC 7766): each behind its length, any number on one connection."""

from __future__ import annotations

from pywrap.relay.loop import ERR, IN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from pywrap.confine.askers import Ends
    from pywrap.confine.name_server import NameServer
    from pywrap.relay.loop import Loop

# Seconds without a question, after which the connection is closed (RFC 7766 section 6.2.3: a few seconds).
_IDLE = 30.0


class NameStream:
    """One connection, ``sock``, which belongs to it. ``ends``: its addresses, as for ``NameServer.ask``."""

    __slots__ = ("_ends", "_held", "_loop", "_names", "_open", "_sock", "_timer")

    def __init__(self, loop: Loop, names: NameServer, sock: socket, ends: Ends) -> None:
        self._ends = ends
        self._loop = loop
        self._names = names
        self._sock = sock
        self._held = bytearray()
        self._open = True
        self._timer = loop.after(_IDLE, self._close)
        loop.watch(sock.fileno(), IN, self._on_readable)

    def _on_readable(self, events: int) -> None:
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data or events & ERR:
            self._close()
            return
        self._loop.cancel(self._timer)
        self._timer = self._loop.after(_IDLE, self._close)
        self._held += data
        while len(self._held) >= 2:
            size = int.from_bytes(self._held[:2], "big")
            if len(self._held) < 2 + size:
                break
            message = bytes(self._held[2 : 2 + size])
            del self._held[: 2 + size]
            self._names.ask(message, self, self._answer, self._ends, datagram=False)
            if not self._open:
                return

    def _answer(self, message: bytes) -> None:
        if not self._open:
            return
        data = len(message).to_bytes(2, "big") + message
        try:
            sent = self._sock.send(data)
        except OSError:
            # The program has closed the connection, or sends questions and does not read the answers.
            sent = 0
        if sent < len(data):
            self._close()

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._loop.cancel(self._timer)
            self._loop.close(self._sock)
