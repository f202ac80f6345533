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

# Bytes, of a tunnel with a rate.
_LEAST_PIECE = 1024

# An eighth of a second at a time, so that a slow tunnel is no jerky one.
_PIECES_A_SECOND = 8

_RESET = struct.pack("ii", 1, 0)


def prepare(sock: socket) -> None:
    """What both legs of a tunnel need; an accepted socket has it from its listener."""
    # The ends decide what belongs into one segment. With Nagle's algorithm in between,
    # a client that pipelines waits for one more round trip.
    sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    # Without it, a tunnel between ends that vanished stays for ever.
    sock.setsockopt(SOL_SOCKET, SO_KEEPALIVE, 1)
    # Urgent data loses its mark, but no byte: recv() leaves the urgent one out otherwise.
    sock.setsockopt(SOL_SOCKET, SO_OOBINLINE, 1)


def reset(sock: socket) -> None:
    """Make the close of ``sock`` a RST: what it got is not all there was."""
    through: Callable[[], None] | None = getattr(sock, "reset", None)
    if through is not None:
        # ``wrapped.Near``: the connection is another socket.
        through()
        return
    try:
        sock.setsockopt(SOL_SOCKET, SO_LINGER, _RESET)
    except OSError:
        # A connection that is gone already needs none.
        pass


class Relay:
    """Carries bytes between ``client`` and ``target`` until both directions have ended.

    Both sockets belong to it. ``done(up, down)`` is called once, with the bytes that were
    taken from the client and from the target; ``complete`` says then whether both directions have ended by
    themselves. ``throttles`` (up, down) say how fast it may be.
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
        """Bytes that were taken from either end."""
        return 0 if self.over else self._up.carried + self._down.carried

    @property
    def is_sent(self) -> bool:
        """Whether all that the client sent, and the end of it, was given to the target's socket."""
        return self.over or self._up.is_done

    def start(self, early: bytes) -> None:
        """Begin, with what the client sent before there was a tunnel."""
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
        """Close both connections, and report the bytes; ``complete``: whether both ends had closed theirs."""
        self.over = True
        up, down = self._up, self._down
        for direction in (up, down):
            direction.stop()
            self.loop.close(direction.source)
        self.complete = complete
        self._done(up.carried, down.carried)
        # They refer to each other, and a busy server would wait long for the collector.
        del up.back, down.back, self._up, self._down, self._done


class Brake:
    """What a direction's bytes are counted in, and the timer until which it takes none."""

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
        """Be no faster than ``bucket`` says, which others may share."""
        self._pump = CopyPump(self.relay.buffer)
        self._brake = Brake(bucket)

    def stop(self) -> None:
        """It is over."""
        self.give_back()
        if self._brake is not None and self._brake.timer is not None:
            self.relay.loop.cancel(self._brake.timer)
            self._brake.timer = None

    def prepend(self, data: bytes) -> None:
        """Send ``data`` first, which came before the relay was made."""
        self._pump = CopyPump(self.relay.buffer, data)
        self.carried = len(data)

    def on_events(self, events: int) -> None:
        """What epoll says about the source, which is also the sink of the way back."""
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
        """Move what can be moved now, within reason: the others wait."""
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
            # Of a ``wrapped.Near``, whose connection is broken.
            raise SourceLost
        self._ended = True

    def run_out(self) -> None:
        """Move what is left of a broken connection, as far as the sink takes it at once."""
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
        """Ask epoll for what can be used of the source now."""
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
            # The close that follows says it as well.
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
        # Others may have used up what there was.
        self._slow_down(self._brake, 0)
        self.want()

    # ------------------------------------------------------------ bulk

    def _speed_up(self) -> Pump:
        """Change from pieces to a pipe. Nothing is held, so nothing can be overtaken."""
        pipe = self.relay.pipes.lend(self.give_back)
        if pipe is not None:
            self._pump = pipe
        return self._pump

    def give_back(self) -> None:
        """Change from the pipe to pieces."""
        if type(self._pump) is SplicePump:
            self.relay.pipes.take_back(self._pump)
            self._pump = CopyPump(self.relay.buffer)
            self._bulk = False
