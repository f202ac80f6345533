"""The questions asked of one proxy, each on a connection of its own, so that none spoils the next.

In this order, and the first that gets no sensible answer is the last: can it be reached, does it speak
SOCKS, which methods does it take, does a connection come about. The rest, names to single flight, is asked
in any case then.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from select import POLLIN, poll, select
from time import monotonic

from pywrap.errors import (
    AuthenticationFailed,
    ProtocolError,
    ProxyClosed,
    ProxyTimeout,
    Rejected,
    SocksError,
)
from pywrap.frozen import replace
from pywrap.launch.check.destination import SECRET_SIZE, destinations
from pywrap.launch.check.dialer import Dialer
from pywrap.launch.check.other_clients import ask_other_clients
from pywrap.launch.check.report import (
    ABSENT,
    METHODS,
    NO,
    SUBJECTS,
    UNKNOWN,
    YES,
    YES_INDEED,
    Finding,
    Report,
)
from pywrap.socks import http, v4, v5
from pywrap.socks.datagram import pack_header, unpack_header
from pywrap.socks.wire import IMPOSSIBLE, Endpoint, Recv, Send, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.config.settings import Proxy
    from pywrap.launch.check.destination import Destination, Listener
    from pywrap.socks.wire import Dialogue

# RFC 1928 section 3. The client does not speak it, but can ask which servers do.
GSSAPI = 0x01
METHOD_NUMBERS = dict(zip(METHODS, (v5.NO_AUTHENTICATION, v5.USERNAME_PASSWORD, GSSAPI), strict=True))

# A single flight is taken for swallowed when its answer takes so much longer than step by step.
PIPELINING_SECONDS = 2.0
FLIGHT_FACTOR = 20

# UDP may lose a datagram.
DATAGRAMS = 3

# Of this machine and of each, so that a proxy which takes the question for a CONNECT reaches no third party.
RESOLVED = "127.79.67.75"

# How long a connection to the user's destination, about which nothing else is known, must last: proxies
# exist that grant everything, and hang up when it turns out to be impossible.
SETTLED_SECONDS = 0.5

# What no proxy can reach: a name that does not exist (RFC 6761 section 6.4); for SOCKS4, a port without a
# service on the proxy's own machine (RFC 1078, which no machine runs today).
NO_NAME = Endpoint("nowhere.invalid", 443)
NO_PORT = Endpoint("127.0.0.1", 1)

# As the peer of a BIND on this machine: an address of its own, so that a server which listens there, at the
# peer's instead of its own, is found out.
PEER = "127.0.0.2"

HINT_TARGET = "name a destination that it can reach with --check-target HOST:PORT"


def probe_proxy(
    path: tuple[Proxy, ...],
    patience: float,
    target: Endpoint | None,
    listener: Listener,
    say: Callable[[str], None],
) -> Report:
    """Find out all about the last of ``path``; ``say`` is called with what is asked next."""
    if not speaks(path[-1]):
        report = Report(path)
        report.error = f"{path[-1].scheme} hops cannot be checked"
        return report
    return _Probes(path, patience, target, listener, say).whole()


def speaks(hop: Proxy) -> bool:
    """Can ``hop`` be asked for anything? Not raw, which passes on what it gets."""
    return hop.scheme in _SPEAKS


class _Probes:
    def __init__(
        self,
        path: tuple[Proxy, ...],
        patience: float,
        target: Endpoint | None,
        listener: Listener,
        say: Callable[[str], None],
    ) -> None:
        self.report = Report(path)
        self._path = path
        self._proxy = path[-1]
        self._speaks = _SPEAKS[self._proxy.scheme]
        self._dialer = Dialer(path, patience)
        self._target = target
        self._listener = listener
        self._destinations = destinations(path, self._proxy.host, target, listener)
        self._say = say
        # Our end and the first hop's of a connection between them.
        self._here = self._there = ""
        # What it picks when it is offered all that we have.
        self._method = v5.NO_AUTHENTICATION
        # Does it grant what is impossible? Then others get through as little as we do, and do not notice.
        self._grants_anything = False

    def whole(self) -> Report:
        report = self.report
        try:
            self._reach()
            if self._is_socks5:
                self._ask_for_methods()
            self._connect()
        except SocksError as err:
            report.error = report.error or _words(err)
        else:
            self._ask_for_more()
        if not report.works and not self._grants_anything:
            self._say("second opinions")
            destination = self._destinations.plain.endpoint
            report.other_clients = ask_other_clients(self._path, destination, self._dialer.patience)
        return report

    @property
    def _is_socks5(self) -> bool:
        return self._speaks is _socks5

    @property
    def _exits_here(self) -> bool:
        """Was it seen to reach this machine, where nothing stands in the way?

        Being on loopback is not enough: `ssh -D` and others leave the net at another machine.
        """
        return self.report.works and self._destinations.here

    def _note(self, subject: str, finding: Finding) -> None:
        self.report.findings[subject] = finding

    # ------------------------------------------------------------ whether it answers at all

    def _reach(self) -> None:
        self._say("greeting")
        report = self.report

        def greeting() -> Dialogue[None]:
            report.connect_time = monotonic() - self._dialer.started
            if not self._is_socks5:
                # There is none, but a dialogue says something.
                yield Send()
                return
            methods = [v5.NO_AUTHENTICATION]
            if self._proxy.username is not None:
                methods.append(v5.USERNAME_PASSWORD)
            sent = monotonic()
            self._method = yield from offer(bytes(methods))
            report.reply_time = monotonic() - sent

        try:
            with self._dialer.talk(greeting()) as (sock, _):
                self._here, self._there = ends_of(sock)
        except SocksError as err:
            unreached = report.connect_time is None
            self._note("reachable", Finding(NO, _words(err)) if unreached else YES_INDEED)
            raise
        self._note("reachable", YES_INDEED)
        if len(self._path) == 1:
            # Its name has an address now.
            self._destinations = destinations(self._path, self._there, self._target, self._listener)
        for subject, why in _ABSENT.get(self._proxy.scheme, {}).items():
            self._note(subject, Finding(ABSENT, why))

    def _ask_for_methods(self) -> None:
        self._say("methods")
        for name, number in METHOD_NUMBERS.items():
            self._note(f"method_{name}", self._whether_it_picks(number))

    def _whether_it_picks(self, method: int) -> Finding:
        try:
            picked = self._dialer.ask(offer(bytes([method])))
        except ProxyClosed:
            # It answered the greeting of before.
            return Finding(NO, "it hangs up on that offer")
        except SocksError as err:
            return Finding(UNKNOWN, str(err))
        if picked in (method, v5.NO_ACCEPTABLE_METHODS):
            return YES_INDEED if picked == method else Finding(NO)
        return Finding(UNKNOWN, f"it picks method {picked}, never offered")

    # ------------------------------------------------------------ CONNECT

    def _connect(self) -> None:
        """Raises: SocksError: nothing else needs to be asked."""
        self._say("CONNECT")
        destination = self._destinations.plain
        finding, err = self._try(destination)
        if finding.verdict == UNKNOWN and not isinstance(err, ProxyTimeout) and self._reach_us():
            finding, err = YES_INDEED, None
        self._note("connect", finding)
        if finding.verdict != YES:
            self.report.error = finding.why
            if finding.verdict == UNKNOWN and not destination.certain:
                self.report.error += f"; {HINT_TARGET}"
        if isinstance(err, AuthenticationFailed | ProtocolError | ProxyTimeout):
            raise err

    def _reach_us(self) -> bool:
        """Does it reach a listener at the address that it sees us at? That is the destination then."""
        found = self._destinations
        if found.plain.certain or found.here or any(map(speaks, self._path[:-1])):
            return False
        try:
            ours = self._listener.also_at(self._here)
        except OSError:
            # A link-local address, which needs a scope.
            return False
        reached = self._try(ours)[0].verdict == YES
        if reached:
            self._destinations = replace(found, plain=ours)
        return reached

    def _try(self, destination: Destination) -> tuple[Finding, SocksError | None]:
        """Ask for ``destination``; return also what went wrong before it was granted."""
        granted = False

        def tunnel() -> Dialogue[bytes]:
            nonlocal granted
            yield from self._speaks(self._proxy, v5.CONNECT, destination.endpoint)
            granted = True
            return (yield from exchange(destination))

        where = f"asked for {destination.endpoint}"
        certain = destination.certain or self._exits_here
        try:
            with self._dialer.talk(tunnel()) as (sock, heard):
                if not destination.size:
                    outcome = what_comes(sock)
                    if outcome == "":
                        return Finding(NO, f"granted, but then it hung up ({where})"), None
                    if outcome is None and self._grants_the_impossible():
                        why = "granted, but so is what is impossible: name a destination that speaks first"
                        return Finding(UNKNOWN, f"{why} ({where})"), None
        except SocksError as err:
            if granted:
                return Finding(NO if certain else UNKNOWN, f"granted, but then: {err} ({where})"), None
            why = f"{err} ({where})" if isinstance(err, Rejected) else _words(err)
            return Finding(_weigh(err, certain), why), err
        if not heard.startswith(destination.hears):
            return Finding(UNKNOWN, f"granted, but another server answered ({where})"), None
        return YES_INDEED, None

    def _grants_the_impossible(self) -> bool:
        """Does it grant a connection that cannot be, as one does that grants before it connects?"""
        nowhere = NO_PORT if self._proxy.scheme == "socks4" else NO_NAME
        try:
            self._dialer.ask(self._speaks(self._proxy, v5.CONNECT, nowhere))
        except SocksError:
            return False
        self._grants_anything = True
        return True

    def _ask_for_more(self) -> None:
        questions = {
            "names": self._by_name,
            "ipv6": self._by_ipv6,
            "udp": self._associate,
            "bind": self._bind,
            "pipelining": self._fly,
            "resolve": self._resolve,
            "half_close": self._half_close,
        }
        for subject, ask in questions.items():
            if self.report.findings[subject].verdict != ABSENT:
                self._say(SUBJECTS[subject])
                self._note(subject, ask())

    def _by_name(self) -> Finding:
        return self._try(self._destinations.name)[0]

    def _by_ipv6(self) -> Finding:
        ipv6 = self._destinations.ipv6
        return Finding(UNKNOWN, "this machine has no ::1 to ask for") if ipv6 is None else self._try(ipv6)[0]

    # ------------------------------------------------------------ UDP

    def _associate(self) -> Finding:
        unspecified = Endpoint("::" if ":" in self._here else "0.0.0.0", 0)
        try:
            with self._dialer.talk(self._speaks(self._proxy, v5.UDP_ASSOCIATE, unspecified)) as (_, relay):
                if len(self._path) > 1:
                    return Finding(UNKNOWN, "granted; datagrams are tried only without other hops")
                return self._relayed(self._seen_from_here(relay))
        except SocksError as err:
            return Finding(_weigh(err, certain=True), _words(err))

    def _relayed(self, relay: Endpoint) -> Finding:
        """Send a datagram through ``relay`` to a socket of our own, and one back."""
        if relay.port == 0:
            return Finding(NO, "granted, but with a relay at port 0")
        if packed(relay.host) is None:
            return Finding(UNKNOWN, f"granted, with a relay that is a name: {relay}")
        near_family = socket.AF_INET6 if ":" in relay.host else socket.AF_INET
        far_family = socket.AF_INET6 if ":" in self._here else socket.AF_INET
        secret = os.urandom(SECRET_SIZE)
        with (
            socket.socket(far_family, socket.SOCK_DGRAM) as far,
            socket.socket(near_family, socket.SOCK_DGRAM) as near,
        ):
            try:
                # Only on the address that the proxy sees us at, and only until the secret arrives.
                far.bind((self._here, 0))
                near.connect((relay.host, relay.port))
                destination = Endpoint(*far.getsockname()[:2])
                heard = self._there_and_back(near, [far], destination, secret)
                if heard == "":
                    self._note("udp_names", self._relayed_by_name(near, far, destination.port))
            except OSError as err:
                return Finding(UNKNOWN, f"granted, but its relay {relay}: {err.strerror or err}")
            own = Endpoint(*near.getsockname()[:2])
        if heard == "":
            return YES_INDEED
        return Finding(NO if self._exits_here else UNKNOWN, f"granted, but {heard}{self._with_port(own)}")

    def _relayed_by_name(self, near: socket.socket, far: socket.socket, port: int) -> Finding:
        """The same, to a name of this machine: where that is not loopback, it has none that a proxy knows."""
        if not self._exits_here:
            return Finding(UNKNOWN, "this machine has no name that it could be asked for")
        with ExitStack() as stack:
            fars = [far]
            try:
                # A proxy may take "localhost" for either.
                other = socket.AF_INET if far.family == socket.AF_INET6 else socket.AF_INET6
                fars.append(stack.enter_context(socket.socket(other, socket.SOCK_DGRAM)))
                fars[-1].bind(("127.0.0.1" if other == socket.AF_INET else "::1", port))
            except OSError:
                # No IPv6 on this machine, or the port is taken there: then by the other address.
                fars[1:] = []
            heard = self._there_and_back(near, fars, Endpoint("localhost", port), os.urandom(SECRET_SIZE))
        return Finding(NO, heard) if heard else YES_INDEED

    def _with_port(self, own: Endpoint) -> str:
        """Would it relay if the request told our port, as RFC 1928 has it (hpsockd)? A remark, or "".

        The port has been another socket's, just now: the kernel gives it to no other so soon.
        """
        secret = os.urandom(SECRET_SIZE)
        family = socket.AF_INET6 if ":" in own.host else socket.AF_INET
        far_family = socket.AF_INET6 if ":" in self._here else socket.AF_INET
        try:
            with (
                socket.socket(far_family, socket.SOCK_DGRAM) as far,
                socket.socket(family, socket.SOCK_DGRAM) as near,
            ):
                far.bind((self._here, 0))
                near.bind((own.host, own.port))
                dialogue = self._speaks(self._proxy, v5.UDP_ASSOCIATE, own)
                with self._dialer.talk(dialogue) as (_, bound):
                    relay = self._seen_from_here(bound)
                    near.connect((relay.host, relay.port))
                    destination = Endpoint(*far.getsockname()[:2])
                    if self._there_and_back(near, [far], destination, secret) == "":
                        return "; it does when the request tells the port that they come from"
        except (SocksError, OSError):
            # It is no remark then.
            pass
        return ""

    def _there_and_back(
        self, near: socket.socket, fars: list[socket.socket], destination: Endpoint, secret: bytes
    ) -> str:
        """What went wrong, or ""."""
        patience = self._dialer.patience / DATAGRAMS
        near.settimeout(patience)
        for _ in range(DATAGRAMS):
            near.send(pack_header(destination) + secret)
            try:
                ready, _, _ = select(fars, (), (), patience)
                if not ready:
                    continue
                data, relay = ready[0].recvfrom(1 << 16)
                if data != secret:
                    continue
                ready[0].sendto(secret, relay)
                answer = near.recv(1 << 16)
                if answer[unpack_header(answer).size :] == secret:
                    return ""
            except TimeoutError:
                continue
            except ProtocolError as err:
                return f"what came back is {err}"
        return f"no datagram came through its relay to {destination} and back"

    # ------------------------------------------------------------ BIND

    def _bind(self) -> Finding:
        # The peer that may connect: this machine; any, where another hop is to connect.
        unspecified = Endpoint("0.0.0.0", 0)
        caller = Endpoint(PEER if self._here == "127.0.0.1" else self._here, 0)
        if len(self._path) > 1:
            caller = unspecified
        secret = os.urandom(SECRET_SIZE)
        bound = unspecified
        trouble = ""

        def listening() -> Dialogue[bytes]:
            nonlocal bound, trouble
            bound = self._seen_from_here((yield from self._speaks(self._proxy, v5.BIND, caller)))
            trouble = f"granted, but no connection to {bound} came through"
            if bound.host == PEER:
                trouble = "granted, but"
                raise SocksError("it listens at the address of the peer, where that is another machine")
            with ExitStack() as stack:
                peer = self._call(bound, caller, stack)
                trouble = f"granted, but the connection to {bound} did not come through"
                yield from v5.read_reply() if self._is_socks5 else v4.read_reply()
                send(peer, secret)
                return (yield Recv(SECRET_SIZE))

        try:
            heard = self._dialer.ask(listening())
        except SocksError as err:
            if not trouble:
                return Finding(_weigh(err, certain=True), _words(err))
            return Finding(NO if self._exits_here else UNKNOWN, f"{trouble}: {err}")
        return YES_INDEED if heard == secret else Finding(UNKNOWN, f"{trouble}: it was another peer's")

    def _call(self, bound: Endpoint, caller: Endpoint, stack: ExitStack) -> socket.socket:
        """Connect to ``bound`` as the peer ``caller`` would, or through the hops before the proxy."""
        if len(self._path) > 1:
            line = Dialer(self._path[:-1], self._dialer.patience)
            hop = self._path[-2]
            if not speaks(hop):
                raise SocksError(f"{hop.scheme} hops lead to one place alone")
            sock, _ = stack.enter_context(line.talk(_SPEAKS[hop.scheme](hop, v5.CONNECT, bound)))
            sock.settimeout(self._dialer.patience)
            return sock
        try:
            # Otherwise it would be from whichever address of this machine leads there, where the proxy may
            # wait for another (Dante does, with an external address).
            source = (caller.host, 0) if (":" in caller.host) == (":" in bound.host) else None
            sock = socket.create_connection((bound.host, bound.port), self._dialer.patience, source)
        except OSError as err:
            raise SocksError(err.strerror or str(err)) from err
        return stack.enter_context(sock)

    def _seen_from_here(self, bound: Endpoint) -> Endpoint:
        """0.0.0.0 in a reply is the address that the proxy was asked at."""
        if bound.host not in ("0.0.0.0", "::"):
            return bound
        return Endpoint(self._there if len(self._path) == 1 else self._proxy.host, bound.port)

    # ------------------------------------------------------------ RESOLVE

    def _resolve(self) -> Finding:
        """Ask what --dns tor asks, about an address, which Tor itself answers: nothing is looked up."""
        asked = Endpoint(RESOLVED, 0)
        try:
            said = self._dialer.ask(self._speaks(self._proxy, v5.RESOLVE, asked))
        except (Rejected, ProxyClosed):
            # Hardly any but Tor has it: no words about that for each proxy.
            return Finding(NO)
        except SocksError as err:
            return Finding(_weigh(err, certain=True), _words(err))
        if said.host != asked.host:
            return Finding(NO, f"it answers {said} for {asked.host}: --dns tor would be led astray")
        if said.port:
            return Finding(UNKNOWN, f"suspicious: its answer has the port {said.port}, and Tor's has none")
        return YES_INDEED

    # ------------------------------------------------------------ single flight

    def _fly(self) -> Finding:
        """Say at once what was said step by step before, and see whether the answers are the same.

        Not the impossible command alone: `ssh -D` hangs up on it either way. Only where no connection
        comes about is that the question.
        """
        destination = self._destinations.plain
        if self.report.works:
            command = v5.CONNECT
        elif self._is_socks5:
            command = IMPOSSIBLE
        else:
            return Finding(UNKNOWN, "no connection to try it with")
        data = b"" if command == IMPOSSIBLE else destination.says
        found = self._found_of_flight(command, destination, data)
        if found.verdict == YES:
            if data:
                self._note("data_behind", YES_INDEED)
        elif data and self._found_of_flight(command, destination).verdict == YES:
            self._note("data_behind", Finding(NO, f"{found.why}; not when the data wait for its answer"))
            return YES_INDEED
        return found

    @property
    def _soon(self) -> float:
        """Seconds after which an answer has got lost, when step by step it came in no time."""
        slow = FLIGHT_FACTOR * ((self.report.connect_time or 0.0) + (self.report.reply_time or 0.0))
        return min(self._dialer.patience, max(PIPELINING_SECONDS, slow))

    def _found_of_flight(self, command: int, destination: Destination, data: bytes = b"") -> Finding:
        """What comes of it all at once, with ``data`` or with those after the answer."""
        try:
            heard = self._dialer.ask(self._flight(command, destination, data), self._soon)
        except Rejected as err:
            return YES_INDEED if command == IMPOSSIBLE else Finding(NO, f"{err}, only when said at once")
        except ProxyTimeout:
            return Finding(NO, "no answer when all comes at once")
        except SocksError as err:
            if command == IMPOSSIBLE:
                return Finding(UNKNOWN, f"{_words(err)}, with an impossible request")
            return Finding(NO, f"{_words(err)}, only when said at once")
        return YES_INDEED if heard.startswith(destination.hears) else Finding(NO, "the data got lost")

    def _flight(self, command: int, destination: Destination, data: bytes) -> Dialogue[bytes]:
        proxy = self._proxy
        if proxy.scheme == "http":
            yield Send(http.pack_request(destination.endpoint, proxy.username, proxy.password) + data)
            yield from http.read_answer(proxy.username is not None)
        elif not self._is_socks5:
            names = proxy.scheme == "socks4a"
            request = v4.pack_request(command, destination.endpoint, proxy.username or b"", names)
            yield Send(request + data)
            yield from v4.read_reply()
        else:
            greeting = bytes([v5.VERSION, 1, self._method])
            credentials = b""
            if self._method == v5.USERNAME_PASSWORD:
                credentials = v5.pack_credentials(proxy.username or b"", proxy.password or b"")
            yield Send(greeting + credentials + v5.pack_request(command, destination.endpoint) + data)
            yield Recv(2)
            if credentials:
                yield Recv(2)
            yield from v5.read_reply()
        if command == v5.CONNECT and not data:
            return (yield from exchange(destination))
        return (yield Recv(destination.size)) if data and destination.size else b""

    # ------------------------------------------------------------ half-close

    def _half_close(self) -> Finding:
        """Say that no more comes (``shutdown(SHUT_WR)``), and see whether the answer to that comes back."""
        destination = self._destinations.plain
        if not self.report.works or destination.says != self._listener.secret:
            return Finding(UNKNOWN, "no server at the other end that answers to the end of what it is sent")
        parting = self._listener.parting
        try:
            with self._dialer.talk(self._speaks(self._proxy, v5.CONNECT, destination.endpoint)) as (sock, _):
                sock.settimeout(self._soon)
                sock.sendall(parting)
                sock.shutdown(socket.SHUT_WR)
                heard = sock.recv(SECRET_SIZE, socket.MSG_WAITALL)
        except TimeoutError:
            return Finding(NO, "no answer after the end of what was sent")
        except OSError as err:
            return Finding(NO, f"after the end of what was sent: {err.strerror or err}")
        except SocksError as err:
            return Finding(UNKNOWN, _words(err))
        return (
            YES_INDEED if heard == parting else Finding(NO, "the answer to the end of what was sent is lost")
        )


# ---------------------------------------------------------------- dialogues


def offer(methods: bytes) -> Dialogue[int]:
    """Offer ``methods``; return which of them the proxy picks, and do nothing of it."""
    yield Send(bytes([v5.VERSION, len(methods)]) + methods)
    version, picked = yield Recv(2)
    if version != v5.VERSION:
        raise ProtocolError(v5.not_socks(v5.VERSION, bytes([version, picked])))
    return picked


def exchange(destination: Destination) -> Dialogue[bytes]:
    """Say through the tunnel what ``destination`` wants to hear; return its answer."""
    if not destination.size:
        return b""
    yield Send(destination.says)
    return (yield Recv(destination.size))


def ends_of(sock: socket.socket) -> tuple[str, str]:
    """The addresses of a connection, ours and theirs."""
    try:
        return sock.getsockname()[0], sock.getpeername()[0]
    except OSError as err:
        # It has been reset, after its answer.
        raise ProxyClosed("the proxy hung up after its answer") from err


def send(sock: socket.socket, data: bytes) -> None:
    try:
        sock.sendall(data)
    except OSError as err:
        raise SocksError(err.strerror or str(err)) from err


def what_comes(sock: socket.socket) -> str | None:
    """What soon comes from the other end: "data", which stay in the socket, "" for its end, or None."""
    poller = poll()
    poller.register(sock, POLLIN)
    if not poller.poll(int(SETTLED_SECONDS * 1000)):
        return None
    try:
        return "data" if sock.recv(1, socket.MSG_PEEK) else ""
    except ConnectionError:
        return ""


def _socks4(proxy: Proxy, command: int, destination: Endpoint) -> Dialogue[Endpoint]:
    return v4.request(command, destination, proxy.username, names=proxy.scheme == "socks4a")


def _socks5(proxy: Proxy, command: int, destination: Endpoint) -> Dialogue[Endpoint]:
    return v5.request(command, destination, proxy.username, proxy.password)


def _http(proxy: Proxy, command: int, destination: Endpoint) -> Dialogue[Endpoint]:
    assert command == v5.CONNECT, "the others are absent"
    return http.connect(destination, proxy.username, proxy.password)


# Without the hop's name in their errors, unlike ``tunnel.chain``: a report says it once.
_SPEAKS: dict[str, Callable[[Proxy, int, Endpoint], Dialogue[Endpoint]]] = {
    "socks4": _socks4,
    "socks4a": _socks4,
    "socks5": _socks5,
    "socks5h": _socks5,
    "http": _http,
}

# By scheme, and why.
_ABSENT = {
    "socks4": {
        **{f"method_{method}": "SOCKS4 has no methods" for method in METHODS},
        "names": "SOCKS4 has no names; socks4a does",
        "ipv6": "SOCKS4 has no IPv6",
        "udp": "SOCKS4 has no UDP",
        "udp_names": "SOCKS4 has no UDP",
    },
    "socks4a": {
        **{f"method_{method}": "SOCKS4 has no methods" for method in METHODS},
        "ipv6": "SOCKS4 has no IPv6",
        "udp": "SOCKS4 has no UDP",
        "udp_names": "SOCKS4 has no UDP",
    },
    "http": {
        **{f"method_{method}": "HTTP has no methods of SOCKS" for method in METHODS},
        "udp": "HTTP CONNECT has no UDP",
        "udp_names": "HTTP CONNECT has no UDP",
        "bind": "HTTP CONNECT has no BIND",
        "resolve": "HTTP CONNECT has no RESOLVE",
    },
}


def _words(err: SocksError) -> str:
    # The hop's name is in front where it was one of those before.
    return "it hangs up instead of answering" if str(err).startswith("the proxy hung up") else str(err)


# These are about the proxy, wherever the destination is: replies of SOCKS5, statuses of HTTP.
_ITS_OWN_LIMITS = (v5.COMMAND_NOT_SUPPORTED, v5.ADDRESS_TYPE_NOT_SUPPORTED, 405, 501)


def _weigh(err: SocksError, certain: bool) -> str:
    """What a failure tells: nothing for sure, when the destination may not be there."""
    if isinstance(err, Rejected):
        return NO if certain or err.code in _ITS_OWN_LIMITS else UNKNOWN
    if isinstance(err, ProxyClosed):
        # How `ssh -D` refuses.
        return NO if certain else UNKNOWN
    return NO if isinstance(err, AuthenticationFailed | ProtocolError) else UNKNOWN
