"""Where traffic goes: the verdict on each destination.

In this order; the first that applies decides.

1. A placeholder is the name that it stands for, and a name of /etc/hosts is its address.
2. Rewrites: an address is another one from here on.
3. The address and port of a first hop: direct, for programs that already use the same proxy. Once one does,
   also its datagrams to that address, after the rules: the relay is there, at some port of no service.
4. Rules: the first that matches says whether it is direct, blocked, or for which chain. Those for everything
   do not mean this machine, unless ``loopback`` sends that through the proxies. An address that a direct name
   has is direct, unless another name has it as well that is not: which of them is meant cannot be told.
5. This machine, its loopback addresses and those of its interfaces: as ``loopback`` says. Direct is not meant
   for port 53, whose server would ask outside.
6. Everything else: through the default chain.

The far side of a chain answers with addresses, too, and none of them may choose the direct path
(``why_not_from_beyond``).

A datagram that is for a chain goes there, directly or nowhere, as ``udp`` says. One to many receivers is
refused unless a rule says direct: no proxy can deliver it, and who sends it means this network.
"""

from __future__ import annotations

import errno
from _socket import inet_aton

from pywrap.config.settings import TO_BLOCK, TO_DIRECT
from pywrap.frozen import frozen, replace
from pywrap.socks.wire import Endpoint, for_ipv6_socket, is_loopback, packed, unmapped, unpacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pywrap.config.settings import Rule, Settings
    from pywrap.tunnel.first_hop import FirstHop
    from pywrap.tunnel.placeholders import Hosts, Placeholders

DIRECT = "direct"
TUNNEL = "tunnel"
REFUSE = "refuse"

# Addresses to remember the names of: a crawler that resolves them here asks for any number.
MOST = 1 << 16

# Below are the ports of services, a name server's above all (RFC 6335 section 6).
_EPHEMERAL = 1024

_UNSPECIFIED = (bytes(4), bytes(16))


@frozen
class Verdict:
    """What to do with one destination.

    ``destination``: what to ask the last proxy for. ``literal``: set when a direct destination was given
    as a name of /etc/hosts or was rewritten, so that no resolver has to be asked. ``errno`` and ``reason``:
    why it is refused. ``chain``: the name of the chain to go through, the default chain's being "".
    """

    kind: str
    destination: Endpoint
    literal: str = ""
    errno: int = 0
    reason: str = ""
    chain: str = ""


