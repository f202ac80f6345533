"""A client whose bytes are wrapped: in TLS from the beginning, or in GSSAPI messages once it is known.

Everything above it has one end of a socket pair, and speaks plainly; what is between the other end and the
client's own socket is carried here, through a codec. It costs two descriptors and two copies, and only those
pay for it that have it.
"""

from __future__ import annotations

import _socket
from _socket import SHUT_WR, SO_ERROR, SOL_SOCKET

from pywrap.errors import SocksError
from pywrap.relay.loop import ERR, HUP, IN, OUT
from pywrap.relay.relay import reset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Protocol

    from pywrap.relay.loop import Loop

    class Codec(Protocol):
        """Bytes of the wire to plain ones and back; what is incomplete it keeps."""

        ended: bool  # the client has said that nothing more comes

        def decode(self, data: bytes) -> bytes:
            """What has come from the client, plainly.

            Raises:
                SocksError: it is not what it should be.
            """

        def encode(self, data: bytes) -> bytes: ...
        def finish(self) -> bytes:
            """What says that nothing more comes."""

        def take_output(self) -> bytes:
            """What the codec itself has to say to the client."""


_PIECE = 64 * 1024

# Seconds for a client to take the rest, once the session has ended.
_PATIENCE = 10.0


class Wrapped:
    """Carries bytes between ``outer``, the client, and ``near``, which the session has in its place.

    ``early`` has come from the client already. ``lost(words)`` is called when its connection is broken, or
    what it sends. ``living`` are all that have not ended, which may be a little after their session.
    """

    __slots__ = (
        "_codec", "_far", "_inward", "_inward_ended", "_living", "_loop", "_lost", "_outer", "_outward",
        "_outward_ended", "_over", "near",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        outer: socket,
        codec: Codec,
        early: bytes,
        lost: Callable[[str], None],
        living: set[Wrapped],
    ) -> None:
        self._living = living
        self._loop = loop
        self._outer = outer
        self._codec = codec
        self._lost = lost
        self.near, self._far = _socket.socketpair()
        self.near.setblocking(False)
        self._far.setblocking(False)
        self._inward = bytearray()
        self._outward = bytearray()
        self._inward_ended = self._outward_ended = self._over = False
        living.add(self)
        # Later: a client whose first bytes are wrong must not end what is being made here.
        loop.call(lambda: self._begin(early), loop.owner)

    def _begin(self, early: bytes) -> None:
        if early:
            self._decode(early)
        self._want()

    def abort(self) -> None:
        """End it with a RST, after what the session has said: what the client got is not all there was."""
        if self._over:
            return
        try:
            while not self._outward_ended and (data := self._far.recv(_PIECE)):
                self._outward += self._codec.encode(data)
        except OSError:
            # BlockingIOError: that was all.
            pass
        if self._outward:
            try:
                self._outer.send(self._outward)
            except OSError:
                pass
        reset(self._outer)
        self._close()

    def _on_outer(self, events: int) -> None:
        try:
            if events & ERR:
                # Reported whether asked for or not, so it must not wait until the session has read.
                raise OSError(self._outer.getsockopt(SOL_SOCKET, SO_ERROR), "the connection is lost")
            if events & OUT:
                self._flush_outward()
            if events & IN and not self._inward and not self._inward_ended:
                self._decode(self._outer.recv(_PIECE))
        except BlockingIOError:
            pass
        except OSError as err:
            self._fail(err.strerror or str(err))
        self._want()

    def _on_far(self, events: int) -> None:
        try:
            if events & OUT:
                self._flush_inward()
            if events & HUP:
                self._take_rest()
            elif events & IN and not self._outward and not self._outward_ended:
                data = self._far.recv(_PIECE)
                self._outward += self._codec.encode(data) if data else self._codec.finish()
                self._outward_ended = not data
                self._flush_outward()
        except BlockingIOError:
            pass
        except OSError:
            # The session has ended, and something of the client was not read: a RST.
            reset(self._outer)
            self._close()
        self._want()

    def _take_rest(self) -> None:
        """The session has ended. What it has said goes to the client, within reason; nothing else comes."""
        if not self._outward_ended:
            while data := self._far.recv(_PIECE):
                self._outward += self._codec.encode(data)
            self._outward += self._codec.finish()
        self._inward.clear()
        self._inward_ended = self._outward_ended = True
        self._loop.after(_PATIENCE, self._close)
        self._flush_outward()

    def _decode(self, data: bytes) -> None:
        try:
            self._inward += self._codec.decode(data) if data else b""
        except SocksError as err:
            self._outward += self._codec.take_output()
            self._flush_outward()
            self._fail(str(err))
            return
        self._outward += self._codec.take_output()
        self._inward_ended = not data or self._codec.ended
        self._flush_outward()
        self._flush_inward()

    def _flush_inward(self) -> None:
        if self._inward:
            try:
                del self._inward[: self._far.send(self._inward)]
            except BlockingIOError:
                return
        if self._inward_ended and not self._inward:
            self._far.shutdown(SHUT_WR)

    def _flush_outward(self) -> None:
        if self._outward:
            try:
                del self._outward[: self._outer.send(self._outward)]
            except BlockingIOError:
                return
        if self._outward_ended and not self._outward:
            self._outer.shutdown(SHUT_WR)
            if self._inward_ended:
                self._close()

    def _fail(self, words: str) -> None:
        if not self._over:
            lost = self._lost
            self._close()
            lost(words)

    def _close(self) -> None:
        if not self._over:
            self._over = True
            self._living.discard(self)
            self._loop.close(self._outer)
            self._loop.close(self._far)
            del self._lost

    def _want(self) -> None:
        if self._over:
            return
        outer = (0 if self._inward or self._inward_ended else IN) | (OUT if self._outward else 0)
        far = (0 if self._outward or self._outward_ended else IN) | (OUT if self._inward else 0)
        for sock, events, handler in ((self._outer, outer, self._on_outer), (self._far, far, self._on_far)):
            if not events and self._inward_ended and self._outward_ended:
                # EPOLLHUP cannot be declined.
                self._loop.unwatch(sock.fileno())
            else:
                self._loop.watch(sock.fileno(), events, handler)
