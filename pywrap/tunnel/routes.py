"""Where traffic goes: the verdict on each destination.

In this order; the first that applies decides.

1. A placeholder is replaced by the name that it stands for, and a name of /etc/hosts by its address.
2. Rewrites (``--dnat``): the address and port are replaced by others.
3. The address and port of a first hop: direct, for programs that use the same proxy themselves. After a
   program has connected to a first hop itself, its UDP to that host (ports from 1024) is direct too, unless
   a rule (4) says otherwise: that is the proxy's relay.
4. Rules: the first that matches says direct, block, or which chain. A rule for everything (``*``) does not
   apply to this machine, unless ``loopback`` is "proxy". The address of a direct name is direct; but if a
   name that is not direct has it too, the connection is refused, since the program may want either.
5. This machine, that is loopback addresses and those of its interfaces: as ``loopback`` says. But direct
   datagrams to port 53 here are refused, because a name server would send the question outside.
6. Everything else: through the default chain.

Answers from the far side of a chain (RESOLVE, DNS) are addresses too. None of them may make a connection
direct: ``why_not_from_beyond``.

``udp`` decides whether datagrams go through the chain that the steps choose, directly, or are refused.
Multicast and broadcast are refused unless a rule says direct: no proxy can deliver them, and a program that
sends them means the local network.
"""

from __future__ import annotations

import errno
from _socket import inet_aton

from pywrap.config.matching import Destinations
from pywrap.config.settings import TO_BLOCK, TO_DIRECT
from pywrap.frozen import frozen, replace
from pywrap.socks.wire import Endpoint, for_ipv6_socket, is_loopback, packed, unmapped_bytes, unpacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pywrap.config.settings import Rule, Settings
    from pywrap.tunnel.first_hop import FirstHop
    from pywrap.tunnel.placeholders import Hosts, Placeholders

DIRECT = "direct"
TUNNEL = "tunnel"
REFUSE = "refuse"

# How many addresses to remember the names of: a crawler with direct names resolves any number of them.
MOST = 1 << 16
_MOST_VERDICTS = 1 << 10

# The first port that is no service's (RFC 6335 section 6): a UDP relay is there, and a name server is not.
_EPHEMERAL = 1024

_UNSPECIFIED = (bytes(4), bytes(16))


@frozen
class Verdict:
    """What to do with one destination.

    ``kind``: DIRECT, TUNNEL or REFUSE. ``destination``: what to ask the last proxy for. ``literal``: the
    address to connect to, when a direct destination was given as a name of /etc/hosts or was rewritten; else
    "". ``reason``: why it is refused, with ``errno``, or why it is direct. ``chain``: the name of the chain,
    "" for the default one.
    """

    kind: str
    destination: Endpoint
    literal: str = ""
    errno: int = 0
    reason: str = ""
    chain: str = ""


