"""``Runtime``: what all patches of a process share: settings, routes, chains, resolver, messages, log."""

from __future__ import annotations

import _socket
import errno
import sys
from _operator import index

from pywrap.archive import known
from pywrap.errors import ProtocolError, Unencodable, to_oserror
from pywrap.frozen import replace
from pywrap.intercept import originals
from pywrap.intercept.lock import Lock
from pywrap.intercept.own_socket import Own, fresh, own
from pywrap.intercept.remote_names import RemoteNames
from pywrap.intercept.tcp.straight import HopAddress, StraightAttempt
from pywrap.intercept.user_messages import Events
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint, for_ipv6_socket, unpacked
from pywrap.tunnel.attempt import TunnelAttempt, close, wait_for
from pywrap.tunnel.chain import hop_label
from pywrap.tunnel.deadline import Deadline
from pywrap.tunnel.hop_probes import HopProbes
from pywrap.tunnel.hops import Hops
from pywrap.tunnel.lookups import LookupFailed, is_host_name
from pywrap.tunnel.own_addresses import is_own
from pywrap.tunnel.placeholders import Hosts, Placeholders
from pywrap.tunnel.policy_choice import policy
from pywrap.tunnel.round_robin import RoundRobinCounter
from pywrap.tunnel.routes import DIRECT, REFUSE, Routes, address_of
from pywrap.tunnel.selection import Fixed, selection
from pywrap.tunnel.shared_names import SharedNames, is_confined
from pywrap.tunnel.straight_road import road as find_road

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from pywrap.config.settings import Chain, Proxy, Settings
    from pywrap.intercept.addresses import Target
    from pywrap.intercept.call_recorder import Recorder
    from pywrap.intercept.registry import SocketRegistry
    from pywrap.log.events import Begun
    from pywrap.socks.wire import Dialogue
    from pywrap.tunnel.association import Associating
    from pywrap.tunnel.attempt import Waited
    from pywrap.tunnel.background import Background
    from pywrap.tunnel.resolver import Resolver
    from pywrap.tunnel.retry_policy import RetryPolicy
    from pywrap.tunnel.routes import Verdict
    from pywrap.tunnel.selection import Selection
    from pywrap.tunnel.straight_road import Road
    from pywrap.tunnel.strict_policy import SingleAttempt, StrictPolicy

# How many names are kept in ``left_to_proxy``.
_MOST_LEFT = 1 << 12

# Protocols of a datagram socket that UDP ASSOCIATE can stand for.
_UDP = (0, _socket.IPPROTO_UDP)


