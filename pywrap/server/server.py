"""The server: its listeners, and the objects that all its sessions share."""

from __future__ import annotations

import _socket
import errno
import os
from _socket import (
    AF_INET,
    AF_INET6,
    IPPROTO_IPV6,
    IPPROTO_TCP,
    IPV6_V6ONLY,
    SHUT_RDWR,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SOCK_DGRAM,
    SOCK_STREAM,
    SOL_SOCKET,
    TCP_FASTOPEN,
    socket,
)
from functools import cache, partial
from time import monotonic

from pywrap.errors import ConfigError
from pywrap.relay.descriptor_reserve import is_reserved
from pywrap.relay.loop import IN, OUT, Loop
from pywrap.relay.pumps import BUFFER, Pipes
from pywrap.relay.relay import prepare
from pywrap.server.access_rules import Guard, Rules
from pywrap.server.commands.associate import Associate
from pywrap.server.commands.bind import Bind
from pywrap.server.commands.connect import Connect
from pywrap.server.commands.resolve import Resolve
from pywrap.server.ident import OFF
from pywrap.server.limits import Census, Limits
from pywrap.server.passwords import Authenticator
from pywrap.server.session import Policy, Session, Shared
from pywrap.server.tcp.dial import Resolver
from pywrap.server.threads import Pool
from pywrap.server.udp.mmsg import make_batch
from pywrap.server.udp.outbound import UdpRules
from pywrap.server.upstream import Upstream
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint, packed, unpacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from ssl import SSLContext
    from types import TracebackType

    from pywrap.relay.timers import Timer
    from pywrap.relay.wrapped import Wrapped
    from pywrap.server.access_rules import AccessRule
    from pywrap.server.passwords import Hashed
    from pywrap.server.record import Record, Traffic
    from pywrap.server.session import Command
    from pywrap.socks.serve import Gssapi

# Errors of accept() that are about this machine and not about the client: the next call would fail too.
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

# Seconds without an accept() after such an error, unless a connection ends before.
_PAUSE = 1.0

# How many clients are accepted in a row at most, before those that are connected have a turn.
_ACCEPTS = 16

_BACKLOG = 1024

# How often idle connections are looked for within the time that they may be idle.
_SWEEPS = 4

# The queue for TCP Fast Open: clients whose request has come before they answered the SYN-ACK, so that their
# addresses may be forged. Beyond this number, the kernel makes ordinary connections (RFC 7413 section 5.1).
_UNPROVEN = 256

# The kernel's setting of TCP Fast Open, for IPv6 as well; and the bit that allows it for servers.
_FAST_OPEN_SETTING = "/proc/sys/net/ipv4/tcp_fastopen"
_SERVERS_MAY = 2


# The commands that are served.
SERVED: dict[int, type[Command]] = {
    v5.CONNECT: Connect,
    v5.BIND: Bind,
    v5.UDP_ASSOCIATE: Associate,
    v5.RESOLVE: Resolve,
    v5.RESOLVE_PTR: Resolve,
}


