"""The names to which an association sends: each is resolved once, and datagrams wait meanwhile.

A name keeps its address as long as that works, since its peer may keep state for this client. Until an
address has answered, the last datagram is kept: if the network reports that nothing listens there, as
for ``localhost`` with ::1 before 127.0.0.1, the datagram is sent to the next address.
"""

from __future__ import annotations

import errno
from time import monotonic

from pywrap.server.udp.outbound import address_of, words_for
from pywrap.server.udp.sockaddr import pack_sockaddr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.server.access_rules import Judge
    from pywrap.server.record import Traffic
    from pywrap.server.tcp.dial import Answer, Resolver, SockAddr
    from pywrap.server.threads import Job
    from pywrap.socks.wire import Endpoint

# For one association: how many names are remembered, and how many of them may be resolved at a time.
NAMES = 256
PENDING = 8

# How many bytes of datagrams may wait for names; and how much each datagram counts beyond its payload.
WAITING = 256 * 1024
OVERHEAD = 256

# A name without an address, or with none that works, is asked for again after so many seconds.
AGAIN = 5.0

DENIED = "to where the rules do not allow it"
UNRESOLVED = "to a name that cannot be resolved"
TOO_MUCH = "while too much waited for names"

# Errors that are about the address, so that another address of the name may work.
_NO_WAY = {
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.EAFNOSUPPORT,
    errno.EADDRNOTAVAIL,
    errno.ECONNREFUSED,
    errno.EACCES,
    errno.EPERM,
    errno.EINVAL,
}


class PeerName:
    """A name. ``addresses``: None until it is resolved, and empty when it cannot be.

    ``worn``: whether none of the addresses works. ``settled``: whether the address in use has answered.
    """

    __slots__ = ("addresses", "at", "denied", "job", "kept", "settled", "since", "waiting", "worn")

    def __init__(self) -> None:
        self.addresses: list[SockAddr] | None = None
        self.at = 0
        self.since = 0.0
        self.worn = False
        self.denied = False
        self.settled = False
        self.waiting: list[bytes] = []
        self.job: Job | None = None
        self.kept = b""


