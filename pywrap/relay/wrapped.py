"""A connection whose bytes are wrapped: in TLS, or in GSSAPI messages; to a client, or to a proxy.

The session that uses the connection has one end (``Near``) of a socket pair, with plain bytes. This module
carries the bytes between the other end of the pair and the connection's own socket, through a codec. That
costs two descriptors and two copies, for wrapped connections alone.
"""

from __future__ import annotations

import _socket
from _socket import AF_UNIX, SHUT_WR, SO_ERROR, SOCK_STREAM, SOL_SOCKET, socket

from pywrap.errors import SocksError
from pywrap.relay.loop import ERR, HUP, IN, OUT
from pywrap.relay.relay import reset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from pywrap.relay.loop import Loop

    class Codec(Protocol):
        """Turns bytes of the network into plain ones and back; it keeps what is incomplete."""

        ended: bool  # the other end has announced the end of its bytes

        def decode(self, data: bytes) -> bytes:
            """The plain bytes of ``data``, which came from the other end.

            Raises:
                SocksError: ``data`` is broken, or not as protected as was agreed on.
            """

        def encode(self, data: bytes) -> bytes: ...
        def finish(self) -> bytes:
            """The bytes that announce the end of ours; b"" where the protocol has none."""

        def take_output(self) -> bytes:
            """The bytes that the codec itself has to send now, such as messages of a handshake."""


_PIECE = 64 * 1024

# How many pieces of a broken connection are read, at the most.
_LAST_PIECES = 16

# Seconds for the other end to take the last bytes, once the session has ended.
_PATIENCE = 30.0

# Seconds for the other end to end its direction after that.
_LINGER = 5.0


class Near(socket):
    """The plain end of a wrapped connection. A reset of either is passed on to the other."""

    __slots__ = ("wrapped",)

    wrapped: Wrapped

    @property
    def failure(self) -> str:
        """Why the wrapped connection broke; "" where it has not, or has ended properly."""
        return self.wrapped.failure

    def reset(self) -> None:
        """End the wrapped connection with a RST, after the bytes that were written here."""
        self.wrapped.abort()


class Wrapped:
    """Carries bytes between ``outer``, the connection, and ``near``, which the session has in its place.

    ``early``: bytes that have come on the connection already. ``lost(words)`` is called when the connection
    is broken, or the bytes on it are; ``failure`` has the words as well. ``living``: the set of all that have
    not ended, which may be a little after their session.
    """

    __slots__ = (
        "_codec", "_far", "_far_ended", "_inward", "_inward_ended", "_living", "_loop", "_lost", "_outer",
        "_outward", "_outward_ended", "_outward_shut", "_over", "failure", "near",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        outer: socket,
        codec: Codec,
        early: bytes,
        lost: Callable[[str], None] | None,
        living: set[Wrapped],
    ) -> None:
        self.failure = ""
        self._living = living
        self._loop = loop
        self._outer = outer
        self._codec = codec
        self._lost = lost
        near, self._far = _socket.socketpair()
        self.near = Near(AF_UNIX, SOCK_STREAM, 0, near.detach())
        self.near.wrapped = self
        self.near.setblocking(False)
        self._far.setblocking(False)
        self._inward = bytearray()
        self._outward = bytearray()
        self._inward_ended = self._outward_ended = self._outward_shut = False
        self._far_ended = self._over = False
        living.add(self)
        # Not now: an error in the first bytes would end this object before its caller has it.
        loop.call(lambda: self._begin(early), loop.owner)

    @property
    def is_ending(self) -> bool:
        """Whether the session has ended, and its last bytes are not sent yet."""
        return self._outward_ended and not self._over

    def _begin(self, early: bytes) -> None:
        if self._over:
            return
        # A TLS client sends the first message.
        self._outward += self._codec.take_output()
        self._flush_outward()
        if early:
            self._decode(early)
        self._want()

    def abort(self) -> None:
        """End the connection with a RST, after the bytes that the session has written."""
        if self._over:
            return
        try:
            while not self._outward_ended and (data := self._far.recv(_PIECE)):
                self._outward += self._codec.encode(data)
        except OSError:
            # BlockingIOError: all bytes of the session are read. Other errors: it has broken its end.
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
                # epoll reports EPOLLERR again and again, so it is handled before the session has read its
                # bytes.
                error = self._outer.getsockopt(SOL_SOCKET, SO_ERROR)
                self._read_rest()
                raise OSError(error, "the connection is lost")
            if events & OUT:
                self._flush_outward()
            if events & IN and not self._inward and not self._inward_ended:
                data = self._outer.recv(_PIECE)
                if self._far_ended:
                    self._inward_ended = not data
                    self._close_if_done()
                else:
                    self._decode(data)
        except BlockingIOError:
            pass
        except OSError as err:
            self._fail(err.strerror or str(err))
        self._want()

    def _read_rest(self) -> None:
        """Read the bytes that came before the reset, such as a TLS alert with the reason."""
        try:
            for _ in range(_LAST_PIECES):
                data = b"" if self._over or self._inward_ended else self._outer.recv(_PIECE)
                if not data:
                    return
                self._decode(data)
        except OSError:
            # The connection is broken, which the caller reports.
            return

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
            # The session has ended without reading all that came, so the other end gets a RST.
            reset(self._outer)
            self._close()
        self._want()

    def _take_rest(self) -> None:
        """Send the last bytes of the session, which has ended; for ``_PATIENCE`` seconds at the most.

        Then wait for the other end to end its direction, and discard what comes: a close with unread bytes,
        such as a close_notify, would be a RST, and the other end would discard bytes that it has not read.
        """
        if self._far_ended:
            return
        if not self._outward_ended:
            while data := self._far.recv(_PIECE):
                self._outward += self._codec.encode(data)
            self._outward += self._codec.finish()
        self._inward.clear()
        self._far_ended = self._outward_ended = True
        self._loop.after(_PATIENCE, self._close)
        self._flush_outward()

    def _decode(self, data: bytes) -> None:
        if not data and isinstance(self._outer, Near) and self._outer.failure:
            # ``outer`` is the ``Near`` of another wrapping, and the connection behind it broke: not a proper
            # end.
            self._fail(self._outer.failure)
            return
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
            self._close_if_done()

    def _flush_outward(self) -> None:
        if self._outward:
            try:
                del self._outward[: self._outer.send(self._outward)]
            except BlockingIOError:
                return
        if self._outward_ended and not self._outward:
            if not self._outward_shut:
                # Only once: a second shutdown() fails with ENOTCONN when the other end has ended its
                # direction.
                self._outward_shut = True
                self._outer.shutdown(SHUT_WR)
                if self._far_ended:
                    self._loop.after(_LINGER, self._close)
            self._close_if_done()

    def _close_if_done(self) -> None:
        if self._inward_ended and self._outward_shut and not self._inward:
            self._close()

    def _fail(self, words: str) -> None:
        if not self._over:
            self.failure, lost = words, self._lost
            self._close()
            if lost is not None:
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
            if (
                sock is self._far
                and self._far_ended
                or not events
                and self._inward_ended
                and self._outward_ended
            ):
                # EPOLLHUP is reported even when no event is asked for, again and again.
                self._loop.unwatch(sock.fileno())
            else:
                self._loop.watch(sock.fileno(), events, handler)
