"""How a channel gets its association, and which datagrams wait for it.

It is opened with the first datagram. In a socket that may block, send() opens it and waits for it, under the
socket's timeout. For any other socket the background thread opens it, and the first datagrams wait in a queue
of the size of the socket's send buffer.

The background thread then watches the control connections: their end is the association's (RFC 1928
section 7).
"""

from __future__ import annotations

import _socket
import errno
import os
from time import monotonic

from pywrap.errors import SocksError, to_oserror
from pywrap.intercept import originals
from pywrap.intercept.udp.channel import relay_address
from pywrap.socks.datagram import LONGEST_PAYLOAD
from pywrap.tunnel.background import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pywrap.intercept.udp.channel import Channel
    from pywrap.intercept.udp.closing import Closing
    from pywrap.intercept.udp.flow_state import FlowState
    from pywrap.log.events import Begun
    from pywrap.tunnel.association import Associating, Association


class Associations:
    """The associations of a flow."""

    def __init__(self, state: FlowState, closing: Closing) -> None:
        self._state = state
        self._closing = closing
        self._runtime = state.runtime

    def associate(
        self, sock: _socket.socket, message: bytes, channel: Channel, flags: int
    ) -> Association | None:
        """The association for ``message``; None when ``message`` waits for one in the queue.

        Raises:
            OSError: there is none, or no room in the queue.
        """
        if len(message) > LONGEST_PAYLOAD:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        timeout = 0.0 if flags & _socket.MSG_DONTWAIT else originals.gettimeout(sock)
        may_wait = timeout != 0 or self._runtime.is_interrupted
        with self._runtime.registry.lock:
            ended = self._closing.take_error()
            if ended is not None and not self._state.error_is_end:
                raise ended
            # One thread opens it. What others send meanwhile is queued, whatever their timeout: one of them
            # may be a signal handler in this very thread.
            busy = channel.association is not None or channel.is_busy or channel.is_recycled
            opens_here = not busy and may_wait
            if opens_here:
                channel.is_opening = True
        if not opens_here:
            return None if self._enqueue(sock, message, channel) else channel.association
        try:
            self._open_here(channel, timeout or None)
        except OSError as err:
            # Another thread may sleep in recv(), for which there is no more association; or its datagrams
            # wait in the queue.
            with self._runtime.registry.lock:
                if ended is not None:
                    self._closing.fail(ended, is_end=True)
                elif channel.queue:
                    self._closing.fail(err)
            raise
        finally:
            channel.is_opening = False
        if channel.association is None and (error := self._closing.take_error()) is not None:
            raise error
        return channel.association

    def _enqueue(self, sock: _socket.socket, message: bytes, channel: Channel) -> bool:
        """Have ``message`` wait for the association, unless there is one. Does it wait?"""
        with self._runtime.registry.lock:
            if channel.association is not None:
                return False
            if channel.is_recycled:
                # By another thread, perhaps before this one entered the route.
                self._state.routes.clear()
                raise OSError(errno.ENOBUFS, "the association has been given up for that of another name")
            room = originals.getsockopt(sock, _socket.SOL_SOCKET, _socket.SO_SNDBUF)
            # An empty queue takes a datagram of any size, as the kernel's buffer does.
            if channel.queue and channel.queued + len(message) > room:
                number = errno.EAGAIN if originals.gettimeout(sock) == 0 else errno.ENOBUFS
                raise OSError(number, os.strerror(number))
            # First: a signal handler in the middle may give up the lock while it waits. The
            # association may be open then, and has sent what was in the queue.
            channel.queue.append(message)
            channel.queued += len(message)
            if not channel.is_busy and channel.association is None:
                try:
                    self._open_elsewhere(channel)
                except BaseException:
                    channel.queue, channel.queued = [], 0
                    raise
            return True

    # ------------------------------------------------------------ opening

    def _open_here(self, channel: Channel, timeout: float | None) -> None:
        """Open the association in this thread.

        Raises:
            OSError: it cannot be opened, in words.
        """
        started = monotonic()
        begun = self._runtime.begin()
        attempt = self._runtime.associating(channel.chain, self._runtime.deadline(timeout), begun)
        try:
            self._runtime.wait_for(attempt)
        except SocksError as err:
            self._failed(begun, err)
            raise self._closing.failure(err) from err
        assert attempt.association is not None, "it has been waited for"
        self._runtime.associated(attempt.path, started, attempt.association.relay, begun)
        with self._runtime.registry.lock:
            if self._state.is_closed:
                attempt.association.close()
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            self._opened(channel, attempt.association)

    def _open_elsewhere(self, channel: Channel) -> None:
        """Have the background thread open the association. Under ``registry.lock``."""
        started = monotonic()
        begun = self._runtime.begin()
        deadline = self._runtime.deadline(None)

        def report(attempt: Associating | None, err: SocksError | None) -> None:
            """On the background thread."""
            if err is not None:
                self._failed(begun, err)
            elif attempt is not None and attempt.association is not None:
                self._runtime.associated(attempt.path, started, attempt.association.relay, begun)
            with self._runtime.registry.lock:
                association = None if attempt is None else attempt.association
                if channel.task is not task:
                    # Given up meanwhile.
                    if association is not None:
                        association.close()
                    return
                channel.task = None
                if err is not None:
                    self._closing.fail(self._closing.failure(err))
                else:
                    assert association is not None, "the task has succeeded"
                    self._opened(channel, association)

        channel.task = task = Task(lambda: self._runtime.associating(channel.chain, deadline, begun), report)
        self._state.table.send_rest_at_exit()
        try:
            self._runtime.background.submit(task)
        except BaseException:
            # No descriptor left (EMFILE): the next datagram may find one.
            channel.task = None
            raise

    def _failed(self, begun: Begun | None, error: SocksError) -> None:
        if self._runtime.log is not None and begun is not None:
            self._runtime.log.association(begun, begun.times.path, error)

    # ------------------------------------------------------------ open

    def _opened(self, channel: Channel, association: Association) -> None:
        """Use ``association`` for ``channel``, and send what has waited. Under ``registry.lock``."""
        state = self._state
        try:
            sock, state.leftover = state.leftover or state.kernel.copy(), None
        except OSError as err:
            # No descriptor left (EMFILE).
            association.close()
            self._closing.fail(err)
            return
        if state.is_closed or sock is None:
            association.close()
            return
        queue, channel.queue, channel.queued = channel.queue, [], 0
        try:
            self._use(channel, association)
            for message in queue:
                # Without blocking, whatever the program's mode is by now: this thread serves all sockets.
                originals.sendto(
                    state.kernel.v6_socket or sock,
                    association.prefix + message,
                    _socket.MSG_DONTWAIT,
                    channel.relay,
                )
        except BlockingIOError:
            self._runtime.messages.say(1, "UDP: some of what waited for the association was lost")
        except OSError as err:
            self._closing.fail(err)
        finally:
            sock.close()
            self._closing.drop_if_done()

    def _use(self, channel: Channel, association: Association) -> None:
        """``association`` is ``channel``'s from now on."""
        state = self._state
        try:
            self._reach_family(association)
        except OSError:
            association.close()
            raise
        family = state.kernel.family if state.kernel.v6_socket is None else _socket.AF_INET6
        channel.use(association, relay_address(association.relay, family))
        state.relays[channel.relay] = channel
        self._runtime.registry.allow(channel.relay)
        self._watch(channel)

    def _reach_family(self, association: Association) -> None:
        """Make sure that the socket can send to the relay's address family."""
        state = self._state
        if ":" in association.relay.host:
            if not state.is_ipv6:
                state.kernel.move_to_ipv6()
                state.forget_usual()
        elif state.is_ipv6:
            try:
                state.kernel.admit_ipv4()
            except OSError as err:
                words = f"an IPv6 socket with IPV6_V6ONLY cannot reach the relay {association.relay}"
                raise OSError(errno.EAFNOSUPPORT, words) from err

    def _watch(self, channel: Channel) -> None:
        """Notice the end of the association of ``channel``."""
        association = channel.association
        assert association is not None, "there is something to watch"

        def ended(_: Any, err: SocksError | None) -> None:
            """On the background thread: a control connection has ended, or the task was cancelled by us."""
            with self._runtime.registry.lock:
                if err is not None and channel.association is association and not self._state.is_closed:
                    self._runtime.messages.say(1, str(err))
                    # The only errno that Linux has for this: on any other, Twisted gives up a UDP port.
                    self._closing.fail(to_oserror(err.copy(errno=errno.ECONNREFUSED)), is_end=True)

        channel.watches = association.watching(ended)
        try:
            for task in channel.watches:
                self._runtime.background.submit(task)
        except BaseException:
            # No descriptor left (EMFILE): the thread did not start, which would have closed them.
            association.close()
            raise

    def forked(self) -> None:
        """In a child after fork(): the associations are the same, and this process has to watch them too."""
        for channel in list(self._state.channels.values()):
            channel.is_opening = False
            if channel.task is not None:
                # The parent goes on with it; what waits is the parent's to send.
                channel.task = None
                channel.queue, channel.queued = [], 0
            if channel.association is not None:
                self._watch(channel)
