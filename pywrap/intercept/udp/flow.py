"""What is known of datagram sockets that talk through a chain: a ``Flow`` for each, and what it goes through.

A flow begins with the first datagram, or connect(), to a destination that needs the chain. From then on the
methods of the socket (``methods``) come here.

* Nothing is connected in the kernel: the socket sends to the relay, and to direct destinations as well. What
  comes is sorted by where it comes from (``receiver``).
* The association is opened with the first datagram. A socket that may block waits for it, under its timeout.
  For others the background thread opens it, and the first datagrams wait in a queue of the size of the
  socket's send buffer.
* What waits when the program closes its socket, or ends, is still sent: no kernel forgets what it has taken.
* When an association cannot be opened, or has ended, the socket is shut down in the kernel: that wakes up
  whoever sleeps on it, in a thread or in an event loop. The next call tells the error, and a fresh socket
  takes the place of the old one. A send does not tell that an association has ended: it opens a new one, and
  what was lost meanwhile is what UDP may lose.
"""

from __future__ import annotations

import _socket
import errno
import os
from time import monotonic

from pywrap.errors import SocksError, Unencodable, to_oserror
from pywrap.intercept import originals
from pywrap.intercept.addresses import target, with_host
from pywrap.intercept.udp.channel import GONE, Channel, relay_address
from pywrap.intercept.udp.kernel_socket import KernelSocket
from pywrap.intercept.udp.receive import Receiver
from pywrap.socks.datagram import LONGEST_HEADER, LONGEST_PAYLOAD, pack_header, unpack_header
from pywrap.tunnel.attempt import wait_for
from pywrap.tunnel.background import Task
from pywrap.tunnel.routes import DIRECT, REFUSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from pywrap.intercept.runtime import Runtime
    from pywrap.tunnel.association import Associating, Association
    from pywrap.tunnel.routes import Verdict

    SockAddr: TypeAlias = tuple[Any, ...]
    # Through a channel with a header, or without one to an address.
    Route: TypeAlias = tuple[Channel | None, Any]

# Destinations that a socket remembers the way to.
_ROUTES = 4096

# Names at one port that a socket can tell apart at a time; each has an association of its own.
_CHANNELS = 64