class Routes:
    """The settings, compiled.

    ``firsts``: the first hops of all chains. ``is_own(address)``: whether the 4 or 16 bytes are at present
    the address of an interface of this machine.
    """

    def __init__(
        self,
        settings: Settings,
        firsts: Sequence[FirstHop],
        names: Placeholders,
        hosts: Hosts,
        is_own: Callable[[bytes], bool] = lambda address: False,
    ) -> None:
        self._loopback = settings.loopback
        self._udp = settings.udp
        self._firsts = firsts
        self._names = names
        self._hosts = hosts
        self._rules = [_Compiled(rule) for rule in settings.rules]
        # Whether there are rules for names, so that the names of addresses must be remembered.
        self.by_name = any(rule.name for rule in settings.rules)
        self._rewrites = [
            (packed(each.address), each.port, packed(each.new_address), each.new_port)
            # As in proxychains, rewrites with a port come before those without.
            for each in sorted(settings.rewrites, key=lambda each: not each.port)
        ]
        # The names that each address was found for; the address that was noted last is at the end.
        self._resolved: dict[bytes, tuple[str, ...]] = {}
        # Names of /etc/hosts. Names that share an address there mean the same host.
        self._of_hosts: set[str] = set()
        # The verdicts on the names that were met last, by name, port and whether it was a datagram's.
        self._on_names: dict[tuple[str, int, bool], Verdict] = {}
        self._is_own = is_own
        # Addresses of first hops that name servers behind the chains have also returned for other names.
        self._told: set[bytes] = set()
        self._first_hops_at: set[tuple[bytes, int]] = set()
        self._used_directly: set[bytes] = set()
        self._name_servers = settings.dns == "local"
        # With `dns local`, no name has a placeholder: each address of that network comes from the resolver.
        names.is_real = (lambda address: True) if self._name_servers else self._is_real

    def verdict(self, host: str, port: int, ipv6: bool = False, datagram: bool = False) -> Verdict:
        """Decide about ``host``, a literal as the socket module takes it, or a name, and ``port``.

        ``ipv6``: whether the socket is an AF_INET6 one; it chooses among the addresses of a name of
        /etc/hosts. ``datagram``: whether it is a UDP socket.
        """
        address = address_of(host)
        if address is None:
            known = self.local_addresses(host, ipv6)
            if not known:
                return self._verdict_on_name(host, port, datagram)
            self.remember(host, known, from_hosts=True)
            verdict = self._verdict_on_address(address_of(known[0]) or b"", port, datagram)
            return verdict if verdict.literal else replace(verdict, literal=known[0])
        name = self._names.name_of(address)
        if name == "":
            return _refuse(
                Endpoint(host, port),
                errno.EHOSTUNREACH,
                "a placeholder address that stands for no name here",
            )
        if name is not None:
            return self._verdict_on_name(name, port, datagram)
        verdict = self._verdict_on_address(address, port, datagram)
        if ipv6 and verdict.literal:
            verdict = replace(verdict, literal=for_ipv6_socket(verdict.literal))
        if "%" in host and verdict.kind == TUNNEL:
            return _refuse(
                verdict.destination, errno.EHOSTUNREACH, "an address with a scope means nothing to a proxy"
            )
        return verdict

    def is_own(self, address: bytes) -> bool:
        """Whether ``address`` is at present one of this machine's interfaces, and that makes a difference."""
        if self._loopback == "proxy" or self._names.name_of(address) is not None:
            return False
        return self._is_own(address)

    def leads_to_first_hop(self, host: str, port: int) -> bool:
        """Whether ``host`` is the literal of a first hop and ``port`` is its port, whatever the rules say."""
        address = address_of(host)
        return address is not None and self._is_first_hop(address, port)

    def why_not_from_beyond(self, address: bytes) -> str:
        """Why ``address`` may not be the answer to a look-up through a chain; "" when it may.

        It may not when a connection to it would be direct. The port is not known yet, so any port counts. A
        rule for everything is ignored, since it treats all addresses alike.
        """
        if self._names.name_of(address) is not None:
            return "a placeholder address"
        if has_many_receivers(address):
            return "a multicast or broadcast address"
        if _is_link_local(address):
            return "a link-local address"
        for old, old_port, new, _ in self._rewrites:
            if address == old and new is not None:
                if why := self._why_direct(new):
                    return f"rewritten to {why}"
                if not old_port:
                    return ""
        return self._why_direct(address)

    def _why_direct(self, address: bytes) -> str:
        if self._loopback != "proxy" and self._is_here(address):
            return "this machine"
        for name in self._resolved.get(address, ()):
            if self._may_be_direct(name):
                return f"the address of {name}, which is direct"
        for rule in self._rules:
            if rule.takes_address(address):
                if rule.to == TO_DIRECT and not rule.is_for_everything:
                    return f"in a direct network (`{rule}`)"
                if rule.takes_all_ports:
                    return ""
        return ""

    def why_no_peer(self, peer: Endpoint, place: Endpoint) -> str:
        """Why ``peer``, named by a proxy that listens at ``place`` (BIND), is not accepted; "" when it is.

        A peer with a direct address is not: the program might take it for a host of its own network, or
        connect back to it. 0.0.0.0 and :: are accepted: the proxy does not say which host the peer is. Where
        the proxy itself listens on this machine, a peer of this machine is accepted as well.
        """
        address = address_of(peer.host)
        if address is None:
            return "a name that is known here" if self.knows(peer.host) else ""
        if address in _UNSPECIFIED:
            return ""
        if self._is_here(address) and self._is_here(address_of(place.host) or b""):
            return ""
        return self.why_not_from_beyond(address)

    def is_from_beyond(self, endpoint: Endpoint) -> bool:
        """Whether a datagram from ``endpoint`` may arrive through a chain: one to it would go through one."""
        address = address_of(endpoint.host)
        if address is None or self._names.name_of(address) is not None:
            return False
        return self._verdict_on_address(address, endpoint.port, True).kind == TUNNEL

    def knows(self, name: str) -> bool:
        """Whether ``name`` is a literal, is known without a resolver, or may be resolved on this machine."""
        return address_of(name) is not None or bool(self.local_addresses(name)) or self.resolves_here(name)

    def used_directly(self, destination: Endpoint) -> None:
        """Note a direct connection of the program; one to a first hop makes UDP to that host direct too."""
        address = address_of(destination.host)
        if address is not None and self._is_first_hop(address, destination.port):
            self._used_directly.add(address)

    def local_addresses(self, name: str, ipv6: bool | None = None) -> list[str]:
        """The literals of a name that is known without a resolver: IPv6, IPv4 (False) or both (None)."""
        found = self._hosts.addresses(name)
        return found if ipv6 is None else [literal for literal in found if (":" in literal) == ipv6]

    def resolves_here(self, name: str) -> bool:
        """Whether the local resolver may be asked for ``name``: it may be direct, or is a first hop's."""
        name = name.lower().rstrip(".")
        return any(first.proxy.host == name for first in self._firsts) or self._may_be_direct(name)

    def _may_be_direct(self, name: str) -> bool:
        """Whether ``name`` is direct at some port."""
        return _is_direct_somewhere(rule for rule in self._rules if rule.takes_name(name))

    def is_blocked(self, name: str) -> bool:
        """Whether ``name`` is refused at every port, so that its address is of no use."""
        name = name.lower().rstrip(".")
        rule = next((rule for rule in self._rules if rule.takes_name(name)), None)
        return rule is not None and rule.to == TO_BLOCK and rule.takes_all_ports

    def may_join(self, group: bytes) -> bool:
        """Whether datagrams to ``group`` are direct at some port, so that a socket here may join it."""
        return _is_direct_somewhere(
            rule for rule in self._rules if rule.takes_address(group) and rule.takes_datagrams
        )

    def learn_from_beyond(self, name: str, literals: list[str]) -> None:
        """Note the addresses that the far side has returned for ``name``.

        If one is a first hop's, the program connects there to reach ``name``, so it is not direct any more.
        """
        for literal in literals:
            address = address_of(literal)
            if address is not None and self._is_a_first_hop(address):
                self._told.add(address)
        self.remember(name, literals)

    def learn_from_resolver(self, name: str, literals: list[str]) -> None:
        """Note the addresses that the local resolver has returned for ``name``.

        Raises:
            LookupFailed: an address is a placeholder of another name already.
        """
        for literal in literals:
            if not self._name_servers:
                self._names.claim(name, address_of(literal) or b"")
        self.remember(name, literals)

    def remember(self, name: str, literals: list[str], from_hosts: bool = False) -> None:
        """Note the addresses of ``name``: the rules for the name apply to these addresses as well."""
        name = name.lower().rstrip(".")
        if from_hosts and self.by_name:
            self._of_hosts.add(name)
        ports = [first.proxy.port for first in self._firsts if first.proxy.host == name]
        for literal in literals:
            address = address_of(literal)
            if address is None:
                continue
            self._first_hops_at.update((address, port) for port in ports)
            if self.by_name:
                names = self._resolved.pop(address, ())
                self._resolved[address] = names if name in names else (*names, name)
        if len(self._resolved) > MOST:
            # Half of them at once: making the list for each new address would be slow. There is no lock:
            # another thread may do the same, so an entry may be gone already.
            for old in list(self._resolved)[: -MOST // 2]:
                self._resolved.pop(old, None)

    def _verdict_on_name(self, name: str, port: int, datagram: bool) -> Verdict:
        # The settings alone decide about a name, so the verdict never changes.
        known = self._on_names.get((name, port, datagram))
        if known is None:
            if len(self._on_names) >= _MOST_VERDICTS:
                self._on_names.clear()
            known = self._on_names[name, port, datagram] = self._judge_name(name, port, datagram)
        return known

    def _judge_name(self, name: str, port: int, datagram: bool) -> Verdict:
        destination = Endpoint(name, port)
        if self._rules:
            rule = self._match(None, (name.lower().rstrip("."),), port, datagram)
            if rule is not None:
                return self._obey(rule, destination, datagram)
        return self._through(destination, "", datagram)

    def _verdict_on_address(self, address: bytes, port: int, datagram: bool) -> Verdict:
        for old, old_port, new, new_port in self._rewrites:
            if address == old and old_port in (0, port) and new is not None:
                verdict = self._verdict_on_final(new, new_port or port, datagram)
                return replace(verdict, literal=verdict.destination.host)
        return self._verdict_on_final(address, port, datagram)

    def _verdict_on_final(self, address: bytes, port: int, datagram: bool) -> Verdict:
        destination = Endpoint(unpacked(address), port)
        if not datagram and address not in self._told and self._is_first_hop(address, port):
            return Verdict(DIRECT, destination, reason="the first proxy")
        names = self._resolved.get(address, ())
        rule = self._match(address, names, port, datagram) if self._rules else None
        if rule is not None and rule.to == TO_DIRECT and not rule.takes_address(address):
            other = self._name_that_is_not_direct(names, port, datagram)
            if other and self._is_here(address):
                rule = None
            elif other:
                why = f"it is the address of {other} as well, which is not direct (`{rule}`)"
                return _refuse(destination, errno.EHOSTUNREACH, why)
        if datagram and has_many_receivers(address) and (rule is None or rule.to != TO_DIRECT):
            why = f"no proxy delivers multicast and broadcast (--direct {destination.host} to allow it)"
            return _refuse(destination, errno.EPERM, why)
        if rule is not None:
            return self._obey(rule, destination, datagram)
        if datagram and port >= _EPHEMERAL and address in self._used_directly:
            return Verdict(DIRECT, destination, reason="the relay of a proxy that the program uses itself")
        # With `loopback proxy` this machine is like any other host, so its addresses need not be looked up.
        if self._loopback != "proxy" and self._is_here(address):
            if self._loopback == "direct":
                if port == 53 and not self._name_servers:
                    # systemd-resolved and dnsmasq forward the questions they get here to servers outside.
                    why = f"a name server here would ask outside (--direct {destination.host}:53 to allow it)"
                    return _refuse(destination, errno.EPERM, why)
                return Verdict(DIRECT, destination, reason="this machine")
            return _refuse(destination, errno.EPERM, "loopback is denied (--loopback)")
        return self._through(destination, "", datagram)

    def _match(
        self, address: bytes | None, names: tuple[str, ...], port: int, datagram: bool
    ) -> _Compiled | None:
        """The first rule for a destination that has an ``address``, ``names``, or both; None without one."""
        spared: bool | None = None if self._loopback != "proxy" and address is not None else False
        for rule in self._rules:
            if rule.is_for_everything and spared is not False:
                if spared is None:
                    spared = self._is_here(address or b"")
                if spared:
                    continue
            if rule.takes_port(port, datagram) and (
                any(rule.takes_name(name) for name in names)
                or (address is not None and rule.takes_address(address))
            ):
                return rule
        return None

    def _obey(self, rule: _Compiled, destination: Endpoint, datagram: bool) -> Verdict:
        if rule.to == TO_DIRECT:
            return Verdict(DIRECT, destination, reason=str(rule))
        if rule.to == TO_BLOCK:
            return _refuse(destination, errno.EPERM, f"blocked (`{rule}`)")
        return self._through(destination, rule.to, datagram)

    def _through(self, destination: Endpoint, chain: str, datagram: bool) -> Verdict:
        if datagram and self._udp == "block":
            return _refuse(destination, errno.EPERM, "UDP is blocked (--udp)")
        if datagram and self._udp == "direct":
            return Verdict(DIRECT, destination, reason="--udp direct")
        return Verdict(TUNNEL, destination, chain=chain)

    def _name_that_is_not_direct(self, names: tuple[str, ...], port: int, datagram: bool) -> str:
        """One of ``names`` that came from a resolver, not /etc/hosts, and is not direct; "" without one."""
        for name in names:
            rule = self._match(None, (name,), port, datagram)
            if name not in self._of_hosts and (rule is None or rule.to != TO_DIRECT):
                return name
        return ""

    def _is_here(self, address: bytes) -> bool:
        # Connecting to 0.0.0.0 or :: reaches this machine.
        return address in _UNSPECIFIED or is_loopback(address) or self._is_own(address)

    def _is_real(self, address: bytes) -> bool:
        """Whether an address of the placeholders' network is also in use as a real one."""
        return (
            self._is_a_first_hop(address)
            or bool(self._hosts.names(address))
            # torsocks and proxychains have placeholders of 127.0.0.0/8, all of which are this machine's own.
            or (not is_loopback(address) and self._is_own(address))
        )

    def _is_a_first_hop(self, address: bytes) -> bool:
        return any(first.is_at(address, first.proxy.port) for first in self._firsts)

    def _is_first_hop(self, address: bytes, port: int) -> bool:
        if self._first_hops_at and (address, port) in self._first_hops_at:
            return True
        # A loop is faster than any(), and this runs for each destination.
        for first in self._firsts:
            if port == first.proxy.port and first.is_at(address, port):
                return True
        return False


class _Compiled(Destinations):
    """A rule, compiled to match destinations quickly, and where it leads (``to``)."""

    __slots__ = ("_text", "to")

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule)
        self.to = rule.to
        self._text = f"route {rule.protocol}{' ' if rule.protocol else ''}{rule} {rule.to}"

    def __str__(self) -> str:
        return self._text


