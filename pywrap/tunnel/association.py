"""UDP through a chain of proxies: an association with each hop, and the headers that lead through all.

RFC 1928 section 7. Hop k is asked for UDP ASSOCIATE on a TCP connection through the hops before it, and names
its relay. A datagram for the destination goes to the first relay, wrapped for each of the others::

    to relay 1:  [header: relay 2] [header: relay 3] [header: destination] [payload]

Relay 1 takes off the first header and sends the rest to relay 2, and so on; answers come the same way.
"""

from __future__ import annotations

import _socket
import errno

from pywrap.errors import ProtocolError, ProxyClosed, Rejected, SocksError
from pywrap.socks.address_scope import connect_limit
from pywrap.socks.datagram import pack_header, unpack_header
from pywrap.socks.wire import V4_MAPPED, Endpoint, packed, unmapped_bytes, unpacked
from pywrap.tunnel.attempt import POLLIN
from pywrap.tunnel.background import Task
from pywrap.tunnel.chain import hop_label
from pywrap.tunnel.first_hop import is_lost
from pywrap.tunnel.routes import has_many_receivers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.config.settings import Proxy
    from pywrap.tunnel.attempt import TunnelAttempt
    from pywrap.tunnel.deadline import Deadline

# RFC 1928 section 6: the client's own address is not known, behind a NAT or before the first datagram. The
# target does not belong there: Dante refuses that.
UNKNOWN = Endpoint("0.0.0.0", 0)

# Seconds until the first probe of a silent control connection, between probes, and how many: a proxy
# whose machine is gone is noticed after a minute.
_KEEPALIVE = ((_socket.TCP_KEEPIDLE, 30), (_socket.TCP_KEEPINTVL, 10), (_socket.TCP_KEEPCNT, 3))


class Association:
    """UDP through ``path``, as long as all control connections live.

    ``controls``: these connections, one for each hop. ``bound``: the addresses in the hops' replies.
    ``relay``: the address to which datagrams for the first hop are sent. ``prefix``: the bytes that stand
    before the header of the destination, one header for each hop but the first.

    Raises:
        ProtocolError: a reply has an address that no datagram can be sent to.
    """

    __slots__ = ("_relays", "controls", "path", "prefix", "relay")

    def __init__(
        self, path: tuple[Proxy, ...], controls: list[_socket.socket], bound: list[Endpoint]
    ) -> None:
        self.path = path
        self.controls = controls
        # We do not know at which address a later hop is seen by the hop before it: so by the host of its URL.
        hosts = _plain(controls[0].getpeername()[0]), *(proxy.host for proxy in path[1:])
        relays = []
        for number, (reply, host) in enumerate(zip(bound, hosts, strict=True)):
            try:
                relays.append(relay_address(reply, host))
            except ProtocolError as err:
                raise err.copy(f"{hop_label(path, number)}: {err}") from err.__cause__
        self.relay, *self._relays = relays
        self.prefix = b"".join(map(pack_header, self._relays))

    def watching(self, report: Callable[[Any, SocksError | None], None]) -> list[Task]:
        """Tasks for the background thread, one for each control connection.

        When any of these connections ends, so does the association: ``report(watch, error)`` is called.
        """
        tasks = []
        for number, sock in enumerate(self.controls):
            watch = Watch(sock, hop_label(self.path, number))
            task = Task(lambda watch=watch: watch, report)  # type: ignore[misc]
            # Set now, so that the connection is closed also when the task is cancelled before it has begun.
            task.attempt = watch
            tasks.append(task)
        return tasks

    def unwrap(self, data: bytes) -> int:
        """The offset of the destination's header in ``data``, a datagram that the first relay has sent.

        Raises:
            ProtocolError: the datagram did not come through the other relays.
        """
        start = 0
        for relay in self._relays:
            header = unpack_header(memoryview(data)[start:])
            # The name of a hop is resolved by the hop before it, so its address is not known here.
            if header.fragment or (header.endpoint != relay and packed(relay.host) is not None):
                raise ProtocolError(f"a datagram from {header.endpoint} instead of the relay {relay}")
            start += header.size
        return start

    def close(self) -> None:
        """Close the connections, where no task watches them."""
        for control in self.controls:
            control.close()