class Server:
    """A SOCKS server on the addresses of ``listen``; it listens when the constructor has returned.

    ``users`` (name to password, or its hash) makes SOCKS5 with a password necessary. ``record`` is called
    for every request when its outcome is known, and before the client gets its reply; ``arrived``
    for the second reply of a BIND, with the peer as its answer, or the reason why none came; ``closed``
    when a tunnel ended, with the bytes from the client, to the client, and the seconds;
    ``trouble`` with a line about a broken client or a lack of resources.

    ``udp_peer`` is called for each destination of an association, named as by the client, before the
    first datagram goes there; ``udp_closed`` when the association ended, with its traffic.
    ``bind_addresses``, one for each family, are what a BIND announces in place of the address
    that leads to the peer: for a server behind a NAT.
    ``limits``, ``rules`` and ``users`` may be replaced while it serves. ``guarded``: see
    ``access_rules.Guard``.
    ``listen_tls``: addresses at which clients speak TLS, by the context ``tls``. ``gssapi`` makes Kerberos
    necessary, or a password where there are ``users`` as well.
    ``sockets`` listen already; ``shared_ports`` lets several processes listen on the same ports.
    ``fast_open`` takes requests in the SYN. It is off by default: a duplicate of such a SYN that comes after
    its connection has ended is a request of its own (RFC 7413 section 6.3.1).

    ``run()`` serves in the calling thread until ``stop()``. When it has returned, all
    connections are closed; ``close()`` then releases the rest, the context manager as well.

    Raises:
        ConfigError: an address cannot be listened on.
    """

    def __init__(
        self,
        listen: Sequence[tuple[str, int]],
        users: Mapping[bytes, bytes | Hashed] | None = None,
        record: Callable[[Record], None] | None = None,
        closed: Callable[[Record, int, int, float], None] | None = None,
        trouble: Callable[[str], None] | None = None,
        udp: UdpRules = UdpRules(),  # noqa: B008 (immutable)
        udp_peer: Callable[[Record, Endpoint], None] | None = None,
        udp_closed: Callable[[Record, Traffic, float], None] | None = None,
        arrived: Callable[[Record], None] | None = None,
        bind_addresses: Sequence[str] = (),
        fast_open: bool = False,
        limits: Limits = Limits(),  # noqa: B008 (immutable)
        rules: Sequence[AccessRule] = (),
        guarded: bool = False,
        sockets: Sequence[socket] = (),
        shared_ports: bool = False,
        ident: str = OFF,
        listen_tls: Sequence[tuple[str, int]] = (),
        tls: SSLContext | None = None,
        gssapi: Gssapi | None = None,
        upstream: Upstream = Upstream(),  # noqa: B008 (nothing changes it)
    ) -> None:
        self._listeners: list[socket] = []
        self._handed_over = tuple(sockets)
        self._tls = tls
        try:
            for sock in sockets:
                prepare(sock)
                sock.setblocking(False)
                self._listeners.append(sock)
            for host, port in listen:
                self._listeners += _listen(host, port, fast_open, shared_ports)
            count = len(self._listeners)
            for host, port in listen_tls:
                self._listeners += _listen(host, port, fast_open, shared_ports)
            self._with_tls = {listener.fileno() for listener in self._listeners[count:]}
        except BaseException:
            self._close_listeners()
            raise
        self._trouble = trouble or _nothing
        self._sweep: Timer | None = None
        self._draining = False
        self.failed_logins = 0
        self._loop = Loop(self._failed)
        self._resolver = Resolver(self._loop)
        self._pipes = Pipes(self._loop)
        self._sessions: set[Session] = set()
        self._census = Census(limits)
        self._wrapped: set[Wrapped] = set()
        # The threads for scrypt: they compute, so more of them than processors would only be slower.
        self._verifiers = Pool(self._loop, os.cpu_count() or 1)
        self._paused = False
        self._burst = 1
        self._accepted_in = 0  # a turn of the loop
        self._shared = Shared(
            served=SERVED,
            loop=self._loop,
            resolver=self._resolver,
            pipes=self._pipes,
            buffer=memoryview(bytearray(BUFFER)),
            # Made when it is needed: most servers carry no datagrams, and it imports ctypes.
            batch=cache(make_batch),
            policy=Policy(None, Rules()),
            census=self._census,
            wrapped=self._wrapped,
            bind_addresses={AF_INET6 if ":" in host else AF_INET: host for host in bind_addresses},
            record=record or _nothing,
            arrived=arrived or _nothing,
            closed=closed or _nothing,
            trouble=self._trouble,
            crashed=self._crashed,
            udp=udp,
            udp_peer=udp_peer or _nothing,
            udp_closed=udp_closed or _nothing,
            over=self._over,
        )
        self.set_users(users)
        self.set_rules(rules, guarded)
        self.set_limits(limits)
        self.set_ident(ident)
        self._shared.policy.gssapi = gssapi
        try:
            self.set_upstream(upstream)
        except ConfigError:
            self.close()
            raise
        self._watch_listeners()

    @property
    def addresses(self) -> list[Endpoint]:
        """The addresses at which it listens, with the ports that were chosen for port 0."""
        names = [listener.getsockname() for listener in self._listeners]
        return [Endpoint(name[0], name[1]) for name in names]

    @property
    def tls_addresses(self) -> list[Endpoint]:
        """Those of ``addresses`` where clients speak TLS first."""
        both = zip(self._listeners, self.addresses, strict=True)
        return [address for listener, address in both if listener.fileno() in self._with_tls]

    def run(self) -> None:
        """Serve until ``stop()``; then end every connection."""
        try:
            self._loop.run()
        finally:
            self._close_listeners()
            for session in list(self._sessions):
                try:
                    session.abort()
                except Exception as err:
                    session.failed(err)
            for wrapped in list(self._wrapped):
                wrapped.abort()

    def stop(self) -> None:
        """Let ``run()`` return; from any thread or signal handler, any number of times."""
        self._loop.stop()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return self._census.total

    @property
    def half_open(self) -> int:
        """How many clients have not completed a request."""
        return self._census.half_open

    def list_connections(self) -> list[tuple[Endpoint, Record | None, float, int]]:
        """For each client: its address, its request, the seconds since, and the bytes or datagrams so far.

        Called in the thread of ``run()``.
        """
        now = monotonic()
        return [(session.peer, *session.state(now)) for session in self._sessions]

    @property
    def is_draining(self) -> bool:
        """Whether it accepts no client any more and waits for the last to end."""
        return self._draining

    def drain(self, patience: float) -> int:
        """Accept no client any more, and stop when the last one has ended, or after ``patience`` seconds.

        Called in the thread of ``run()``. Returns how many clients there are; one without a complete request
        is sent away.
        """
        self._draining = True
        for listener in self._listeners:
            if listener not in self._handed_over:
                # At once, since the loop closes a little later. Listeners of systemd stay open: another
                # process may go on with them.
                listener.shutdown(SHUT_RDWR)
            self._loop.close(listener)
        self._listeners.clear()
        for session in list(self._sessions):
            session.end_handshake()
        if self._sessions:
            self._loop.after(patience, self.stop, shared=True)
        else:
            self.stop()
        return len(self._sessions)

    def stop_when_readable(self, fd: int) -> None:
        """Stop when ``fd`` becomes readable, as a pidfd does when its process ends."""
        self._loop.watch(fd, IN, lambda events: self._loop.stop(), shared=True)

    def when_writable(self, fd: int, call: Callable[[], None]) -> None:
        """Call ``call`` once, in the thread of ``run()``, as soon as ``fd`` is writable or broken."""

        def on_events(events: int) -> None:
            self._loop.unwatch(fd)
            call()

        self._loop.watch(fd, OUT, on_events, shared=True)

    def call(self, function: Callable[[], None]) -> None:
        """Have the thread of ``run()`` call ``function``. May be called from any thread or signal handler."""
        self._loop.call(function)

    # These may be called while the server runs, in the thread of ``run()``, or before. They apply to later
    # requests.

    def set_users(self, users: Mapping[bytes, bytes | Hashed] | None) -> None:
        """Require the password of one of ``users`` (name to password, or its hash); None: require none."""
        if users is None:
            self._shared.policy.check = None
        else:
            self._shared.policy.check = Authenticator(
                self._loop, self._verifiers, users, self._login_failed
            ).check

    def set_rules(self, rules: Sequence[AccessRule], guarded: bool) -> None:
        """Allow requests by ``rules``; ``guarded``: allow near addresses only where a rule names them."""
        self._shared.policy.rules = Rules(rules, Guard(self._is_own) if guarded else None)

    def set_ident(self, mode: str) -> None:
        """Check the user ids of SOCKS4 clients by ident, or not; ``mode``: one of ``ident.MODES``."""
        self._shared.policy.ident = mode

    def set_upstream(self, upstream: Upstream) -> None:
        """Go through the proxies of ``upstream``.

        Raises:
            ConfigError: a file that the options name cannot be read, or the nearest proxy is this server; the
                upstream before stays in use.
        """
        own = upstream.hop_to_itself(self._is_own)
        if own is not None:
            raise ConfigError(f"the proxy is this server itself: {own}")
        if upstream.secured_hops:
            # Imported here: most servers need no TLS.
            from pywrap.relay.securing import Securing

            upstream.securing = Securing(self._loop, upstream.secured_hops, self._wrapped)
        self._shared.policy.upstream = upstream

    def set_tls(self, tls: SSLContext) -> None:
        """Use the context ``tls`` for clients that connect from now on."""
        self._tls = tls

    def set_limits(self, limits: Limits) -> None:
        """Apply ``limits`` from now on."""
        self._census.limits = limits
        if self._sweep is not None:
            self._loop.cancel(self._sweep)
            self._sweep = None
        if limits.idle:
            self._sweep = self._loop.after(limits.idle / _SWEEPS, self._end_idle, shared=True)

    def _end_idle(self) -> None:
        now, patience = monotonic(), self._census.limits.idle
        for session in list(self._sessions):
            try:
                session.end_if_idle(now, patience)
            except Exception as err:
                session.failed(err)
        self._sweep = self._loop.after(patience / _SWEEPS, self._end_idle, shared=True)

    def _login_failed(self, party: str) -> None:
        self.failed_logins += 1

    def _is_own(self, address: bytes, port: int) -> bool:
        """Whether a connection to ``address`` and ``port`` would come to this server."""
        for listener in self._listeners:
            host, own_port = listener.getsockname()[:2]
            own = packed(host.partition("%")[0]) or b""
            if own_port == port and (own == address or not any(own) and _is_of_this_machine(address)):
                return True
        return False

    def close(self) -> None:
        """Release everything; not while ``run()`` is running in another thread."""
        self._close_listeners()
        self._resolver.close()
        self._verifiers.close()
        self._pipes.close()
        self._loop.dispose()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ------------------------------------------------------------ clients

    def _accept(self, listener: socket, events: int) -> None:
        # One, unless clients come in turn after turn: that there is no second one is an exception, which
        # costs as much as a twentieth of what Python does for a connection.
        is_busy = self._loop.turns - self._accepted_in <= 1
        self._accepted_in = self._loop.turns
        self._burst = min(2 * self._burst, _ACCEPTS) if is_busy else 1
        for _ in range(self._burst):
            try:
                fd, address = listener._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return
            except OSError as err:
                if err.errno in _EXHAUSTED:
                    self._trouble(f"accepting no client for the moment: {err.strerror}")
                    self._pause()
                # Other errors, such as ECONNABORTED, are about a client that is gone.
                return
            peer = Endpoint(address[0], address[1])
            client = socket(listener.family, SOCK_STREAM, 0, fd)
            try:
                client.setblocking(False)
                refusal = os.strerror(errno.EMFILE).lower() if is_reserved(fd) else ""
                tls = self._tls if listener.fileno() in self._with_tls else None
                session = Session(self._shared, client, peer, refusal, tls)
            except Exception as err:
                self._loop.close(client)
                self._crashed(f"{peer}: not served, for an error of this server", err)
                continue
            self._sessions.add(session)
            try:
                session.begin()
            except Exception as err:
                session.failed(err)
        self._loop.owner = None

    def _over(self, session: Session) -> None:
        self._sessions.discard(session)
        if self._draining and not self._sessions:
            self.stop()
        if self._paused:
            self._resume()

    def _pause(self) -> None:
        # The client stays in the queue, and epoll would report the listener again and again.
        self._paused = True
        for listener in self._listeners:
            self._loop.unwatch(listener.fileno())
        self._loop.after(_PAUSE, self._resume, shared=True)

    # ------------------------------------------------------------ errors of this program

    def _crashed(self, words: str, err: Exception) -> None:
        """Report an error of this program, with its traceback."""
        # Imported here, since the module is large and hardly ever used.
        from traceback import format_exception

        self._trouble(f"{words}; please report it:\n" + "".join(format_exception(err)).rstrip())

    def _failed(self, err: Exception) -> None:
        """Report the error of a handler that belongs to no session, such as a listener's."""
        self._crashed("an error of this server, which goes on", err)
        if not self._paused:
            # The handler would fail again at once, and for ever.
            self._pause()

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._watch_listeners()

    # ------------------------------------------------------------ listeners

    def _watch_listeners(self) -> None:
        for listener in self._listeners:
            # Without an owner: this may be running in the handler of a session that has ended.
            accept = partial(self._accept, listener)
            self._loop.watch(listener.fileno(), IN, accept, shared=True)

    def _close_listeners(self) -> None:
        while self._listeners:
            self._listeners.pop().close()


