"""A tunnel: two sockets, and the bytes between them in both directions.

What one end does the other end sees: data, the end of a direction (half-close), and a
reset. Each direction stops reading while its sink does not take what was read.
"""

from __future__ import annotations

import struct
from _socket import (
    IPPROTO_TCP,
    SHUT_WR,
    SO_KEEPALIVE,
    SO_LINGER,
    SO_OOBINLINE,
    SOL_SOCKET,
    TCP_NODELAY,
)

from pywrap.relay.loop import ERR, HUP, IN, OUT
from pywrap.relay.pumps import BUFFER, PIPE, CopyPump, SinkLost, SourceLost, SplicePump

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from pywrap.relay.bucket import Bucket
    from pywrap.relay.loop import Loop
    from pywrap.relay.pumps import Pipes, Pump
    from pywrap.relay.timers import Timer

# Bytes that a tunnel with a rate moves at a time, at least.
_LEAST_PIECE = 1024

# A tunnel with a rate moves the bytes of an eighth of a second at a time, so that a slow one moves steadily.
_PIECES_A_SECOND = 8

_RESET = struct.pack("ii", 1, 0)


def prepare(sock: socket) -> None:
    """Set the options that both legs of a tunnel need; an accepted socket inherits its listener's."""
    # The ends decide what belongs into one segment. With Nagle's algorithm in between,
    # a client that pipelines waits for one more round trip.
    sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    # Without keep-alive probes, a tunnel would stay for ever when both ends have vanished without a FIN.
    sock.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
    # recv() leaves out the byte of urgent data (tcp(7)) without this option. With it the byte is passed on
    # like any other, without its mark.
    sock.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1)


def reset(sock: socket) -> None:
    """Make the close of ``sock`` a RST, which tells the other end that bytes are missing (SO_LINGER 0)."""
    through: Callable[[], None] | None = getattr(sock, "reset", None)
    if through is not None:
        # ``wrapped.Near`` has a reset() of its own, since the connection is another socket.
        through()
        return
    try:
        sock.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
    except OSError:
        # A connection that is gone already needs none.
        pass