class Routes:
    """The settings, compiled. ``is_own``: is an address one of this machine's interfaces now?"""

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
        # Are there rules for which it matters what an address is called?
        self.by_name = any(rule.name for rule in settings.rules)
        self._rewrites = [
            (packed(each.address), each.port, packed(each.new_address), each.new_port)
            # As in proxychains, those with a port before those without.
            for each in sorted(settings.rewrites, key=lambda each: not each.port)
        ]
        # The names of each address that was found, the one that was noted last at the end.
        self._resolved: dict[bytes, tuple[str, ...]] = {}
        # Names of /etc/hosts: to have one address there is to be one host.
        self._of_hosts: set[str] = set()
        self._is_own = is_own
        # Addresses of first hops that the far side has told, for other names.
        self._told: set[bytes] = set()
        self._first_hops_at: set[tuple[bytes, int]] = set()
        self._used_directly: set[bytes] = set()
        self._name_servers = settings.dns == "local"
        # With `dns local`, no name has a placeholder: whatever is of that network was told by the resolver.
        names.is_real = (lambda address: True) if self._name_servers else self._is_real

    def verdict(self, host: str, port: int, ipv6: bool = False, datagram: bool = False) -> Verdict:
        """Decide about ``host``, a literal as the socket module takes it, or a name.

        ``ipv6`` is whether the socket is of that family, for names of /etc/hosts that have both.
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

    def leads_to_first_hop(self, host: str, port: int) -> bool:
        """Is the kernel told to connect to a first hop, whatever else its address may stand for?"""
        address = address_of(host)
        return address is not None and self._is_first_hop(address, port)

    def why_not_from_beyond(self, address: bytes) -> str:
        """What is wrong with ``address`` as an answer of the far side; "" when it goes through a chain.

        At whichever port: that is not known yet. A rule for everything does not count, as it takes each
        address alike.
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

    def is_from_beyond(self, endpoint: Endpoint) -> bool:
        """Can a datagram come from ``endpoint`` through a chain? Its answer goes that way as well then."""
        address = address_of(endpoint.host)
        if address is None or self._names.name_of(address) is not None:
            return False
        return self._verdict_on_address(address, endpoint.port, True).kind == TUNNEL

    def knows(self, name: str) -> bool:
        """Is ``name`` one that is answered here, or that may be connected to directly?"""
        return address_of(name) is not None or bool(self.local_addresses(name)) or self.resolves_here(name)

    def used_directly(self, destination: Endpoint) -> None:
        """The program connects to ``destination`` itself: if that is a first hop, its relay is there, too."""
        address = address_of(destination.host)
        if address is not None and self._is_first_hop(address, destination.port):
            self._used_directly.add(address)

    def local_addresses(self, name: str, ipv6: bool | None = None) -> list[str]:
        """The literals of a name that is known without asking, of one family or of both (None)."""
        found = self._hosts.addresses(name)
        return found if ipv6 is None else [literal for literal in found if (":" in literal) == ipv6]

    def resolves_here(self, name: str) -> bool:
        """May the local resolver be asked for ``name``? For direct names and the first hops' own."""
        name = name.lower().rstrip(".")
        return any(first.proxy.host == name for first in self._firsts) or self._may_be_direct(name)

    def _may_be_direct(self, name: str) -> bool:
        """Is ``name`` direct, at some port?"""
        for rule in self._rules:
            if rule.takes_name(name):
                if rule.to == TO_DIRECT:
                    return True
                if rule.takes_all_ports:
                    return False
        return False

    def is_blocked(self, name: str) -> bool:
        """Is ``name`` refused whatever its port? Then its address is of no use."""
        name = name.lower().rstrip(".")
        rule = next((rule for rule in self._rules if rule.takes_name(name)), None)
        return rule is not None and rule.to == TO_BLOCK and rule.takes_all_ports

    def may_join(self, group: bytes) -> bool:
        """May datagrams to ``group`` leave directly, at some port? Then this machine may be a member."""
        for rule in self._rules:
            if rule.takes_address(group) and rule.takes_datagrams:
                if rule.to == TO_DIRECT:
                    return True
                if rule.takes_all_ports:
                    return False
        return False

    def learn_from_beyond(self, name: str, literals: list[str]) -> None:
        """Note what the far side has told of ``name``: a first hop at one of these is not what is meant."""
        for literal in literals:
            address = address_of(literal)
            if address is not None and self._is_a_first_hop(address):
                self._told.add(address)
        self.remember(name, literals)

    def learn_from_resolver(self, name: str, literals: list[str]) -> None:
        """Note what the local resolver has told of ``name``.

        Raises:
            LookupFailed: an address stands for another name already.
        """
        for literal in literals:
            if not self._name_servers:
                self._names.claim(name, address_of(literal) or b"")
        self.remember(name, literals)

    def remember(self, name: str, literals: list[str], from_hosts: bool = False) -> None:
        """Note what was found for ``name``: its rules are for these addresses as well."""
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
            # Half of them at once, as a copy costs; any thread may be here, so each may be gone already.
            for old in list(self._resolved)[: -MOST // 2]:
                self._resolved.pop(old, None)

    def _verdict_on_name(self, name: str, port: int, datagram: bool) -> Verdict:
        destination = Endpoint(name, port)
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
            return Verdict(DIRECT, destination)
        names = self._resolved.get(address, ())
        rule = self._match(address, names, port, datagram)
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
            return Verdict(DIRECT, destination)
        # Through the proxies it goes then, like all others: the kernel need not be asked.
        if self._loopback != "proxy" and self._is_here(address):
            if self._loopback == "direct":
                if port == 53 and not self._name_servers:
                    # systemd-resolved, dnsmasq: what they are asked for, they ask outside.
                    why = f"a name server here would ask outside (--direct {destination.host}:53 to allow it)"
                    return _refuse(destination, errno.EPERM, why)
                return Verdict(DIRECT, destination)
            return _refuse(destination, errno.EPERM, "loopback is denied (--loopback)")
        return self._through(destination, "", datagram)

    def _match(
        self, address: bytes | None, names: tuple[str, ...], port: int, datagram: bool
    ) -> _Compiled | None:
        """The first rule for a destination, which has an address or names, and can have both."""
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
            return Verdict(DIRECT, destination)
        if rule.to == TO_BLOCK:
            return _refuse(destination, errno.EPERM, f"blocked (`{rule}`)")
        return self._through(destination, rule.to, datagram)

    def _through(self, destination: Endpoint, chain: str, datagram: bool) -> Verdict:
        if datagram and self._udp == "block":
            return _refuse(destination, errno.EPERM, "UDP is blocked (--udp)")
        if datagram and self._udp == "direct":
            return Verdict(DIRECT, destination)
        return Verdict(TUNNEL, destination, chain=chain)

    def _name_that_is_not_direct(self, names: tuple[str, ...], port: int, datagram: bool) -> str:
        """One of ``names`` that a resolver gave an address for, and that goes through a chain; or ""."""
        for name in names:
            rule = self._match(None, (name,), port, datagram)
            if name not in self._of_hosts and (rule is None or rule.to != TO_DIRECT):
                return name
        return ""

    def _is_here(self, address: bytes) -> bool:
        # Connecting to 0.0.0.0 or :: reaches this machine.
        return address in _UNSPECIFIED or is_loopback(address) or self._is_own(address)

    def _is_real(self, address: bytes) -> bool:
        """Of the placeholders' network, and something else has given it?"""
        return (
            self._is_a_first_hop(address)
            or bool(self._hosts.names(address))
            # proxychains has placeholders of 127.0.0.0/8, all of which are own.
            or (not is_loopback(address) and self._is_own(address))
        )

    def _is_a_first_hop(self, address: bytes) -> bool:
        return any(first.is_at(address, first.proxy.port) for first in self._firsts)

    def _is_first_hop(self, address: bytes, port: int) -> bool:
        return (address, port) in self._first_hops_at or any(
            first.is_at(address, port) for first in self._firsts
        )


class _Compiled:
    """A rule as numbers."""

    __slots__ = (
        "_mask",
        "_name",
        "_network",
        "_ports",
        "_protocol",
        "_size",
        "_text",
        "is_for_everything",
        "to",
    )

    def __init__(self, rule: Rule) -> None:
        self.to = rule.to
        self._text = f"route {rule.protocol}{' ' if rule.protocol else ''}{rule} {rule.to}"
        self._name = rule.name
        self.is_for_everything = not rule.name and not rule.network
        self._ports = (rule.port, rule.last_port or rule.port) if rule.port else (0, 0xFFFF)
        self._protocol = rule.protocol
        self._size = self._network = self._mask = 0
        if rule.network:
            literal, _, length = rule.network.partition("/")
            address = packed(literal)
            assert address is not None, f"not checked by its reader: {rule.network}"
            self._size = len(address)
            bits = self._size * 8
            self._mask = (1 << bits) - (1 << (bits - int(length or bits)))
            self._network = int.from_bytes(address, "big") & self._mask

    def __str__(self) -> str:
        return self._text

    @property
    def takes_all_ports(self) -> bool:
        return self._ports == (0, 0xFFFF) and not self._protocol

    @property
    def takes_datagrams(self) -> bool:
        return self._protocol != "tcp"

    def takes_port(self, port: int, datagram: bool) -> bool:
        low, high = self._ports
        return low <= port <= high and self._protocol in ("", "udp" if datagram else "tcp")

    def takes_name(self, name: str) -> bool:
        if self._name.startswith("*."):
            return name.endswith(self._name[1:])
        return self.is_for_everything or name == self._name

    def takes_address(self, address: bytes) -> bool:
        if self._size != len(address):
            return self.is_for_everything
        return int.from_bytes(address, "big") & self._mask == self._network


def address_of(host: str) -> bytes | None:
    """The 4 or 16 bytes of what the C library takes for a literal; None for a name.

    Includes the old forms of inet_aton(3), such as ``127.1`` and ``0x7f000001``. An IPv4 address in
    IPv6 clothes is IPv4.
    """
    if host == "":
        # INADDR_ANY, which connects to this machine.
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
    return unmapped(address)


def _refuse(destination: Endpoint, number: int, why: str) -> Verdict:
    return Verdict(REFUSE, destination, "", number, f"{destination} refused: {why}")


def has_many_receivers(address: bytes) -> bool:
    """Is this a multicast address (RFC 5771, RFC 4291 section 2.7), or broadcast on whatever network?"""
    if len(address) == 16:
        return address[0] == 0xFF
    return 224 <= address[0] <= 239 or address == b"\xff\xff\xff\xff"


def _is_link_local(address: bytes) -> bool:
    # RFC 3927; RFC 4291 section 2.5.6: fe80::/10.
    return address[:2] == b"\xa9\xfe" if len(address) == 4 else address[0] == 0xFE and address[1] >> 6 == 2