def fast_open_is_allowed() -> bool:
    """Whether the kernel lets servers take data in a SYN; setsockopt() succeeds in any case."""
    try:
        with open(_FAST_OPEN_SETTING, encoding="ascii") as file:
            return bool(int(file.read()) & _SERVERS_MAY)
    except FileNotFoundError:
        # The kernel has no TCP Fast Open.
        return False


def _is_of_this_machine(address: bytes) -> bool:
    family = AF_INET if len(address) == 4 else AF_INET6
    probe = socket(family, SOCK_DGRAM)
    try:
        probe.bind((unpacked(address), 0))
    except OSError:
        return False
    finally:
        probe.close()
    return True


def _listen(host: str, port: int, fast_open: bool, shared_port: bool) -> list[socket]:
    """Listening sockets for all addresses of ``host``."""
    listeners: list[socket] = []
    try:
        found = _socket.getaddrinfo(host, port, 0, SOCK_STREAM)
        for family, _, _, _, address in found:
            listener = socket(family, SOCK_STREAM)
            listeners.append(listener)
            # Without it, connections of a server that was stopped a moment ago would keep the port
            # (TIME_WAIT).
            listener.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            if shared_port:
                listener.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
            if family == AF_INET6:
                # [::] is IPv6 only, so that 0.0.0.0 beside it is another listener.
                listener.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
            prepare(listener)
            if fast_open:
                listener.setsockopt(IPPROTO_TCP, TCP_FASTOPEN, _UNPROVEN)
            listener.bind(address)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
    except OSError as err:
        for listener in listeners:
            listener.close()
        where = Endpoint(host, port)
        raise ConfigError(f"cannot listen on {where}: {err.strerror or err}") from err
    return listeners


def _nothing(*args: object) -> None:
    pass