class Relay:
    """Carries bytes between ``client`` and ``target`` until both directions have ended.

    Both sockets belong to it. ``buffer`` is shared by all relays of the loop. ``done(up, down)`` is called
    once, with how many bytes were taken from the client and from the target; from then on ``complete`` says
    whether both directions have ended by themselves. ``throttles`` (up, down): the rates, None for no limit.
    """

    __slots__ = ("_done", "_down", "_up", "buffer", "complete", "loop", "over", "pipes")

    def __init__(
        self,
        loop: Loop,
        pipes: Pipes,
        buffer: memoryview,
        client: socket,
        target: socket,
        done: Callable[[int, int], None],
        throttles: tuple[Bucket, Bucket] | None = None,
    ) -> None:
        self.loop = loop
        self.pipes = pipes
        self.buffer = buffer
        self.over = self.complete = False
        self._done = done
        self._up = Direction(self, client, target)
        self._down = Direction(self, target, client)
        self._up.back, self._down.back = self._down, self._up
        if throttles is not None:
            self.buffer = buffer[: max(_LEAST_PIECE, min(len(buffer), throttles[0].rate // _PIECES_A_SECOND))]
            self._up.throttle(throttles[0])
            self._down.throttle(throttles[1])

    @property
    def moved(self) -> int:
        """How many bytes were taken from both ends together; 0 once the relay has ended."""
        return 0 if self.over else self._up.carried + self._down.carried

    @property
    def is_sent(self) -> bool:
        """Whether all that the client sent, and the end of it, was given to the target's socket."""
        return self.over or self._up.is_done

    def start(self, early: bytes) -> None:
        """Begin; ``early``: bytes that the client sent before there was a tunnel, which come first."""
        self._down.want()
        if early:
            self._up.prepend(early)
            self._up.run()
        else:
            self._up.want()

    def lost(self, direction: Direction) -> None:
        """The connection that ``direction`` comes from is broken: reset the other one."""
        if self.over:
            return
        # What arrived before a RST can still be read, here as at the end that it is for.
        direction.run_out()
        self.abort()

    def abort(self) -> None:
        """End both connections with a RST."""
        if not self.over:
            reset(self._up.source)
            reset(self._down.source)
            self.close(complete=False)

    def close(self, complete: bool = True) -> None:
        """Close both connections, and call ``done``; ``complete``: both ends had ended their direction."""
        self.over = True
        up, down = self._up, self._down
        for direction in (up, down):
            direction.stop()
            self.loop.close(direction.source)
        self.complete = complete
        self._done(up.carried, down.carried)
        # The two directions refer to each other: without this they would stay until the garbage collector
        # runs.
        del up.back, down.back, self._up, self._down, self._done


class Brake:
    """The bucket that counts the bytes of a direction, and the timer until which the direction takes none."""

    __slots__ = ("bucket", "timer")

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.timer: Timer | None = None

    @property
    def may_fill_pipe(self) -> bool:
        """Whether what a pipe holds is no more than a piece of what may pass in a second."""
        return self.bucket.rate // _PIECES_A_SECOND >= PIPE


class Direction:
    """One direction: what ``source`` sends goes to ``sink``."""

    __slots__ = (
        "_brake", "_bulk", "_ended", "_events", "_pump", "_shut",
        "back", "carried", "relay", "sink", "source",
    )  # fmt: skip

    back: Direction

    def __init__(self, relay: Relay, source: socket, sink: socket) -> None:
        self.relay = relay
        self.source = source
        self.sink = sink
        self.carried = 0
        self._pump: Pump = CopyPump(relay.buffer)
        self._bulk = False
        self._ended = False  # nothing more comes
        self._shut = False  # and the sink knows
        self._events = -1  # what epoll was asked for; nothing yet
        self._brake: Brake | None = None

    @property
    def is_done(self) -> bool:
        """Whether the source has ended, and the sink knows."""
        return self._shut

    def throttle(self, bucket: Bucket) -> None:
        """Be no faster than the rate of ``bucket``, which other directions may share."""
        self._pump = CopyPump(self.relay.buffer)
        self._brake = Brake(bucket)

    def stop(self) -> None:
        """Give back the pipe and cancel the timer: the relay has ended."""
        self.give_back()
        if self._brake is not None and self._brake.timer is not None:
            self.relay.loop.cancel(self._brake.timer)
            self._brake.timer = None

    def prepend(self, data: bytes) -> None:
        """Send ``data``, which came before the relay was made, before all else."""
        self._pump = CopyPump(self.relay.buffer, data)
        self.carried = len(data)

    def on_events(self, events: int) -> None:
        """Handle ``events`` of epoll for the source, which is also the sink of the other direction."""
        if events & ERR:
            self.relay.lost(self)
            return
        if events & OUT:
            self.back.run()
        if events & IN and not self.relay.over:
            self.run()
        if events & HUP and not self._events and not self.relay.over:
            # Of a socket pair (``wrapped``) whose other end is closed. It cannot be declined, and nothing
            # more comes: what is in the socket is read when the sink takes it.
            self.relay.loop.unwatch(self.source.fileno())

    def run(self) -> None:
        """Move what can be moved now, up to a limit: other connections wait for this thread."""
        pump = self._pump
        try:
            if pump.held:
                pump.flush(self.sink)
            elif not self._ended and (self._brake is None or self._brake.timer is None):
                if (
                    self._bulk
                    and type(pump) is CopyPump
                    and (self._brake is None or self._brake.may_fill_pipe)
                ):
                    pump = self._speed_up()
                count = pump.move(self.source, self.sink)
                self.carried += count
                if not count:
                    self._end()
                self._bulk = count >= BUFFER
                if self._brake is not None:
                    self._slow_down(self._brake, count)
            if self._ended and not pump.held:
                self._shut_sink()
        except BlockingIOError:
            return self.want()
        except SourceLost:
            return self.relay.lost(self)
        except SinkLost:
            return self.relay.lost(self.back)
        if self._shut and self.back._shut:
            return self.relay.close()
        self.want()
        self.back.want()

    def _end(self) -> None:
        if getattr(self.source, "failure", ""):
            # The source is a ``wrapped.Near``, and the connection behind it is broken.
            raise SourceLost
        self._ended = True

    def run_out(self) -> None:
        """Move the bytes left in a broken connection, as far as the sink takes them without waiting."""
        pump = self._pump
        try:
            if pump.held:
                pump.flush(self.sink)
            while not pump.held and not self._ended:
                count = pump.move(self.source, self.sink)
                self.carried += count
                self._ended = not count
        except (BlockingIOError, SourceLost, SinkLost):
            pass

    def want(self) -> None:
        """Register the source with epoll for the events that can be used now."""
        events = 0
        if not self._ended and not self._pump.held and (self._brake is None or self._brake.timer is None):
            events = IN
        if self.back._pump.held:
            events |= OUT
        if not events and self.back._shut:
            # EPOLLHUP cannot be declined, and would come again and again.
            self.relay.loop.unwatch(self.source.fileno())
        elif events != self._events:
            self.relay.loop.watch(self.source.fileno(), events, self.on_events)
        self._events = events

    def _shut_sink(self) -> None:
        self._shut = True
        if self.back._shut:
            # The close that follows ends the direction as well.
            return
        try:
            self.sink.shutdown(SHUT_WR)
        except OSError as err:
            raise SinkLost from err

    # ------------------------------------------------------------ its rate

    def _slow_down(self, brake: Brake, count: int) -> None:
        brake.bucket.take(count)
        wait = brake.bucket.wait()
        if wait:
            brake.timer = self.relay.loop.after(wait, self._release)

    def _release(self) -> None:
        assert self._brake is not None
        self._brake.timer = None
        # Other directions that share the bucket may have emptied it meanwhile.
        self._slow_down(self._brake, 0)
        self.want()

    # ------------------------------------------------------------ bulk

    def _speed_up(self) -> Pump:
        """Change from ``CopyPump`` to a ``SplicePump``. No bytes are held, so none can be overtaken."""
        pipe = self.relay.pipes.lend(self.give_back)
        if pipe is not None:
            self._pump = pipe
        return self._pump

    def give_back(self) -> None:
        """Change from the ``SplicePump`` back to a ``CopyPump``."""
        if type(self._pump) is SplicePump:
            self.relay.pipes.take_back(self._pump)
            self._pump = CopyPump(self.relay.buffer)
            self._bulk = False