def _is_direct_somewhere(rules: Iterable[_Compiled]) -> bool:
    """Whether ``rules``, all about one destination, make it direct at some port."""
    for rule in rules:
        if rule.to == TO_DIRECT:
            return True
        if rule.takes_all_ports:
            # This rule applies to every port, so the rules after it never apply.
            return False
    return False


# The latest results of ``address_of``: one connect() calls it several times for its host.
_asked: dict[str, bytes | None] = {}
_MOST_ASKED = 1 << 10


def address_of(host: str) -> bytes | None:
    """The 4 or 16 bytes, in network order, of what the C library takes for a literal; None for a name.

    Includes the old forms of inet_aton(3), such as ``127.1`` and ``0x7f000001``. An IPv4-mapped IPv6
    address (RFC 4291 section 2.5.5.2) gives 4 bytes, those of the IPv4 address.
    """
    try:
        return _asked[host]
    except KeyError:
        address = _address_of(host)
    if len(_asked) >= _MOST_ASKED:
        _asked.clear()
    _asked[host] = address
    return address


def _address_of(host: str) -> bytes | None:
    if host == "":
        # The socket module takes "" for INADDR_ANY, which connects to this machine.
        return bytes(4)
    if host == "<broadcast>":
        return b"\xff\xff\xff\xff"
    address = packed(host.partition("%")[0])
    if address is None:
        if not host[0].isdigit() or not host.isascii() or " " in host:
            return None
        try:
            return inet_aton(host)
        except OSError:
            return None
    return unmapped_bytes(address)


def _refuse(destination: Endpoint, number: int, why: str) -> Verdict:
    return Verdict(REFUSE, destination, "", number, f"{destination} refused: {why}")


def has_many_receivers(address: bytes) -> bool:
    """Whether these 4 or 16 bytes are multicast (RFC 5771, RFC 4291 section 2.7) or 255.255.255.255."""
    if len(address) == 16:
        return address[0] == 0xFF
    return 224 <= address[0] <= 239 or address == b"\xff\xff\xff\xff"


def _is_link_local(address: bytes) -> bool:
    # RFC 3927; RFC 4291 section 2.5.6: fe80::/10.
    return address[:2] == b"\xa9\xfe" if len(address) == 4 else address[0] == 0xFE and address[1] >> 6 == 2
