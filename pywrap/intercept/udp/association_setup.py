"""Sets up the association of a channel, and queues datagrams that wait for it.

An association is set up with the first datagram. On a socket that may block, send() sets it up and waits for
it, under the socket's timeout. For any other socket the background thread sets it up, and the first datagrams
wait in a queue of the size of the socket's send buffer.

The background thread then watches the control connections: their end is the association's (RFC 1928
section 7).
"""

from __future__ import annotations

import _socket
import errno
import os
from time import monotonic

from pywrap.errors import SocksError, to_oserror
from pywrap.frozen import replace
from pywrap.intercept import originals
from pywrap.intercept.udp.channel import relay_address
from pywrap.intercept.udp.second_association import SecondAssociations
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
        self.second = SecondAssociations(state)

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
                try:
                    raise ended
                finally:
                    # The traceback has this frame, as in ``closing``.
                    del ended
            # One thread sets the association up. Datagrams of other callers are queued meanwhile, whatever
            # their timeout: such a caller may be a signal handler in this very thread.
            busy = channel.association is not None or channel.is_busy or channel.is_recycled
            opens_here = not busy and may_wait
            if opens_here:
                channel.is_being_set_up = True
        if not opens_here:
            if self._enqueue(sock, message, channel):
                return None
            return None if self._waits_for_second(sock, message, channel) else channel.association
        try:
            self._set_up_here(sock, channel, timeout or None)
        except OSError as err:
            # Another thread may sleep in recv(), to which no association can bring an answer now; or its
            # datagrams wait in the queue.
            with self._runtime.registry.lock:
                if ended is not None:
                    self._closing.fail(ended, is_end=True)
                elif channel.queue:
                    self._closing.fail(err)
            raise
        finally:
            channel.is_being_set_up = False
        if channel.association is None:
            self._closing.raise_error()
        return None if self._waits_for_second(sock, message, channel) else channel.association

    def _waits_for_second(self, sock: _socket.socket, message: bytes, channel: Channel) -> bool:
        """Queue ``message`` if it has to wait for a second association; return whether it has to."""
        if channel.request_port is None:
            return False
        with self._runtime.registry.lock:
            if channel.association is None or not self.second.is_due(sock, message, channel):
                return False
            channel.queue.append(message)
            channel.queued += len(message)
            if channel.task is None:
                try:
                    self._set_up_elsewhere(sock, channel)
                except OSError:
                    # No descriptor left (EMFILE): the next datagram may find one.
                    channel.queue, channel.queued = [], 0
                    return False
            return True

    def _enqueue(self, sock: _socket.socket, message: bytes, channel: Channel) -> bool:
        """Queue ``message``, unless the association is there; return whether it was queued."""
        with self._runtime.registry.lock:
            if channel.association is not None:
                return False
            if channel.is_recycled:
                # Another thread has recycled the channel, perhaps before this one entered the route.
                self._state.routes.clear()
                raise OSError(errno.ENOBUFS, "the association has been given up for that of another name")
            room = originals.getsockopt(sock, _socket.SOL_SOCKET, _socket.SO_SNDBUF)
            # An empty queue takes a datagram of any size, as the kernel's buffer does.
            if channel.queue and channel.queued + len(message) > room:
                number = errno.EAGAIN if originals.gettimeout(sock) == 0 else errno.ENOBUFS
                raise OSError(number, os.strerror(number))
            # Queued first: a signal handler in the middle of the following may give up the lock while it
            # waits. The association may be set up then, and has sent the queued datagrams.
            channel.queue.append(message)
            channel.queued += len(message)
            if not channel.is_busy and channel.association is None:
                try:
                    self._set_up_elsewhere(sock, channel)
                except BaseException:
                    channel.queue, channel.queued = [], 0
                    raise
            return True

    # ------------------------------------------------------------ set-up

    def _set_up_here(self, sock: _socket.socket, channel: Channel, timeout: float | None) -> None:
        """Set the association up in this thread.

        Raises:
            OSError: it cannot be set up; the text has the reason.
        """
        started = monotonic()
        begun = self._runtime.begin()
        deadline = self._runtime.deadline(timeout)
        own = self.second.own(sock, channel) if self.second.wants_port(channel) else None
        attempt = self._runtime.associating(channel.chain, deadline, begun, own)
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
            self._opened(channel, attempt.association, own is not None)

    def _set_up_elsewhere(self, sock: _socket.socket, channel: Channel) -> None:
        """Have the background thread set the association up. The caller holds ``registry.lock``."""
        started = monotonic()
        begun = self._runtime.begin()
        deadline = self._runtime.deadline(None)
        own = self.second.own(sock, channel) if self.second.wants_port(channel) else None

        def report(attempt: Associating | None, err: SocksError | None) -> None:
            """Take the result, on the background thread."""
            if err is not None:
                self._failed(begun, err)
            elif attempt is not None and attempt.association is not None:
                self._runtime.associated(attempt.path, started, attempt.association.relay, begun)
            with self._runtime.registry.lock:
                association = None if attempt is None else attempt.association
                if channel.task is not task:
                    # The association was given up meanwhile.
                    if association is not None:
                        association.close()
                    return
                channel.task = None
                if err is None:
                    assert association is not None, "the task has succeeded"
                    self._opened(channel, association, own is not None)
                elif channel.association is not None and self.second.is_refused(channel):
                    self._opened(channel, None)
                else:
                    self._closing.fail(self._closing.failure(err))

        channel.task = task = Task(
            lambda: self._runtime.associating(channel.chain, deadline, begun, own), report
        )
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

    def _opened(self, channel: Channel, association: Association | None, has_port: bool = False) -> None:
        """Use ``association`` for ``channel``, and send the queued datagrams. The caller holds the lock.

        None: there is no second one, and datagrams that waited for it go through the first.
        """
        state = self._state
        try:
            sock, state.leftover = state.leftover or state.kernel.copy(), None
        except OSError as err:
            # No descriptor left (EMFILE).
            if association is not None:
                association.close()
            self._closing.fail(err)
            return
        if state.is_closed or sock is None:
            if association is not None:
                association.close()
            return
        try:
            if association is not None:
                if self.second.is_of_use(channel, association, has_port):
                    self._use(channel, association, has_port)
                else:
                    association.close()
            self.second.settle(channel)
            self._send_queue(channel, state.kernel.v6_socket or sock)
        except BlockingIOError:
            self._runtime.messages.say(1, "UDP: some of what waited for the association was lost")
        except OSError as err:
            self._closing.fail(err)
        finally:
            sock.close()
            self._closing.drop_if_done()

    def _send_queue(self, channel: Channel, sock: _socket.socket) -> None:
        """Send the queued datagrams by ``sock``. The caller holds ``registry.lock``."""
        association = channel.association
        assert association is not None, "it is open"
        queue, channel.queue, channel.queued = channel.queue, [], 0
        for message in queue:
            # Without blocking, whatever the program's mode is by now: this thread serves all sockets.
            packet = association.prefix + message
            originals.sendto(sock, packet, _socket.MSG_DONTWAIT, channel.relay)
            self.second.sent(channel)

    def _use(self, channel: Channel, association: Association, has_port: bool) -> None:
        """Make ``association`` that of ``channel``."""
        state = self._state
        try:
            self._reach_family(association)
        except OSError:
            association.close()
            raise
        family = state.kernel.family if state.kernel.v6_socket is None else _socket.AF_INET6
        self.second.use(channel, has_port)
        channel.use(association, relay_address(association.relay, family))
        state.relays[channel.relay] = channel
        self._runtime.registry.allow(channel.relay)
        channel.watches = self._watching(channel, association)
        self._watch(association, channel.watches)

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

    def _watching(self, channel: Channel, association: Association) -> list[Task]:
        """Tasks that report the end of ``association``, the one of ``channel`` or a second one."""

        def ended(_: Any, err: SocksError | None) -> None:
            """Called on the background thread: a control connection has ended, or we cancelled the task."""
            with self._runtime.registry.lock:
                if err is None or self._state.is_closed or self.second.can_do_without(channel, association):
                    return
                if channel.association is association:
                    self._runtime.messages.say(1, str(err))
                    # The only errno by which Linux reports a peer that is gone: at any other, Twisted gives
                    # up a UDP port.
                    self._closing.fail(to_oserror(err.copy(errno=errno.ECONNREFUSED)), is_end=True)

        return association.watching(ended)

    def _watch(self, association: Association, tasks: list[Task]) -> None:
        try:
            for task in tasks:
                self._runtime.background.submit(task)
        except BaseException:
            # No descriptor left (EMFILE): the thread did not start, which would have closed them.
            association.close()
            raise

    def forked(self) -> None:
        """In a child after fork(): the associations are the same, and this process has to watch them too."""
        for channel in list(self._state.channels.values()):
            channel.is_being_set_up = False
            if channel.task is not None:
                # The parent goes on with the set-up, and sends the queued datagrams.
                channel.task = None
                channel.queue, channel.queued = [], 0
            kept = channel.kept
            if kept is not None:
                tasks = self._watching(channel, kept.association)
                channel.kept = replace(kept, watches=tasks)
                self._watch(kept.association, tasks)
            if channel.association is not None:
                channel.watches = self._watching(channel, channel.association)
                self._watch(channel.association, channel.watches)