class Flow:
    """A datagram socket, with the file that is ``kernel`` it.

    ``peer``: the address that it is connected to through a chain, and ``route`` the way there. ``error``:
    what the next call has to tell.
    """

    def __init__(self, runtime: Runtime, sock: _socket.socket) -> None:
        self.runtime = runtime
        self.kernel = KernelSocket(sock, runtime.registry.renumber)
        self._ipv6 = self.kernel.family == _socket.AF_INET6
        self.peer: SockAddr | None = None
        self.route: Route | None = None
        self.error: OSError | None = None
        # Is it the end of an association, which the next send may replace?
        self._stood = False
        is_bound = originals.getsockname(sock)[1] != 0
        if not is_bound:
            self.kernel.bind(sock)
        self.receiver = Receiver(self, accepts_unsolicited=is_bound)
        # By the name of the chain, and a number for those that have names at the same port.
        self._channels: dict[tuple[str, int], Channel] = {}
        # The one that was sent to last.
        self._latest: Channel | None = None
        # Has it been said that some had to give way?
        self._recycles = False
        # By the addresses that their datagrams come from.
        self.relays: dict[SockAddr, Channel] = {}
        self._routes: dict[SockAddr, Route] = {}
        self._closed = False
        # The socket, when the program has closed it before all was sent.
        self._last: _socket.socket | None = None
        # By the program: it reads the end then.
        self.is_shut = False

    # ------------------------------------------------------------ where to

    def find_route(self, sock: _socket.socket, address: Any, connecting: bool = False) -> Route:
        """How to send to ``address``; or, ``connecting``, how to send what a connected socket sends.

        Raises:
            OSError: it is refused.
        """
        try:
            return self._routes[address]
        except (KeyError, TypeError):
            pass
        found = target(sock, address)
        if found is None:
            # Malformed: C says so.
            return None, address
        if found.port == 0 and not connecting:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        verdict = self.runtime.verdict(found, datagram=True)
        if verdict.kind == REFUSE:
            raise OSError(verdict.errno, verdict.reason)
        if len(self._routes) >= _ROUTES:
            self._routes.clear()
        route: Route
        if verdict.kind == DIRECT:
            route = None, with_host(address, verdict.literal, verdict.destination.port)
            self.receiver.allow_source(self._source(sock, route[1]))
        else:
            route = self._tunnel(verdict, address)
        if found.port:
            try:
                self._routes[address] = route
            except TypeError:
                # A host that is a bytearray: rare, and looked at anew each time.
                pass
        return route

    def _tunnel(self, verdict: Verdict, address: Any) -> Route:
        refusal = self.runtime.no_datagrams(verdict, self.kernel.proto)
        if refusal is not None:
            raise refusal
        if self.kernel.family == _socket.AF_INET and self.runtime.has_ipv6_proxy_only(verdict.chain):
            # Now, rather than in the middle of a recvfrom().
            with self.runtime.registry.lock:
                self.kernel.move_to_ipv6()
        try:
            header = pack_header(verdict.destination)
        except Unencodable as err:
            raise to_oserror(err) from err
        called = self.runtime.peer(verdict.destination, address, self._ipv6)
        with self.runtime.registry.lock:
            channel = self._channel(verdict, header, called)
            channel.expect(verdict.destination, header, called)
        # Now: who sleeps in recv() when the association stands has told the kernel already.
        self.receiver.reserve_header(LONGEST_HEADER * len(self.runtime.chains[verdict.chain].proxies))
        return channel, header

    def _channel(self, verdict: Verdict, header: bytes, called: SockAddr) -> Channel:
        """The channel that can tell the answers of ``verdict``'s destination from others."""
        chain = verdict.chain
        for number in range(_CHANNELS):
            channel = self._channels.get((chain, number))
            if channel is None:
                channel = self._channels[chain, number] = self._new_channel(chain)
            if channel.takes(verdict.destination, header, called):
                return channel
        return self._recycle(chain, verdict.destination.port)

    def _new_channel(self, chain: str) -> Channel:
        return Channel(chain, self._ipv6, self.runtime.routes.is_from_beyond)

    def _recycle(self, chain: str, port: int) -> Channel:
        """A new channel in the place of the one that was idle longest. Under ``registry.lock``.

        What is still on its way back to that one is lost, rather than taken for somebody else's.
        """
        of_peer = None if self.route is None else self.route[0]
        idle = [
            (channel.used, key)
            for key, channel in self._channels.items()
            if channel.chain == chain and channel is not of_peer and not channel.is_busy
        ]
        if not idle:
            words = f"{_CHANNELS} associations for names at port {port} are being opened already"
            raise OSError(errno.ENOBUFS, words)
        if not self._recycles:
            self._recycles = True
            self.runtime.messages.say(
                1,
                f"UDP: one socket sends to more than {_CHANNELS} names at port {port}: "
                "those idle longest lose their associations",
            )
        _, key = min(idle)
        old = self._channels[key]
        if old.association is not None:
            self.relays[old.relay] = GONE
        self._give_up(old)
        old.is_recycled = True
        self._routes = {address: route for address, route in self._routes.items() if route[0] is not old}
        channel = self._channels[key] = self._new_channel(chain)
        return channel

    def _source(self, sock: _socket.socket, address: Any) -> SockAddr:
        """``address`` as recvfrom() will tell it."""
        family, flags = self.kernel.family, _socket.AI_NUMERICHOST
        if self._ipv6:
            flags |= _socket.AI_V4MAPPED
        try:
            rows = originals.getaddrinfo(address[0] or None, address[1], family, _socket.SOCK_DGRAM, 0, flags)
        except _socket.gaierror:
            # A name that is resolved by C.
            return ()
        return tuple(rows[0][4][:2])

    def connect(self, sock: _socket.socket, address: Any) -> None:
        """Send to ``address`` from now on, and take datagrams from there alone. Nothing is sent.

        Raises:
            OSError: it is refused.
        """
        route = self.find_route(sock, address, connecting=True)
        channel, header = route
        if channel is None:
            originals.connect(sock, header)
            self.peer = self.route = None
            return
        try:
            originals.getpeername(sock)
        except OSError:
            pass
        else:
            # From a direct one: the kernel would take nothing from the relay.
            with self.runtime.registry.lock:
                # Who waits for the direct one waits for this one now.
                self.kernel.wake()
                self.kernel.refresh()
        self.peer, self.route = channel.source(header, unpack_header(header).endpoint), route

    def local_name(self, name: SockAddr) -> SockAddr:
        """What getsockname() tells, where the kernel says ``name``.

        A connected UDP socket has the address that its datagrams leave with, and programs connect one to
        learn that (and send nothing). Here it is the one on the way to the first proxy.
        """
        if self.peer is None or self.route is None or name[0] not in ("0.0.0.0", "::"):
            return name
        channel = self.route[0]
        assert channel is not None, "only a tunnelled peer is one"
        host = self.runtime.local_host(channel.chain, self.kernel.family)
        return (host or name[0], *name[1:])

    # ------------------------------------------------------------ sending

    def send(self, sock: _socket.socket, data: Any, route: Route, flags: int = 0, ancillary: Any = ()) -> int:
        """Send one datagram; the result is the size of its payload."""
        channel, header = route
        assert channel is not None, "the caller sends directly"
        try:
            # Not by `+`: an array of numpy has its own idea of that.
            message = b"".join((header, data))
        except TypeError:
            # In the words of the socket module.
            memoryview(data)
            raise
        size = len(message) - len(header)
        if size > LONGEST_PAYLOAD:
            # The kernel may take it, for a relay with an IPv6 address.
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        if flags & _socket.MSG_MORE:
            raise OSError(errno.EOPNOTSUPP, "a datagram in parts (MSG_MORE) does not go through a proxy")
        if channel is not self._latest:
            # Whose turn began later ended later as well: no clock for each datagram.
            self._latest = channel
            channel.used = monotonic()
        association = channel.association
        if association is None or self.error is not None or self._closed:
            association = self._associate(sock, message, channel, flags)
            if association is None:
                return size
        packet = association.prefix + message
        by = sock if self.kernel.v6_socket is None else self.kernel.sender(sock)
        try:
            if ancillary:
                originals.sendmsg(by, [packet], ancillary, flags, channel.relay)
            else:
                originals.sendto(by, packet, flags, channel.relay)
        except BlockingIOError:
            raise
        except OSError as err:
            raise _unsent(err, channel) from err
        return size

    def send_directly(self, sock: _socket.socket, data: Any, address: Any, flags: int) -> int:
        """Send one datagram past the chain, where it may."""
        return originals.sendto(self.kernel.sender(sock), data, flags, self.kernel.for_v6_socket(address))

    def _associate(
        self, sock: _socket.socket, message: bytes, channel: Channel, flags: int
    ) -> Association | None:
        """The association for ``message``; None when it waits for one in the queue."""
        if len(message) > LONGEST_PAYLOAD:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        timeout = 0.0 if flags & _socket.MSG_DONTWAIT else originals.gettimeout(sock)
        patient = timeout != 0 or self.runtime.is_interrupted
        with self.runtime.registry.lock:
            ended = self.take_error()
            if ended is not None and not self._stood:
                raise ended
            # One opens it. What others have to send meanwhile waits, whatever their patience: a signal
            # handler of the same thread is one of them.
            busy = channel.association is not None or channel.is_busy or channel.is_recycled
            mine = not busy and patient
            if mine:
                channel.is_opening = True
        if mine:
            try:
                self._open_here(channel, timeout or None)
            except OSError as err:
                # Another thread may sleep in recv(), for which there is no more association; or wait here.
                with self.runtime.registry.lock:
                    if ended is not None:
                        self._fail(ended, stood=True)
                    elif channel.queue:
                        self._fail(err)
                raise
            finally:
                channel.is_opening = False
            if channel.association is None and (error := self.take_error()) is not None:
                raise error
            return channel.association
        return None if self._enqueue(sock, message, channel) else channel.association

    def _enqueue(self, sock: _socket.socket, message: bytes, channel: Channel) -> bool:
        """Have ``message`` wait for the association, unless that stands; tell whether it does wait."""
        with self.runtime.registry.lock:
            if channel.association is not None:
                return False
            if channel.is_recycled:
                # By another thread, just now: it may have been before this one noted the way.
                self._routes.clear()
                raise OSError(errno.ENOBUFS, "the association has been given up for that of another name")
            room = originals.getsockopt(sock, _socket.SOL_SOCKET, _socket.SO_SNDBUF)
            # The kernel as well takes one of any size.
            if channel.queue and channel.queued + len(message) > room:
                number = errno.EAGAIN if originals.gettimeout(sock) == 0 else errno.ENOBUFS
                raise OSError(number, os.strerror(number))
            if not channel.is_busy:
                self._open_elsewhere(channel)
            channel.queue.append(message)
            channel.queued += len(message)
            return True

    # ------------------------------------------------------------ the association

    def _open_here(self, channel: Channel, timeout: float | None) -> None:
        """Open the association in this thread.

        Raises:
            OSError: it cannot be opened, in words.
        """
        started = monotonic()
        is_opening = self.runtime.associating(channel.chain, self.runtime.deadline(timeout))
        try:
            wait_for(is_opening, originals.poll)
        except SocksError as err:
            raise self._failure(err) from err
        assert is_opening.association is not None, "it has been waited for"
        self.runtime.associated(is_opening.path, started)
        with self.runtime.registry.lock:
            if self._closed:
                is_opening.association.close()
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            self._opened(channel, is_opening.association)

    def _open_elsewhere(self, channel: Channel) -> None:
        started = monotonic()
        deadline = self.runtime.deadline(None)

        def report(is_opening: Associating | None, err: SocksError | None) -> None:
            if err is None and is_opening is not None:
                self.runtime.associated(is_opening.path, started)
            with self.runtime.registry.lock:
                association = None if is_opening is None else is_opening.association
                if channel.task is not task:
                    # Given up meanwhile.
                    if association is not None:
                        association.close()
                    return
                channel.task = None
                if err is not None:
                    self._fail(self._failure(err))
                else:
                    assert association is not None, "it stands"
                    self._opened(channel, association)

        channel.task = task = Task(lambda: self.runtime.associating(channel.chain, deadline), report)
        self.runtime.registry.send_rest_at_exit()
        try:
            self.runtime.background.submit(task)
        except BaseException:
            # No descriptor left (EMFILE): the next datagram may have more luck.
            channel.task = None
            raise

    def _opened(self, channel: Channel, association: Association) -> None:
        """``association`` stands: send what has waited. Under ``registry.lock``."""
        try:
            sock, self._last = self._last or self.kernel.copy(), None
        except OSError as err:
            # No descriptor left.
            association.close()
            self._fail(err)
            return
        if self._closed or sock is None:
            association.close()
            return
        queue, channel.queue, channel.queued = channel.queue, [], 0
        try:
            self._stand(channel, association)
            for message in queue:
                # Not blocking, whatever the program's mode is by now: this thread serves all sockets.
                originals.sendto(
                    self.kernel.v6_socket or sock,
                    association.prefix + message,
                    _socket.MSG_DONTWAIT,
                    channel.relay,
                )
        except BlockingIOError:
            self.runtime.messages.say(1, "UDP: some of what waited for the association was lost")
        except OSError as err:
            self._fail(err)
        finally:
            sock.close()
            self._end_if_done()

    def _stand(self, channel: Channel, association: Association) -> None:
        """``association`` is ``channel``'s from now on."""
        try:
            self._fit(association)
        except OSError:
            association.close()
            raise
        family = self.kernel.family if self.kernel.v6_socket is None else _socket.AF_INET6
        channel.relay = relay_address(association.relay, family)
        channel.association = association
        self.relays[channel.relay] = channel
        self.runtime.registry.allow(channel.relay)
        self._watch(channel)

    def _watch(self, channel: Channel) -> None:
        association = channel.association
        assert association is not None, "it stands"

        def ended(_: Any, err: SocksError | None) -> None:
            """On the background thread: a control connection has ended, or it was cancelled by us."""
            with self.runtime.registry.lock:
                if err is not None and channel.association is association and not self._closed:
                    self.runtime.messages.say(1, str(err))
                    # All that Linux tells of UDP sockets: Twisted gives up a port on any other errno.
                    err.errno = errno.ECONNREFUSED
                    self._fail(to_oserror(err), stood=True)

        channel.watches = association.watching(ended)
        try:
            for task in channel.watches:
                self.runtime.background.submit(task)
        except BaseException:
            # No descriptor left (EMFILE): the thread did not start, which would have closed them.
            association.close()
            raise

    def _fit(self, association: Association) -> None:
        """Make sure that the socket can send to the relay's family."""
        if ":" in association.relay.host:
            if not self._ipv6:
                self.kernel.move_to_ipv6()
        elif self._ipv6:
            try:
                self.kernel.admit_ipv4()
            except OSError as err:
                words = f"an IPv6 socket with IPV6_V6ONLY cannot reach the relay {association.relay}"
                raise OSError(errno.EAFNOSUPPORT, words) from err

    # ------------------------------------------------------------ its end

    def _failure(self, err: SocksError) -> OSError:
        """What the program is told of an association that could not be opened."""
        self.runtime.messages.no_association(err)
        error = to_oserror(err)
        error.__cause__ = err
        return error

    def _fail(self, error: OSError, stood: bool = False) -> None:
        """Have the next call tell ``error``, and wake up who waits for one. Under ``registry.lock``.

        ``stood``: it is the end of an association, which the next send may replace.
        """
        if self._closed:
            return
        self.error, self._stood = error, stood
        self._release()
        self.kernel.wake()
        if self._last is not None:
            # Nobody is there to be told.
            self._last.close()
            self._last = None
            self._end_if_done()

    def _release(self) -> None:
        """Give up all associations."""
        for channel in self._channels.values():
            self._give_up(channel)

    def _give_up(self, channel: Channel) -> None:
        """Give up the association of ``channel``, or what makes one. Under ``registry.lock``."""
        for task in channel.watches:
            # It closes the control connection as well.
            self.runtime.background.cancel(task)
        channel.watches = []
        if channel.task is not None:
            self.runtime.background.cancel(channel.task)
            channel.task = None
        if channel.association is not None:
            self.runtime.registry.disallow(channel.relay)
            channel.ended = channel.association
        channel.association = None
        channel.queue, channel.queued = [], 0

    def take_error(self) -> OSError | None:
        """What went wrong, once; a fresh socket is in the place of the one that was shut down then."""
        with self.runtime.registry.lock:
            error, self.error = self.error, None
            if error is None:
                return None
            try:
                self.kernel.refresh()
            except BaseException:
                # No descriptor left (EMFILE). The file stays shut down until one call has a fresh one.
                self.error = error
                raise
            # But for what a signal handler has sent meanwhile.
            self.relays = {relay: channel for relay, channel in self.relays.items() if channel.association}
            for channel in self._channels.values():
                channel.ended = None
            return error

    def close(self, fd: int) -> None:
        """The program closes ``fd``. Under ``registry.lock``."""
        self.keep_queued(fd)
        self.kernel.fds.discard(fd)
        self._end_if_done()

    def keep_queued(self, fd: int) -> None:
        """``fd`` will be closed: keep the socket for what waits to be sent. Under ``registry.lock``."""
        if self.kernel.fds == {fd} and self._last is None and self.has_rest:
            try:
                self._last = self.kernel.copy()
            except OSError as err:
                # No descriptor left (EMFILE), and no program expects close() to fail.
                self.runtime.messages.say(1, f"UDP: what waited for the association was lost: {err.strerror}")

    def _end_if_done(self) -> None:
        if self._last is None and not self.kernel.alive():
            self.end()

    @property
    def has_rest(self) -> bool:
        """Does something wait to be sent?"""
        return any(channel.queue for channel in self._channels.values())

    def end_if_closed(self) -> None:
        """End, when the program has closed the socket in a way that passes no patch."""
        with self.runtime.registry.lock:
            self._end_if_done()

    def end(self) -> None:
        """No descriptor is left. Under ``registry.lock``."""
        self._closed = True
        self._release()
        self.kernel.close()
        self.runtime.registry.flows.pop(self.kernel.number, None)

    def forked(self) -> None:
        """In a child after fork(): the same associations, with nobody who watches them."""
        for channel in self._channels.values():
            channel.is_opening = False
            if channel.task is not None:
                # The parent goes on with it; what waits is the parent's to send.
                channel.task = None
                channel.queue, channel.queued = [], 0
            if channel.association is not None:
                self._watch(channel)
        if self._last is not None:
            self._last.close()
            self._last = None
            self._end_if_done()


def _unsent(err: OSError, channel: Channel) -> OSError:
    """What the kernel has against the way to the relay, in words."""
    words = f"{err.strerror} (to the UDP relay {channel.relay[0]}:{channel.relay[1]} of the proxy)"
    return OSError(err.errno, words)
