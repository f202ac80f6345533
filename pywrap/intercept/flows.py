"""What is known of datagram sockets that talk through a chain: a ``Flow`` for each, and what it goes through.

A flow begins with the first datagram, or connect(), to a destination that needs the chain. From then on the
socket is of a class of its own (``datagram``), whose methods come here; other sockets pay nothing.

* Nothing is connected in the kernel: the socket sends to the relay, and to direct destinations as well. What
  comes from the relay loses its header, what comes from destinations that were sent to directly is passed on,
  and everything else is dropped.
* The association is opened with the first datagram. A socket that may block waits for it, under its timeout.
  For others the background thread opens it, and the first datagrams wait in a queue of the size of the
  socket's send buffer.
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

from pywrap.errors import ProxyClosed, Rejected, SocksError, Unencodable, to_oserror
from pywrap.intercept import epoll, originals
from pywrap.intercept.addresses import target, with_host
from pywrap.intercept.channel import Channel, relay_address
from pywrap.intercept.tunnels import inode, is_open
from pywrap.socks.datagram import LONGEST_HEADER, LONGEST_PAYLOAD, pack_header
from pywrap.tunnel.background import Task
from pywrap.tunnel.dial import like
from pywrap.tunnel.opening import POLLIN, wait_for
from pywrap.tunnel.routes import DIRECT, REFUSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from pywrap.intercept.session import Session
    from pywrap.tunnel.association import Associating, Association
    from pywrap.tunnel.routes import Verdict

    Address: TypeAlias = tuple[Any, ...]
    # Through a channel with a header, or without one to an address.
    Way: TypeAlias = tuple[Channel | None, Any]

# Destinations that a socket remembers the way to.
_WAYS = 4096

# Somebody else may take the port that was free a moment ago.
_ATTEMPTS = 8


class Flow:
    """A datagram socket: ``fds`` are its descriptors in this process, ``number`` its inode.

    ``peer``: the address that it is connected to through the chain, and ``way`` the way there.
    ``error``: what the next call has to tell. ``wire``: the socket underneath where it is of another family.
    """

    def __init__(self, session: Session, sock: _socket.socket) -> None:
        fd = originals.fileno(sock)
        self.family, self._kind, self._proto = originals.family_type_proto(sock)
        self.session = session
        self.number = inode(fd)
        self.fds = {fd}
        self.peer: Address | None = None
        self.way: Way | None = None
        self.error: OSError | None = None
        self._stood = False
        self.wire: _socket.socket | None = None
        # A server that listens takes datagrams from all direct sources.
        self._bound = originals.getsockname(sock)[1] != 0
        if not self._bound:
            self._bind(sock)
        self._lock = originals.allocate_lock()
        self._channels: dict[str, Channel] = {}
        self._relays: dict[Address, Channel] = {}
        self._ways: dict[Address, Way] = {}
        self._generation = session.names.generation
        # Sources that were asked about before, and whether their datagrams are for the program.
        self._sources: dict[Address, bool] = {}
        # How many bytes the headers of a datagram may have.
        self._margin = 0
        self._closed = False
        # By the program: it reads the end then.
        self.is_shut = False

    def _bind(self, sock: _socket.socket) -> None:
        """Give ``sock`` a free port, by its number: relays know it by that.

        A port that the kernel chose itself is lost when C code connects the socket to AF_UNSPEC.
        """
        for _ in range(_ATTEMPTS):
            with_port = originals.Socket(self.family, self._kind | _socket.SOCK_CLOEXEC, self._proto)
            try:
                with_port.bind(("", 0))
                port = with_port.getsockname()[1]
            finally:
                with_port.close()
            try:
                return originals.bind(sock, ("", port))
            except OSError as err:
                if err.errno != errno.EADDRINUSE:
                    raise
        originals.bind(sock, ("", 0))

    # ------------------------------------------------------------ where to

    def find_way(self, sock: _socket.socket, address: Any) -> Way:
        """How to send to ``address``.

        Raises:
            OSError: it is refused.
        """
        if self._generation != self.session.names.generation:
            # A placeholder may be another name's by now.
            self._ways.clear()
            self._generation = self.session.names.generation
        try:
            return self._ways[address]
        except (KeyError, TypeError):
            pass
        found = target(sock, address)
        if found is None:
            # Malformed: C says so.
            return None, address
        verdict = self.session.verdict(found, datagram=True)
        if verdict.kind == REFUSE:
            raise OSError(verdict.errno, verdict.reason)
        way: Way
        if verdict.kind == DIRECT:
            way = None, with_host(address, verdict.literal, verdict.destination.port)
            self._sources[self._source(sock, way[1])] = True
        else:
            way = self._tunnel(verdict, address)
        if len(self._ways) >= _WAYS:
            self._ways.clear()
            for channel in self._channels.values():
                channel.forget()
        self._ways[address] = way
        return way

    def _tunnel(self, verdict: Verdict, address: Any) -> Way:
        ipv6 = self.family == _socket.AF_INET6
        refusal = self.session.no_datagrams(verdict, self._proto)
        if refusal is not None:
            raise refusal
        if (
            self.family == _socket.AF_INET
            and self.wire is None
            and self.session.is_beyond_ipv6(verdict.chain)
        ):
            # Now, rather than in the middle of a recvfrom().
            with self.session.tunnels.lock:
                self._go_over()
        channel = self._channels.setdefault(verdict.chain, Channel(verdict.chain, ipv6))
        # Now: who sleeps in recv() when the association stands has told the kernel already.
        self._margin = max(self._margin, LONGEST_HEADER * len(self.session.chains[verdict.chain].proxies))
        try:
            header = pack_header(verdict.destination)
        except Unencodable as err:
            raise to_oserror(err) from err
        channel.expect(verdict.destination, header, self.session.peer(verdict.destination, address, ipv6))
        return channel, header

    def _source(self, sock: _socket.socket, address: Any) -> Address:
        """``address`` as recvfrom() will tell it."""
        flags = _socket.AI_NUMERICHOST
        if self.family == _socket.AF_INET6:
            flags |= _socket.AI_V4MAPPED
        try:
            rows = originals.getaddrinfo(
                address[0] or None, address[1], self.family, _socket.SOCK_DGRAM, 0, flags
            )
        except _socket.gaierror:
            # A name that is resolved by C.
            return ()
        return tuple(rows[0][4][:2])

    def connect(self, sock: _socket.socket, address: Any) -> None:
        """Send to ``address`` from now on, and take datagrams from there alone. Nothing is sent.

        Raises:
            OSError: it is refused.
        """
        way = self.find_way(sock, address)
        channel, header = way
        if channel is None:
            originals.connect(sock, header)
            self.peer = self.way = None
            return
        try:
            originals.getpeername(sock)
        except OSError:
            pass
        else:
            # From a direct one: the kernel would take nothing from the relay.
            with self.session.tunnels.lock:
                self._refresh()
        self.peer, self.way = channel.answers[header], way

    def local_name(self, name: Address) -> Address:
        """What getsockname() tells, where the kernel says ``name``.

        A connected UDP socket has the address that its datagrams leave with, and programs connect one to
        learn that (and send nothing). Here it is the one on the way to the first proxy.
        """
        if self.wire is not None:
            name = ("0.0.0.0", name[1])
        if self.peer is None or self.way is None or name[0] not in ("0.0.0.0", "::"):
            return name
        channel = self.way[0]
        assert channel is not None, "only a tunnelled peer is one"
        host = self.session.local_host(channel.chain, self.family)
        return (host or name[0], *name[1:])

    # ------------------------------------------------------------ sending

    def send(self, sock: _socket.socket, data: Any, way: Way, flags: int = 0, ancillary: Any = ()) -> int:
        """Send one datagram; the result is the size of its payload."""
        channel, header = way
        assert channel is not None, "the caller sends directly"
        try:
            packet = channel.prefix + header + data if channel.prefix else header + data
        except TypeError:
            # In the words of the socket module.
            memoryview(data)
            raise
        if channel.association is None or self.error is not None or self._closed:
            return self._send_first(sock, packet, channel, len(packet) - len(header), flags)
        if ancillary:
            originals.sendmsg(self.wire or sock, [packet], ancillary, flags, channel.relay)
        else:
            originals.sendto(self.wire or sock, packet, flags, channel.relay)
        return len(packet) - len(channel.prefix) - len(header)

    def send_directly(self, sock: _socket.socket, data: Any, address: Any, flags: int) -> int:
        """Send one datagram past the chain, where it may."""
        if self.wire is not None and isinstance(address, tuple) and address:
            return originals.sendto(self.wire, data, flags, (f"::ffff:{address[0]}", *address[1:]))
        return originals.sendto(sock, data, flags, address)

    def _send_first(
        self, sock: _socket.socket, packet: bytes, channel: Channel, size: int, flags: int
    ) -> int:
        if len(packet) > LONGEST_PAYLOAD:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        timeout = 0.0 if flags & _socket.MSG_DONTWAIT else originals.gettimeout(sock)
        with self._lock:
            ended = self._renew(telling=False)
            if channel.association is None and channel.task is None and timeout != 0:
                try:
                    self._open_here(sock, channel, timeout)
                except OSError:
                    if ended is not None:
                        # Another thread may sleep in recv(), for which there is no more association.
                        with self.session.tunnels.lock:
                            self._fail(ended, stood=True)
                    raise
            if channel.association is None:
                return self._enqueue(sock, packet, channel, size)
        # The prefix was not known when it was packed.
        originals.sendto(self.wire or sock, channel.prefix + packet, flags, channel.relay)
        return size

    def _enqueue(self, sock: _socket.socket, packet: bytes, channel: Channel, size: int) -> int:
        if channel.queued + len(packet) > originals.getsockopt(sock, _socket.SOL_SOCKET, _socket.SO_SNDBUF):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        channel.queue.append(packet)
        channel.queued += len(packet)
        if channel.task is None:
            self._open_elsewhere(channel)
        return size

    # ------------------------------------------------------------ the association

    def _open_here(self, sock: _socket.socket, channel: Channel, timeout: float | None) -> None:
        """Open the association in this thread.

        Raises:
            OSError: it cannot be opened, in words.
        """
        started = monotonic()
        opening = self.session.associating(channel.chain, self.session.deadline(timeout))
        try:
            wait_for(opening, originals.poll)
        except SocksError as err:
            raise self._failure(err) from err
        assert opening.association is not None, "it has been waited for"
        self.session.associated(opening.path, started)
        with self.session.tunnels.lock:
            if self._closed:
                opening.association.close()
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            self._stand(channel, opening.association)

    def _open_elsewhere(self, channel: Channel) -> None:
        started = monotonic()
        deadline = self.session.deadline(None)

        def report(opening: Associating | None, err: SocksError | None) -> None:
            if err is None and opening is not None:
                self.session.associated(opening.path, started)
            with self.session.tunnels.lock:
                association = None if opening is None else opening.association
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

        channel.task = task = Task(lambda: self.session.associating(channel.chain, deadline), report)
        self.session.background.submit(task)

    def _opened(self, channel: Channel, association: Association) -> None:
        """On the background thread, under ``tunnels.lock``: send what has waited."""
        fd = next(iter(self._mine()), -1)
        if self._closed or fd < 0:
            association.close()
            return
        # Not blocking whatever the program's mode is by now: this thread serves all sockets.
        queue, channel.queue, channel.queued = channel.queue, [], 0
        try:
            self._stand(channel, association)
        except OSError as err:
            self._fail(err)
            return
        sock = originals.Socket(self.family, self._kind, self._proto, fileno=os.dup(fd))
        try:
            for packet in queue:
                originals.sendto(
                    self.wire or sock, channel.prefix + packet, _socket.MSG_DONTWAIT, channel.relay
                )
        except OSError as err:
            # Of the way to the relay. The program sends again, and is told then.
            self.session.messages.say(1, f"a datagram to {channel.relay[0]} was lost: {err.strerror}")
        finally:
            sock.close()

    def _stand(self, channel: Channel, association: Association) -> None:
        """``association`` is ``channel``'s from now on."""
        try:
            self._fit(association)
        except OSError:
            association.close()
            raise
        family = self.family if self.wire is None else _socket.AF_INET6
        channel.relay = relay_address(association.relay, family)
        channel.prefix = association.prefix
        channel.association = association
        self._relays[channel.relay] = channel
        self.session.tunnels.allow(channel.relay)
        self._watch(channel)

    def _watch(self, channel: Channel) -> None:
        assert channel.association is not None, "it stands"
        channel.watches = channel.association.watching(lambda _, err: self._ended(channel, err))
        for task in channel.watches:
            self.session.background.submit(task)

    def _fit(self, association: Association) -> None:
        """Make sure that the socket can send to the relay's family."""
        if ":" in association.relay.host:
            if self.family == _socket.AF_INET and self.wire is None:
                self._go_over()
        elif self.family == _socket.AF_INET6:
            for fd in self._mine():
                sock = originals.Socket(self.family, self._kind, self._proto, fileno=os.dup(fd))
                try:
                    if originals.getsockopt(sock, _socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY):
                        originals.setsockopt(sock, _socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)
                except OSError as err:
                    words = (
                        f"an IPv6 socket bound with IPV6_V6ONLY cannot reach the relay {association.relay}"
                    )
                    raise OSError(errno.EAFNOSUPPORT, words) from err
                finally:
                    sock.close()
                return

    def _go_over(self) -> None:
        """An IPv4 socket whose relay has an IPv6 address is an IPv6 one underneath."""
        for fd in self._mine():
            old = originals.Socket(self.family, self._kind, self._proto, fileno=os.dup(fd))
            try:
                wire = like(old, _socket.AF_INET6)
                wire.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)
                _take_over(wire, old, ("::", old.getsockname()[1]))
                # Who sleeps on the old one.
                _shut_down(old)
            finally:
                old.close()
            self.wire = wire
            self._replace(wire)
            # All of them are one open file.
            break

    # ------------------------------------------------------------ its end

    def _failure(self, err: SocksError) -> OSError:
        """What the program is told of an association that could not be opened."""
        if isinstance(err, Rejected) or (isinstance(err, ProxyClosed) and err.in_doubt):
            # Whatever the proxy's reason is, a program goes by this one.
            err.errno = errno.EOPNOTSUPP
        self.session.no_association(err)
        error = to_oserror(err)
        error.__cause__ = err
        return error

    def _ended(self, channel: Channel, err: SocksError | None) -> None:
        """On the background thread: a control connection of ``channel`` has ended."""
        if err is None or err.errno == errno.ECONNABORTED:
            # Cancelled: by us.
            return
        with self.session.tunnels.lock:
            if channel.association is not None and not self._closed:
                self.session.messages.say(1, str(err))
                # What Linux tells of a UDP socket, and all that it tells: Twisted gives up a port on others.
                err.errno = errno.ECONNREFUSED
                self._fail(to_oserror(err), stood=True)

    def _fail(self, error: OSError, stood: bool = False) -> None:
        """Have the next call tell ``error``, and wake up who waits for one. Under ``tunnels.lock``.

        ``stood``: it is the end of an association, which the next send may replace.
        """
        if self._closed:
            return
        self.error, self._stood = error, stood
        self._release()
        for fd in self._mine():
            sock = originals.Socket(self.family, self._kind, self._proto, fileno=os.dup(fd))
            _shut_down(sock)
            sock.close()
            # All of them are one open file.
            break

    def _release(self) -> None:
        """Give up all associations."""
        for channel in self._channels.values():
            for task in channel.watches:
                # It closes the control connection as well.
                self.session.background.cancel(task)
            channel.watches = []
            if channel.task is not None:
                self.session.background.cancel(channel.task)
                channel.task = None
            if channel.association is not None:
                self.session.tunnels.disallow(channel.relay)
            channel.association = None
            channel.prefix = b""
            channel.queue, channel.queued = [], 0
        self._relays.clear()

    def tell(self) -> OSError | None:
        """What went wrong, once; the socket is as new then."""
        with self._lock:
            error = self.error
            if error is not None:
                self._renew(telling=True)
            return error

    def _renew(self, telling: bool) -> OSError | None:
        """Put a fresh socket in the place of one that was shut down, and return why it was. Under ``_lock``.

        Raises:
            OSError: what an association failed with that never stood, unless it is being told.
        """
        with self.session.tunnels.lock:
            error, self.error = self.error, None
            if error is None:
                return None
            self._refresh()
        if not telling and not self._stood:
            raise error
        return error

    def _refresh(self) -> None:
        """Put a socket without a past in the place of this one, at its port. Under ``tunnels.lock``."""
        family = self.family if self.wire is None else _socket.AF_INET6
        for fd in self._mine():
            old = originals.Socket(family, self._kind, self._proto, fileno=os.dup(fd))
            try:
                fresh = like(old, family)
                _take_over(fresh, old, old.getsockname())
            finally:
                old.close()
            self._replace(fresh)
            if self.wire is None:
                fresh.close()
            else:
                self.wire.close()
                self.wire = fresh
            # All of them are one open file.
            break

    def _replace(self, fresh: _socket.socket) -> None:
        """Make the program's descriptors be ``fresh``, registered with the same epolls."""
        for fd in self._mine():
            fresh.setblocking(os.get_blocking(fd))
            left = epoll.leave(fd)
            os.dup2(fresh.fileno(), fd, os.get_inheritable(fd))
            epoll.rejoin(fd, left)
        self.session.tunnels.renumber(self, inode(fresh.fileno()))

    def _mine(self) -> list[int]:
        """The descriptors that are still this socket."""
        return [fd for fd in self.fds if is_open(fd, self.number)]

    def close(self, fd: int) -> None:
        """The program closes ``fd``. Under ``tunnels.lock``."""
        self.fds.discard(fd)
        if not self._mine():
            self.end()

    def end_if_closed(self) -> None:
        """End, when the program has closed the socket in a way that passes no patch."""
        with self.session.tunnels.lock:
            if not self._mine():
                self.end()

    def end(self) -> None:
        """No descriptor is left. Under ``tunnels.lock``."""
        self._closed = True
        self._release()
        if self.wire is not None:
            self.wire.close()
            self.wire = None
        self.session.tunnels.flows.pop(self.number, None)

    def forked(self) -> None:
        """In a child after fork(): the same associations, with nobody who watches them."""
        self._lock = originals.allocate_lock()
        for channel in self._channels.values():
            if channel.task is not None:
                # The parent goes on with it; what waits is the parent's to send.
                channel.task = None
                channel.queue, channel.queued = [], 0
            if channel.association is not None:
                self._watch(channel)

    # ------------------------------------------------------------ receiving

    def receive(self, sock: _socket.socket, size: int, flags: int) -> tuple[bytes, Address]:
        """One datagram for the program, of which ``size`` bytes are wanted; it may be longer."""
        timeout = originals.gettimeout(sock)
        until = monotonic() + timeout if timeout else None
        if flags & _socket.MSG_TRUNC:
            size, flags = LONGEST_PAYLOAD, flags & ~_socket.MSG_TRUNC
        while True:
            if until is not None:
                self._wait(sock, until)
            if self.error is not None and (error := self.tell()) is not None:
                raise error
            wire = self.wire
            mouth = sock if wire is None else self._mouth(sock, wire)
            data, source = originals.recvfrom(mouth, size + self._margin, flags)
            if wire is not self.wire:
                # C gives the kernel room for an IPv4 address, and reads an IPv6 one: the source is not known.
                continue
            if source is None and self.is_shut:
                return data, ()
            channel = self._relays.get(source)
            found = self._past_relays(data, source) if channel is None else channel.unwrap(data, self.peer)
            if found is not None:
                return found
            self._dropped(sock, flags)

    def receive_message(
        self, sock: _socket.socket, size: int, ancillary: int, flags: int
    ) -> tuple[bytes, list[Any], int, Address]:
        """As ``receive``, with ancillary data and flags; the payload is of ``size`` bytes at the most."""
        timeout = originals.gettimeout(sock)
        until = monotonic() + timeout if timeout else None
        real_size = flags & _socket.MSG_TRUNC
        while True:
            if until is not None:
                self._wait(sock, until)
            if self.error is not None and (error := self.tell()) is not None:
                raise error
            room = LONGEST_PAYLOAD if real_size else size
            wire = self.wire
            mouth = sock if wire is None else self._mouth(sock, wire)
            data, extra, got, source = originals.recvmsg(
                mouth, room + self._margin, ancillary, flags & ~_socket.MSG_TRUNC
            )
            if wire is not self.wire:
                continue
            if source is None and self.is_shut:
                return data, extra, got, ()
            channel = self._relays.get(source)
            found = self._past_relays(data, source) if channel is None else channel.unwrap(data, self.peer)
            if found is not None:
                payload, source = found
                if len(payload) > size:
                    got |= _socket.MSG_TRUNC
                    payload = payload if real_size else payload[:size]
                return payload, extra, got, source
            self._dropped(sock, flags)

    @staticmethod
    def _mouth(sock: _socket.socket, wire: _socket.socket) -> _socket.socket:
        """``wire``, which the program does not know, in the mode of ``sock``."""
        wire.settimeout(originals.gettimeout(sock))
        return wire

    def _past_relays(self, data: bytes, source: Any) -> tuple[bytes, Address] | None:
        """What did not come from a relay, when it is for the program."""
        if source is None or self.peer is not None:
            # Shut down, or not from the only one that a connected socket listens to.
            return None
        known = self._sources.get(source[:2])
        if known is None:
            known = self._sources[source[:2]] = self._bound and self._is_direct(source)
        return (data, self._unmapped(source)) if known else None

    def _unmapped(self, source: Address) -> Address:
        return source if self.wire is None else (source[0].removeprefix("::ffff:"), source[1])

    def _is_direct(self, source: Address) -> bool:
        verdict = self.session.routes.verdict(source[0], source[1], ":" in source[0], datagram=True)
        return verdict.kind == DIRECT

    @staticmethod
    def _wait(sock: _socket.socket, until: float) -> None:
        """Wait for something to receive, or to tell.

        C would do it, but not see the end of an association: poll() announces a socket that was shut down,
        recv() finds nothing, and so it would go on in circles until the timeout.

        Raises:
            TimeoutError: there is nothing.
        """
        poller = originals.poll()
        poller.register(originals.fileno(sock), POLLIN)
        if not poller.poll(max(0.0, until - monotonic()) * 1000):
            raise TimeoutError("timed out")

    def _dropped(self, sock: _socket.socket, flags: int) -> None:
        """Something came that is not for the program: take it away."""
        if flags & _socket.MSG_PEEK:
            try:
                originals.recvfrom(self.wire or sock, 0, _socket.MSG_DONTWAIT)
            except OSError:
                # Another thread has taken it.
                pass


def _shut_down(sock: _socket.socket) -> None:
    try:
        # Not for sending: to a thread in the middle of that, it would be a broken pipe.
        sock.shutdown(_socket.SHUT_RD)
    except OSError:
        # ENOTCONN: it is not connected, but Linux wakes up those who wait for it (inet_shutdown).
        pass


def _take_over(fresh: _socket.socket, old: _socket.socket, name: Address) -> None:
    """Bind ``fresh`` to ``name``, where ``old`` is: a thread that sleeps on that keeps it for a moment."""
    reuse = fresh.getsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR)
    for sock in (old, fresh):
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    try:
        fresh.bind(name)
    except OSError:
        # The address is gone. Any port will do for who asks a relay.
        fresh.bind(("", 0))
    fresh.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, reuse)
