"""Ends associations of a flow: one, all of them after an error, or the whole flow with its socket.

When an association cannot be set up, or has ended, the socket's open file is shut down: that wakes up each
thread and event loop that waits for it. The next call raises the error, and a fresh file takes the place of
the old one.

Datagrams that are queued when the program closes its socket are still sent, as the kernel would.
"""

from __future__ import annotations

from pywrap.errors import to_oserror
from pywrap.intercept.udp.channel import Usual

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.errors import SocksError
    from pywrap.intercept.udp.channel import Channel
    from pywrap.intercept.udp.flow_state import FlowState


class Closing:
    """Callers hold ``registry.lock``, except for methods that take it themselves (the lock is reentrant)."""

    def __init__(self, state: FlowState) -> None:
        self._state = state
        self._runtime = state.runtime

    # ------------------------------------------------------------ associations

    def give_up(self, channel: Channel) -> None:
        """Give up the association of ``channel``, or the task that sets one up."""
        for task in channel.watches:
            # Cancelling the task closes the control connection as well.
            self._runtime.background.cancel(task)
        channel.watches = []
        kept, channel.kept, channel.request_port = channel.kept, None, None
        if kept is not None:
            for task in kept.watches:
                self._runtime.background.cancel(task)
            self._runtime.registry.disallow(kept.relay)
        if channel.task is not None:
            self._runtime.background.cancel(channel.task)
            channel.task = None
        if channel.association is not None:
            self._runtime.registry.disallow(channel.relay)
            channel.ended = channel.association
        channel.association = None
        channel.usual = Usual()
        channel.queue, channel.queued = [], 0

    def _give_up_all(self) -> None:
        for channel in list(self._state.channels.values()):
            self.give_up(channel)

    # ------------------------------------------------------------ errors

    def failure(self, err: SocksError) -> OSError:
        """The exception for the program when an association could not be set up; prints a message too."""
        self._runtime.messages.no_association(err)
        return to_oserror(err)

    def fail(self, error: OSError, is_end: bool = False) -> None:
        """Let the next call raise ``error``, and wake up every thread that waits for the socket.

        ``is_end``: an association has ended, and the next send may open another.
        """
        state = self._state
        if state.is_closed:
            return
        state.error, state.error_is_end = error, is_end
        self._give_up_all()
        state.kernel.wake()
        if state.leftover is not None:
            # The program has closed the socket, and makes no call that could raise it.
            self.close_leftover()

    def raise_error(self) -> None:
        """Raise the error that the next call raises, if there is one."""
        error = self.take_error()
        try:
            if error is not None:
                raise error
        finally:
            # The traceback has this frame: the exception would be held by itself, and the socket by it.
            del error

    def take_error(self) -> OSError | None:
        """The error that the next call has to raise, returned once; a fresh file replaces the old one."""
        state = self._state
        with self._runtime.registry.lock:
            error, state.error = state.error, None
            if error is None:
                return None
            try:
                state.kernel.refresh()
            except BaseException:
                # No descriptor left (EMFILE). The file stays shut down until a call gets a fresh one.
                state.error = error
                raise
            # A signal handler may have sent a datagram meanwhile: its association stays.
            relays = state.relays.copy()
            state.relays = {relay: channel for relay, channel in relays.items() if channel.association}
            for channel in list(state.channels.values()):
                channel.ended = None
            return error

    # ------------------------------------------------------------ the socket

    def let_go(self, fd: int) -> None:
        """The program closes ``fd``."""
        self.keep_queued(fd)
        self._state.kernel.fds.discard(fd)
        self.drop_if_done()

    def keep_queued(self, fd: int) -> None:
        """Before ``fd`` is closed: keep a copy of the socket for the queued datagrams."""
        state = self._state
        if state.kernel.fds == {fd} and state.leftover is None and self.has_rest:
            try:
                state.leftover = state.kernel.copy()
            except OSError as err:
                # No descriptor left (EMFILE), and no program expects close() to fail.
                words = f"UDP: what waited for the association was lost: {err.strerror}"
                self._runtime.messages.say(1, words)

    def close_leftover(self) -> None:
        """Close the copy that ``keep_queued`` has made, if any."""
        state = self._state
        if state.leftover is not None:
            state.leftover.close()
            state.leftover = None
            self.drop_if_done()

    @property
    def has_rest(self) -> bool:
        """Whether a datagram waits to be sent."""
        return any(channel.queue for channel in list(self._state.channels.values()))

    def drop_if_closed(self) -> None:
        """End the flow, if the program has closed the socket in a way that passes no patch."""
        with self._runtime.registry.lock:
            self.drop_if_done()

    def drop_if_done(self) -> None:
        """End the flow, if no descriptor is left and nothing waits to be sent."""
        if self._state.leftover is None and not self._state.kernel.alive():
            self.drop()

    def drop(self) -> None:
        """End the flow."""
        state = self._state
        state.is_closed = True
        self._give_up_all()
        state.kernel.close()
        state.table.forget(state.kernel.number)