class Associating:
    """Sets up an association; implements ``attempt.Waited``, so ``wait_for`` and ``background`` run it.

    ``last`` is the attempt that asks the last hop, and finds a path to it; ``other(path, number)`` makes the
    attempt that asks hop ``number``, from 0, of that path. Each is on a socket of its own.
    """

    __slots__ = ("_bound", "_controls", "_current", "_other", "association", "deadline", "path")

    def __init__(
        self,
        last: TunnelAttempt,
        other: Callable[[tuple[Proxy, ...], int], TunnelAttempt],
        deadline: Deadline,
    ) -> None:
        self.path: tuple[Proxy, ...] = ()
        self.deadline = deadline
        self.association: Association | None = None
        self._other = other
        self._current: TunnelAttempt | None = last
        # The control connections that stand, from the last hop to the first.
        self._controls: list[_socket.socket] = []
        self._bound: list[Endpoint] = []

    @property
    def sock(self) -> _socket.socket:
        """The socket to wait for now."""
        return self._controls[-1] if self._current is None else self._current.sock

    @property
    def wants(self) -> int:
        """POLLIN or POLLOUT, for ``sock``."""
        return self._attempt.wants

    def start(self) -> bool:
        """Begin; the result is that of ``advance``."""
        return self._step(self._attempt.start)

    def advance(self) -> bool:
        """Go as far as possible without waiting; return whether the association stands.

        Raises:
            SocksError: it cannot be set up.
        """
        return self._step(self._attempt.advance)

    def expire(self) -> bool:
        """The deadline's moment has passed (``TunnelAttempt.expire``)."""
        return self._step(self._attempt.expire)

    def abandon(self) -> None:
        """Close what was opened here."""
        if self._current is not None:
            own = self._current.sock
            self._current.abandon()
            own.close()
            self._current.sock.close()
        for sock in self._controls:
            sock.close()

    @property
    def _attempt(self) -> TunnelAttempt:
        assert self._current is not None, "it has ended"
        return self._current

    def _step(self, step: Callable[[], bool]) -> bool:
        try:
            done = step()
        except (Rejected, ProxyClosed) as err:
            failure = err.failure
            if failure.hop is self._attempt.path[-1] and (isinstance(err, Rejected) or not failure.certain):
                # The last hop refuses UDP. Whatever its reason, programs know this errno as "no UDP".
                raise err.copy(errno=errno.EOPNOTSUPP) from err.__cause__
            raise
        return done and self._went_on()

    def _went_on(self) -> bool:
        attempt, self._current = self._attempt, None
        sock = attempt.sock
        self._controls.append(sock)
        self._bound.append(attempt.bound)
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            sock.setsockopt(_socket.IPPROTO_TCP, option, value)
        self.path = self.path or attempt.path
        left = len(self.path) - len(self._controls)
        if left:
            self._current = self._other(self.path, left - 1)
            return self._step(self._current.start)
        try:
            self.association = Association(self.path, self._controls[::-1], self._bound[::-1])
        except OSError as err:
            # getpeername() failed: after its reply, the proxy has reset the connection.
            raise _over(hop_label(self.path, 0)) from err
        return True


def _over(hop: str) -> ProxyClosed:
    return ProxyClosed(f"{hop}: the proxy hung up, and with it ended the UDP association")


class _Never:
    """A deadline that never comes."""

    moment = float("inf")

    def remaining(self) -> float:
        return self.moment


NEVER = _Never()


class Watch:
    """Waits for the end of a control connection, which it owns; implements ``Waited``.

    A proxy ends an association by ending the connection that asked for it (RFC 1928 section 7), and sends
    nothing else on that connection.
    """

    __slots__ = ("_hop", "deadline", "sock")

    wants = POLLIN

    def __init__(self, sock: _socket.socket, hop: str) -> None:
        self.sock = sock
        self.deadline = NEVER
        self._hop = hop

    def start(self) -> bool:
        """Begin; the result is that of ``advance``."""
        return self.advance()

    def advance(self) -> bool:
        """Read and discard what the proxy sends on the control connection; return False: it has not ended.

        Raises:
            ProxyClosed: the connection has ended, and the association with it (RFC 1928 section 7).
            SocksError: the program has closed the descriptor.
        """
        if is_lost(self.sock):
            raise SocksError("abandoned: the program has closed its descriptor", errno.ECONNABORTED)
        try:
            if self.sock.recv(4096):
                # One piece at a time: a proxy that sends without end must not keep the thread from other
                # sockets.
                return False
        except BlockingIOError:
            return False
        except OSError as err:
            why = f"the connection to the proxy broke: {err.strerror}"
            raise ProxyClosed(f"{self._hop}: {why}, and with it the UDP association") from err
        raise _over(self._hop)

    def expire(self) -> bool:
        """Never called: a control connection has no deadline."""
        raise AssertionError("a watch has no deadline")

    def abandon(self) -> None:
        """Close the connection in this process; after a fork() the other process still has it."""
        self.sock.close()


def relay_address(bound: Endpoint, proxy: str) -> Endpoint:
    """The address to send datagrams to, from the reply of a proxy to UDP ASSOCIATE (BND.ADDR, ``bound``).

    ``proxy``: the address by which the proxy itself is reached. The relay is taken to be at that address too
    when the reply has 0.0.0.0 or ::, an address that fewer hosts can reach (a private one of a proxy behind a
    NAT, its loopback), or a name, which may not be looked up here.

    Raises:
        ProtocolError: the reply has port 0, or a multicast or broadcast address.
    """
    if bound.port == 0:
        # simple-socks 3.6.0 grants every command so. The kernel refuses a datagram to port 0 with EINVAL.
        raise ProtocolError("the proxy has no UDP: it granted that with a relay at port 0", errno.EOPNOTSUPP)
    address = packed(bound.host)
    own = packed(proxy)
    if address is None or not any(address):
        return Endpoint(proxy, bound.port)
    address = unmapped_bytes(address)
    if has_many_receivers(address):
        raise ProtocolError(f"a UDP relay cannot be at a multicast or broadcast address: {bound}")
    if own is not None and connect_limit(address) < connect_limit(own):
        return Endpoint(proxy, bound.port)
    return Endpoint(unpacked(address), bound.port)


def _plain(host: str) -> str:
    """The IPv4 literal for an IPv4-mapped IPv6 one, however that is written; any other ``host`` unchanged."""
    address = packed(host)
    return unpacked(unmapped_bytes(address)) if address is not None and address[:12] == V4_MAPPED else host
