"""The two ways to move bytes from one socket to another.

``CopyPump`` receives into a buffer that all connections share and sends from it: the least
that a short message can cost. ``SplicePump`` lets the kernel move references to pages through a
pipe (splice(2)): bulk never enters this process, at a third of the CPU time per byte.
"""

from __future__ import annotations

import os
from errno import EMFILE
from fcntl import F_SETPIPE_SZ, fcntl

from pywrap.relay.descriptor_reserve import is_reserved

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Protocol

    from pywrap.relay.loop import Loop

    class Pump(Protocol):
        """What moves the bytes of one direction.

        ``held`` bytes were taken from the source and not by the sink yet. Nothing more is
        taken before ``flush`` brought them to 0, so a slow reader slows its writer down.
        """

        held: int

        def move(self, source: socket, sink: socket) -> int:
            """Move bytes from ``source`` to ``sink``, up to a limit; return how many came, 0 at the end.

            Raises:
                BlockingIOError: ``source`` has nothing now.
                SourceLost, SinkLost: one of the connections is broken.
            """

        def flush(self, sink: socket) -> None:
            """Give ``sink`` as much of what is held as it takes.

            Raises:
                SinkLost: its connection is broken.
            """


# A read that fills it makes a direction count as bulk.
BUFFER = 64 * 1024

# ``PIPE``: the largest pipe in bytes that an unprivileged process may ask for (/proc/sys/fs/pipe-max-size).
# ``PIPES``: how many of these fit into the pipe memory of a user (pipe-user-pages-soft, pipe(7)), with some
# left for the user's other programs. Directions beyond that number go on with ``CopyPump``.
PIPE = 1024 * 1024
PIPES = 48

# Seconds after which a pipe that no bytes went through is given back.
IDLE = 1.0

_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK


class SourceLost(Exception):
    """The connection that the bytes come from is broken."""


class SinkLost(Exception):
    """The connection that the bytes go to is broken."""


class CopyPump:
    """Moves bytes by recv() and send(); ``held`` of them wait for the sink."""

    __slots__ = ("_buffer", "_pending", "held")

    def __init__(self, buffer: memoryview, pending: bytes = b"") -> None:
        self._buffer = buffer
        self._pending = pending
        self.held = len(pending)

    def move(self, source: socket, sink: socket) -> int:
        """Move one buffer; return how many bytes came, 0 at the end.

        Raises:
            BlockingIOError, SourceLost, SinkLost: as in ``Pump``.
        """
        buffer = self._buffer
        try:
            count = source.recv_into(buffer)
        except BlockingIOError:
            raise
        except OSError as err:
            raise SourceLost from err
        if count:
            try:
                sent = sink.send(buffer[:count])
            except BlockingIOError:
                sent = 0
            except OSError as err:
                raise SinkLost from err
            if sent < count:
                # The next direction uses the buffer, so what the sink has not taken is copied out of it.
                self._pending = bytes(buffer[sent:count])
                self.held = count - sent
        return count

    def flush(self, sink: socket) -> None:
        """Send the held bytes, as far as the sink takes them.

        Raises:
            SinkLost: the connection of the sink is broken.
        """
        try:
            sent = sink.send(self._pending)
        except BlockingIOError:
            return
        except OSError as err:
            raise SinkLost from err
        self._pending = self._pending[sent:]
        self.held = len(self._pending)


class SplicePump:
    """Moves bytes by splice(2) through a pipe of its own, without copying; ``held`` of them are in it."""

    __slots__ = ("_read", "_write", "held", "idle")

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.held = 0
        self.idle = False
        try:
            if is_reserved(self._write):
                raise OSError(EMFILE, "too many open files")
            fcntl(self._write, F_SETPIPE_SZ, PIPE)
        except OSError:
            self.close()
            raise

    def move(self, source: socket, sink: socket) -> int:
        """Move one pipe's fill; return how many bytes came, 0 at the end.

        Raises:
            BlockingIOError, SourceLost, SinkLost: as in ``Pump``.
        """
        self.idle = False
        try:
            count = os.splice(source.fileno(), self._write, PIPE, flags=_FLAGS)
        except BlockingIOError:
            # The source has nothing. It cannot be the pipe that is full: ``move`` is called while it is
            # empty.
            raise
        except OSError as err:
            raise SourceLost from err
        if count:
            self.held = count
            self.flush(sink)
        return count

    def flush(self, sink: socket) -> None:
        """Send the bytes in the pipe, as far as the sink takes them.

        Raises:
            SinkLost: the connection of the sink is broken.
        """
        self.idle = False
        read, out = self._read, sink.fileno()
        try:
            while self.held:
                self.held -= os.splice(read, out, self.held, flags=_FLAGS)
        except BlockingIOError:
            pass
        except OSError as err:
            raise SinkLost from err

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._read)
        os.close(self._write)


class Pipes:
    """Lends pipes to directions that move a lot, and takes them back from those that stopped."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._free: list[SplicePump] = []
        self._lent: dict[SplicePump, Callable[[], None]] = {}
        self._failing = False

    def lend(self, give_back: Callable[[], None]) -> SplicePump | None:
        """A pipe, or None when no more may be made; ``give_back`` is called when it has been idle."""
        if self._free:
            pipe = self._free.pop()
        elif len(self._lent) >= PIPES or self._failing:
            return None
        else:
            try:
                pipe = SplicePump()
            except OSError:
                # No descriptors, or the user's share of pipe memory is used up. ``CopyPump`` does as well;
                # try again when a pipe has come back.
                self._failing = True
                self._loop.after(IDLE, self._try_again, shared=True)
                return None
        if not self._lent:
            self._loop.after(IDLE, self._collect, shared=True)
        self._lent[pipe] = give_back
        return pipe

    def take_back(self, pipe: SplicePump) -> None:
        """Take ``pipe`` back from the direction that it was lent to."""
        del self._lent[pipe]
        if pipe.held:
            # A broken connection's bytes must never reach another one.
            pipe.close()
        else:
            self._free.append(pipe)

    def close(self) -> None:
        """Close all pipes, lent ones too."""
        for pipe in [*self._free, *self._lent]:
            pipe.close()
        self._free.clear()
        self._lent.clear()

    def _collect(self) -> None:
        for pipe, give_back in list(self._lent.items()):
            if pipe.idle and not pipe.held:
                give_back()
            pipe.idle = True
        if self._lent:
            self._loop.after(IDLE, self._collect, shared=True)
        else:
            # A busy server has the next use for some of them at once; an idle one for none.
            while self._free:
                self._free.pop().close()

    def _try_again(self) -> None:
        self._failing = False