class PeerNames:
    """The names of one association. ``send(address, payload)`` sends a datagram, or raises OSError."""

    __slots__ = ("_judge", "_names", "_pending", "_resolver", "_send", "_traffic", "_untried", "_waiting")

    def __init__(
        self,
        resolver: Resolver,
        traffic: Traffic,
        send: Callable[[SockAddr, bytes | memoryview], None],
        judge: Judge | None = None,
    ) -> None:
        self._judge = judge
        self._resolver = resolver
        self._traffic = traffic
        self._send: Callable[[SockAddr, bytes | memoryview], None] | None = send
        # By host and port; the name that was used latest comes last.
        self._names: dict[Endpoint, PeerName] = {}
        self._pending = 0
        self._waiting = 0
        # For names with several addresses: those to which datagrams were sent, and which have not answered.
        self._untried: dict[bytes, PeerName] = {}

    def send(self, endpoint: Endpoint, payload: bytes | memoryview) -> bool:
        """Send to a name, now or when its address is known, or drop the datagram; True for a new name.

        Nothing has been sent to a new name when this returns.
        """
        known = name = self._names.pop(endpoint, None)
        if name is None or name.worn and name.since + AGAIN <= monotonic():
            if name is not None:
                self._forget(name)
            if self._pending >= PENDING:
                self._traffic.drop(TOO_MUCH)
                return False
            name = self._ask(endpoint)
        self._names[endpoint] = name
        if name.addresses is None:
            self._wait(name, bytes(payload))
        elif name.addresses:
            self._deliver(name, payload)
        else:
            self._traffic.drop(DENIED if name.denied else UNRESOLVED)
        return known is None

    def heard(self, sockaddr: bytes) -> None:
        """Note that an address has answered: its name keeps it."""
        if self._untried and (name := self._untried.pop(sockaddr, None)) is not None:
            name.settled, name.kept = True, b""

    def refused(self, sockaddr: bytes) -> None:
        """Note that nothing listens at an address: its name tries the next one."""
        if (name := self._untried.pop(sockaddr, None)) is not None and self._move_on(name):
            self._deliver(name, name.kept)

    def close(self) -> None:
        """Drop the datagrams that wait, and cancel all look-ups."""
        self._send = None
        for name in self._names.values():
            if name.job is not None:
                self._resolver.cancel(name.job)
            if name.waiting:
                self._traffic.drop(UNRESOLVED, len(name.waiting))
        self._names.clear()
        self._untried.clear()

    # ------------------------------------------------------------ resolving

    def _ask(self, endpoint: Endpoint) -> PeerName:
        if len(self._names) >= NAMES:
            oldest = next(each for each, name in self._names.items() if name.addresses is not None)
            self._forget(self._names.pop(oldest))
        name = PeerName()
        if "\\" in endpoint.host:
            # A backslash stands for a byte beyond ASCII (``v5.read_endpoint``), which no name has in its IDNA
            # form.
            name.addresses, name.worn, name.since = [], True, monotonic()
            return name
        if self._judge is not None and self._judge.name(endpoint.host, endpoint.port):
            name.addresses, name.worn, name.since = [], True, monotonic()
            name.denied = True
            return name
        self._pending += 1
        name.job = self._resolver.resolve(
            endpoint.host, endpoint.port, lambda answer: self._resolved(name, endpoint, answer)
        )
        return name

    def _wait(self, name: PeerName, payload: bytes) -> None:
        if self._waiting + len(payload) + OVERHEAD > WAITING:
            self._traffic.drop(TOO_MUCH)
            return
        self._waiting += len(payload) + OVERHEAD
        name.waiting.append(payload)

    def _resolved(self, name: PeerName, endpoint: Endpoint, answer: Answer) -> None:
        name.job = None
        self._pending -= 1
        name.since = monotonic()
        found = [] if isinstance(answer, OSError) else _usable(answer)
        judge = self._judge
        name.addresses = [each for each in found if judge is None or not judge.address(endpoint, each[1][0])]
        name.denied = bool(found) and not name.addresses
        name.worn = not name.addresses
        waiting, name.waiting = name.waiting, []
        for payload in waiting:
            self._waiting -= len(payload) + OVERHEAD
            if name.addresses:
                self._deliver(name, payload)
            else:
                self._traffic.drop(DENIED if name.denied else UNRESOLVED)

    # ------------------------------------------------------------ addresses

    def _deliver(self, name: PeerName, payload: bytes | memoryview) -> None:
        assert self._send is not None and name.addresses
        while True:
            address = name.addresses[name.at]
            try:
                self._send(address, payload)
            except OSError as err:
                if err.errno in _NO_WAY and self._move_on(name):
                    continue
                self._traffic.drop(words_for(err))
                return
            if not name.settled and len(name.addresses) > 1:
                name.kept = bytes(payload)
                self._untried[pack_sockaddr(*address)] = name
            return

    def _move_on(self, name: PeerName) -> bool:
        """Use the next address; False when there is none, and the first one is next again."""
        assert name.addresses
        name.settled = False
        name.at = (name.at + 1) % len(name.addresses)
        name.worn = name.worn or name.at == 0
        return name.at != 0

    def _forget(self, name: PeerName) -> None:
        if name.addresses:
            sockaddr = pack_sockaddr(*name.addresses[name.at])
            if self._untried.get(sockaddr) is name:
                del self._untried[sockaddr]


def _usable(answer: list[SockAddr]) -> list[SockAddr]:
    """The addresses in ``answer`` that are of single hosts; IPv4-mapped ones as IPv4."""
    usable = []
    for address in answer:
        host, port, *scope = address[1]
        plain = address_of(host, port)
        if plain is not None:
            # The zone of a link-local address is only in the resolver's answer.
            usable.append(address if scope and scope[-1] else plain)
    return usable