class Runtime:
    """One installation of the patches.

    ``functions(runtime)``: a dictionary with the implementation of each replaced function that decides about
    traffic, by its name (``patches.implementations``). ``log``: None when the user wants none.
    """

    def __init__(
        self,
        settings: Settings,
        registry: SocketRegistry,
        functions: Callable[[Runtime], dict[str, Callable[..., Any]]] = lambda runtime: {},
    ) -> None:
        self.settings = settings
        self.messages = Events(settings.verbosity)
        self.registry = registry
        self.functions = functions(self)
        # The audit hook asks for a verdict on the program's traffic. Sockets of this class pass without one,
        self.own_class = Own
        # and so do addresses of this class.
        self.address_class = HopAddress
        self.is_confined = is_confined()
        self.names: Placeholders
        if self.is_confined:
            # In a confinement each address is the namespace's own; the broker knows those of the machine.
            shared = SharedNames(
                self._lock, settings.placeholders, originals.getaddrinfo, originals.getnameinfo
            )
            self.names, is_here = shared, shared.is_own
        else:
            self.names = Placeholders(self._lock, settings.placeholders, settings.shared_file)
            is_here = _is_own
        self.hosts = Hosts()
        self.hops = Hops(
            originals.getaddrinfo,
            lambda text: self.messages.say(1, text),
            start_thread=originals.start_new_thread,
            socketpair=_own_pair,
        )
        self.hop_probes = HopProbes(settings, self.hops, self._start_probe)
        self.hops.hop_probes = self.hop_probes
        firsts = self.hops.firsts(settings.chains)
        self.routes = Routes(settings, firsts, self.names, self.hosts, is_here)
        self.chains = _chains(settings)
        self._selections = self._choose()
        # The straight road of each chain, by the chain's name; None for a chain that has none.
        self._roads: dict[str, Road | None] = {}
        self._backgrounds: dict[str, Background] = {}
        self.remote_names = RemoteNames(self._lookup(), self.routes, self.names, self.messages)
        # The placeholders of the latest look-ups, by the name and the family that was wanted. Each is valid
        # for one version of ``hosts``: that and the settings decided that the name is left to the last proxy.
        self.left_to_proxy: dict[tuple[str, bool | None], tuple[int, str]] = {}
        # The destination and the proxies of the latest connection.
        self._latest: tuple[Endpoint, tuple[Proxy, ...]] | None = None
        self.log = self.messages.log = self._recorder() if settings.log else None

    @property
    def background(self) -> Background:
        """The thread that opens tunnels for sockets that must not block; made when it is first needed."""
        known = self._backgrounds.get("")
        if known is not None:
            return known
        from pywrap.tunnel.background import Background

        # setdefault() is atomic: another thread or a signal handler may make one as well.
        made = Background(originals.start_new_thread, self._lock, originals.epoll)
        return self._backgrounds.setdefault("", made)

    @property
    def is_interrupted(self) -> bool:
        """Whether this is a signal handler (or a finalizer) that has interrupted code of ours under the lock.

        It may wait for its connection by select(), while the background thread waits for the lock. So this
        thread opens the connection itself.
        """
        return self.registry.lock.is_mine

    def wait_for(self, attempt: Waited) -> _socket.socket:
        """Open a tunnel in this thread; return its socket, which does not block.

        Raises:
            SocksError: a proxy is not reachable, or refuses.
            TimeoutError: the program's own timeout ended.
        """
        lock = self.registry.lock
        if not lock.is_mine:
            return wait_for(attempt, originals.poll)
        return lock.released(lambda: wait_for(attempt, originals.poll))

    def deadline(self, program: float | None) -> Deadline:
        """The time limits of a tunnel that starts now; ``program``: the socket's own, in seconds, or None."""
        return Deadline(self.settings, program)

    def begin(self) -> Begun | None:
        """Note a call of the program that begins now, for its line in the log; None without a log."""
        return None if self.log is None else self.log.begin()

    def road(self, verdict: Verdict, sock: _socket.socket) -> Road | None:
        """The straight road (``tcp.straight``) of the chain of ``verdict``, for ``sock``; None if none."""
        try:
            road = self._roads[verdict.chain]
        except KeyError:
            road = find_road(self.settings, self.hops, self._selections[verdict.chain], HopAddress)
            self._roads[verdict.chain] = road
        return road if road is not None and originals.family(sock) == road.family else None

    def attempt(
        self,
        sock: _socket.socket,
        verdict: Verdict,
        deadline: Deadline,
        begun: Begun | None = None,
        road: Road | None = None,
        number: int = 0,
    ) -> TunnelAttempt | StraightAttempt:
        """An attempt to open a tunnel through the chain of ``verdict``, on ``sock``, not started.

        ``road``: the straight road to take, if any; ``number`` is then the inode of ``sock``.
        """

        def general(sock: _socket.socket) -> TunnelAttempt:
            attempts = self._policy(self._selections[verdict.chain], verdict.destination)
            attempt = TunnelAttempt(sock, attempts, deadline)
            if begun is not None:
                attempt.times = begun.times
            return attempt

        if road is None:
            return general(sock)
        return StraightAttempt(sock, number, road, verdict.destination, deadline, general)

    def _policy(
        self,
        selection: Selection,
        destination: Endpoint,
        command: int = v5.CONNECT,
        then: Callable[[], Dialogue[None]] | None = None,
    ) -> RetryPolicy | StrictPolicy:
        settings = self.settings
        return policy(self.hops, selection, destination, command, settings.pipeline, settings.fast_open, then)

    def ask_name_server(self, about: str, query: bytes, timeout: float | None) -> bytes:
        """The answer of the name server of ``dns tcp://`` to ``query``, a whole message about a name.

        ``timeout``: seconds, or None for what the settings say.

        Raises:
            SocksError, OSError: a hop, or the server, fails.
        """
        from pywrap.socks import dns
        from pywrap.tunnel.resolver import name_server

        server = name_server(self.settings.dns)
        assert server is not None, "the settings name one"
        answers: list[bytes] = []

        def talk() -> Dialogue[None]:
            answers.append((yield from dns.exchange(query)))

        self._converse(about, server, v5.CONNECT, talk, timeout)
        return answers[0]

    def _converse(
        self,
        about: str,
        destination: Endpoint,
        command: int,
        then: Callable[[], Dialogue[None]] | None,
        timeout: float | None = None,
    ) -> Endpoint:
        """Send ``command`` through the chain for the name or address ``about``, in this thread.

        Return the address of the last reply. ``timeout``: seconds that the program waits.
        """
        # The chain for port 0, so for rules about all ports; "", the default one, where none applies.
        chain = self.routes.verdict(about, 0).chain
        attempts = self._policy(self._selections[chain], destination, command, then)
        attempt = TunnelAttempt(fresh(), attempts, self.deadline(timeout))
        try:
            self.wait_for(attempt)
        finally:
            close(attempt)
        last = attempt.path[-1]
        if command == v5.RESOLVE and attempt.bound.port == last.port:
            # v2ray answers RESOLVE with its own address, whatever the name.
            raise ProtocolError(f"proxy {last} answers RESOLVE with an address of its own: {attempt.bound}")
        return attempt.bound

    def associating(
        self, chain: str, deadline: Deadline, begun: Begun | None = None, own: Endpoint | None = None
    ) -> Associating:
        """The set-up of a UDP association through ``chain``, not started.

        ``own``: the address that the request names as ours; None for zeros.
        """

        from pywrap.tunnel.association import UNKNOWN, Associating

        def ask(selection: Selection) -> TunnelAttempt:
            attempts = self._policy(selection, own or UNKNOWN, v5.UDP_ASSOCIATE)
            return TunnelAttempt(fresh(), attempts, deadline)

        def other(path: tuple[Proxy, ...], number: int) -> TunnelAttempt:
            attempt = ask(Fixed(path[: number + 1]))
            if begun is not None:
                attempt.times = begun.next_times()
            return attempt

        last = ask(self._selections[chain])
        if begun is not None:
            last.times = begun.times
        return Associating(last, other, deadline)

    def local_host(self, chain: str, family: int = 0) -> str:
        """This machine's address on the way to the first proxy of ``chain``; "" when it is not known.

        ``family``: of the address; 0 for that of the proxy's first one.
        The kernel gives it after a connect() of a datagram socket, which sends nothing. The name of a proxy
        is not looked up for that.
        """
        for address in self.hops.first(self.chains[chain].proxies[0]).known():
            if family and address.family != family:
                continue
            with_proxy = Own(address.family, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
            self.registry.allow(address.sockaddr)
            try:
                originals.connect(with_proxy, address.sockaddr)
                return str(with_proxy.getsockname()[0])
            except OSError:
                # No route to the proxy: there is no such address.
                continue
            finally:
                self.registry.disallow(address.sockaddr)
                with_proxy.close()
        return ""

    def has_ipv6_proxy_only(self, chain: str) -> bool:
        """Whether the first proxy of ``chain`` is known to have IPv6 addresses only."""
        known = self.hops.first(self.chains[chain].proxies[0]).known()
        return bool(known) and all(address.family == _socket.AF_INET6 for address in known)

    def no_datagrams(self, verdict: Verdict, proto: int) -> OSError | None:
        """The error for a datagram that cannot take the chain of ``verdict``; None when it can.

        ``proto``: the protocol number of the socket.
        """
        if verdict.kind == REFUSE:
            return OSError(verdict.errno, verdict.reason)
        if proto not in _UDP:
            why = f"{verdict.destination} refused: only TCP and UDP go through a proxy"
            if self.log is not None:
                self.log.refused(errno.EPERM, why, verdict.destination.host, verdict.destination.port)
            return OSError(errno.EPERM, why)
        chain = self.chains[verdict.chain]
        for number, hop in enumerate(chain.proxies):
            if chain.type == "strict" and hop.scheme not in ("socks5", "socks5h"):
                err = Unencodable(
                    f"{hop_label(chain.proxies, number)}: only SOCKS5 has UDP, and this is {hop.scheme}",
                    errno.EOPNOTSUPP,
                )
                self.messages.no_association(err)
                if self.log is not None:
                    destination = verdict.destination
                    self.log.refused(err.errno, str(err), destination.host, destination.port, "udp")
                return to_oserror(err)
        return None

    def associated(
        self, path: tuple[Proxy, ...], started: float, relay: Endpoint, begun: Begun | None = None
    ) -> None:
        """Report that an association is open. ``started``: seconds of the monotonic clock."""
        self.messages.associated(path, started)
        if self.log is not None and begun is not None:
            self.log.association(begun, path, relay=relay)
        self.hop_probes.learn(path)

    def binding(self, sock: _socket.socket, expected: Endpoint, deadline: Deadline) -> TunnelAttempt:
        """A BIND for the peer ``expected`` on ``sock``, up to its first reply, not started.

        It goes through the proxies of the latest connection, since the program will tell the server of that
        connection to connect to the last of them (FTP).
        """
        selection = self._selections[""] if self._latest is None else Fixed(self._latest[1])
        return TunnelAttempt(sock, self._policy(selection, expected, v5.BIND), deadline)

    def expected(self, ipv6: bool) -> Endpoint:
        """The peer that a BIND asks for, for a socket that is an AF_INET6 one (``ipv6``) or not.

        Raises:
            OSError: no proxy can be asked.
        """
        latest, path = self._latest or (None, self.settings.chain)
        if not path:
            raise OSError(errno.EOPNOTSUPP, "no default chain, and no connection yet, to listen through")
        scheme = path[-1].scheme
        has_ipv6 = ipv6 and scheme not in ("socks4", "socks4a")
        if latest is not None and self.settings.bind_peer == "latest":
            address = address_of(latest.host)
            if address is None:
                fits = scheme != "socks4"
            else:
                # A socket of either family can have a peer with an IPv4 address.
                fits = has_ipv6 or len(address) == 4
            if fits:
                return latest
        return Endpoint("::" if has_ipv6 else "0.0.0.0", 0)

    def name_of(
        self, attempt: TunnelAttempt | StraightAttempt, sock: _socket.socket, peer: tuple[Any, ...]
    ) -> tuple[Any, ...] | None:
        """What getsockname() returns for ``sock``, a tunnel to ``peer``; None for the kernel's answer."""
        ipv6 = originals.family(sock) == _socket.AF_INET6
        if self.settings.listen == "bind" and isinstance(attempt, TunnelAttempt):
            from pywrap.tunnel.binding import advertised_address

            bound = advertised_address(attempt)
            if bound is not None and (ipv6 or ":" not in bound.host):
                return self.peer(bound, (bound.host, bound.port), ipv6)
        if ipv6 and peer[0] == "::1":
            host, port = attempt.sock.getsockname()[:2]
            if host != "::1":
                # The proxy has an IPv4 address. But an FTP client that is connected to ::1 announces the
                # address of this name by EPRT, and may listen at ::1 alone.
                return "::1", port, 0, 0
        return None

    def verdict(self, to: Target, datagram: bool) -> Verdict:
        """How the destination ``to`` is reached. A refusal is printed at -v.

        ``datagram``: whether the socket is a datagram socket.

        Raises:
            socket.gaierror: with ``--dns`` other than remote, the name has no address.
        """
        literal = "" if address_of(to.host) is not None else self._resolved(to)
        verdict = self.routes.verdict(literal or to.host, to.port, to.ipv6, datagram)
        if literal and not verdict.literal:
            verdict = replace(verdict, literal=literal)
        if verdict.kind == REFUSE:
            self.messages.say(1, verdict.reason)
        elif verdict.kind == DIRECT:
            if not datagram:
                self.routes.used_directly(verdict.destination)
                self._find_servers(literal or to.host)
            self.messages.say(2, f"{verdict.destination}: direct")
        if self.log is not None:
            self.log.judged(verdict, datagram)
        return verdict

    @staticmethod
    def _find_servers(host: str) -> None:
        """If ``host`` is this machine, have servers among confined children found (``child_policy``)."""
        starts = known("pywrap.intercept.child_starts")
        if starts is not None and (host.startswith("127.") or host in ("::1", "localhost")):
            starts.find_servers()

    def _resolved(self, to: Target) -> str:
        """The address of the name in ``to``, where the settings resolve names before a connect(); else ""."""
        if self.settings.dns == "local":
            family = _socket.AF_INET6 if to.ipv6 else _socket.AF_INET
            rows = originals.getaddrinfo(to.host, None, family, _socket.SOCK_STREAM)
            literal = str(rows[0][4][0])
            self.routes.remember(to.host, [literal])
            return literal
        if self.routes.local_addresses(to.host):
            return ""
        self.check_name(to.host)
        if not self.remote_names.takes(to.host):
            return ""
        try:
            return self.remote_names.addresses(to.host, to.ipv6).values[0]
        except LookupFailed as err:
            raise err.as_gaierror() from err

    def resolves_here(self, name: str) -> bool:
        """Whether the local resolver may be asked for ``name``."""
        return self.settings.dns == "local" or self.routes.resolves_here(name)

    @staticmethod
    def check_name(name: str) -> None:
        """Check that a host can have ``name``: the C library accepts no answer for any other name.

        Raises:
            socket.gaierror: ``name`` is neither such a name nor a literal.
        """
        if not is_host_name(name):
            raise _socket.gaierror(_socket.EAI_NONAME, "Name or service not known")

    @staticmethod
    def is_literal(host: str) -> bool:
        """Whether ``host`` is an address in any form that the C library takes."""
        return address_of(host) is not None

    def name_behind(self, literal: str) -> str:
        """The name that a placeholder address stands for; "" for any other."""
        address = address_of(literal)
        return (self.names.name_of(address) or "") if address is not None else ""

    def leave_to_proxy(self, name: str, ipv6: bool | None, version: int, placeholder: str) -> None:
        """Note that ``placeholder`` stands for ``name``, so that the next look-up finds it at once."""
        if len(self.left_to_proxy) >= _MOST_LEFT:
            self.left_to_proxy.clear()
        self.left_to_proxy[name, ipv6] = version, placeholder

    def names_of(self, literal: str) -> list[str]:
        """The names of an address that are known here, the canonical name first."""
        address = address_of(literal)
        if address is None:
            return []
        name = self.names.name_of(address)
        return [name] if name else self.hosts.names(address)

    def peer(self, destination: Endpoint, address: tuple[Any, ...], ipv6: bool) -> tuple[Any, ...]:
        """The result of getpeername() for a tunnel: an address, which for a name is its placeholder.

        It is the ``address`` that the program used, also where the configuration rewrites that.
        """
        host = str(address[0])
        literal = address_of(host)
        if literal is not None:
            # As inet_ntop(3) writes it.
            host = host if "%" in host else unpacked(literal)
        else:
            host = destination.host
            if address_of(host) is None:
                try:
                    host = self.names.placeholder(host, ipv6)
                except LookupFailed:
                    # No placeholder is left. The tunnel itself does not need one.
                    host = self.names.unknown
        port = index(address[1])
        return (for_ipv6_socket(host), port, 0, 0) if ipv6 else (host, port)

    def opened(self, verdict: Verdict, path: tuple[Proxy, ...], started: float) -> None:
        """Report that a tunnel is open. ``started``: seconds of the monotonic clock."""
        self._latest = verdict.destination, path
        self.messages.connected(verdict.destination, path, started)
        self.hop_probes.learn(path)

    def about_to_fork(self) -> None:
        """In the parent before fork(): share the list of placeholders, and stop the background thread."""
        self.registry.about_to_fork()
        try:
            self.names.share()
        except OSError as err:
            self.messages.say(1, f"placeholder addresses are not shared with a child: {err.strerror}")
        if sys.version_info >= (3, 12):
            # These versions of Python warn programs that fork while threads run.
            self.background.park()

    def has_forked(self) -> None:
        """In the parent after fork(), whether it succeeded or failed: start the background thread again."""
        if sys.version_info >= (3, 12):
            self.background.unpark()

    def share_names(self) -> str:
        """Share the list of placeholders with another interpreter; return its path, "" if there is none.

        In a confinement, the broker has the list.
        """
        self.about_to_fork()
        return self.names.shared_path

    def forked(self) -> None:
        """In a child after fork(), which has neither the background thread nor the owner of a lock."""
        self.registry.lock = Lock()
        for background in self._backgrounds.values():
            background.forked()
        self._backgrounds = {}
        self.registry.forked()
        self.names.forked(self._lock)
        self.hops.forked()
        self.chains = _chains(self.settings)
        self._selections = self._choose()
        self._roads = {}

    def _recorder(self) -> Recorder:
        # Imported here: most programs have no log.
        from pywrap.intercept.call_recorder import Recorder

        return Recorder(self.settings, lambda text: self.messages.say(0, text), self._how, self._how_of)

    def _how(self, name: str) -> str:
        """Where the answers to a look-up of ``name`` come from, for the log."""
        if self.routes.local_addresses(name):
            return "hosts"
        if self.resolves_here(name):
            return "local"
        return self.settings.dns.partition(":")[0] if self.remote_names.takes(name) else "placeholder"

    def _how_of(self, literal: str) -> str:
        """Where the answers to a look-up of the names of an address come from, for the log."""
        if self.names_of(literal):
            return "placeholder" if self.name_behind(literal) else "hosts"
        # With ``dns remote`` only placeholders have names, and no server is asked.
        return "placeholder" if self.settings.dns == "remote" else self.settings.dns.partition(":")[0]

    def _start_probe(self, probe: SingleAttempt, deadline: Deadline) -> bool:
        """Run ``probe`` in the background thread; False without a descriptor (EMFILE) or thread for it."""
        # Imported here: a program with one blocking connection needs no thread.
        from pywrap.tunnel.background import Task

        sock = None
        try:
            sock = fresh()
            attempt = TunnelAttempt(sock, probe, deadline)
            self.background.submit(Task(lambda: attempt, lambda *_: close(attempt)))
        except (OSError, RuntimeError):
            if sock is not None:
                sock.close()
            return False
        return True

    def _lock(self) -> Lock:
        """The lock of the process (``lock``), which is another one after fork()."""
        return self.registry.lock

    def _lookup(self) -> Resolver | None:
        """The resolver of ``dns``; None where names are not looked up through the chain."""
        if self.settings.dns in ("remote", "local"):
            return None
        from pywrap.tunnel.resolver import lookup

        return lookup(self.settings.dns, self._converse)

    def _choose(self) -> dict[str, Selection]:
        """How each chain selects its proxies, by the chain's name."""
        return {
            name: selection(chain, self.hops, RoundRobinCounter(self.settings.shared_file, place))
            for place, (name, chain) in enumerate(self.chains.items())
        }


def _is_own(address: bytes) -> bool:
    return is_own(address, originals.Socket)


def _chains(settings: Settings) -> dict[str, Chain]:
    """The chains by their names; with ``isolate_streams``, they have a login that only this process uses."""
    chains: Iterable[Chain] = settings.chains
    if settings.isolate_streams:
        from pywrap.tunnel.isolation import isolated

        chains = isolated(chains)
    return {chain.name: chain for chain in chains}


def _own_pair() -> tuple[Own, Own]:
    near, far = originals.socketpair()
    return own(near), own(far)
