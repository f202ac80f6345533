"""Where traffic goes: the verdict on each destination.

In this order; the first that applies decides.

1. A placeholder is the name that it stands for, and a name of /etc/hosts is its address.
2. Rewrites: an address is another one from here on.
3. The address and port of a first hop: direct, for programs that already use the same proxy. Once one does,
   also its datagrams to that address, after the rules: the relay is there, at some port of no service.
4. Rules: the first that matches says whether it is direct, blocked, or for which chain. Those for everything
   do not mean loopback, unless ``loopback`` sends it through the proxies.
5. Loopback: as ``loopback`` says. Direct is not meant for port 53, whose server would ask outside.
6. Everything else: through the default chain.

A datagram that is for a chain goes there, directly or nowhere, as ``udp`` says. One to many receivers is
refused unless a rule says direct: no proxy can deliver it, and who sends it means this network.
"""

from __future__ import annotations

import errno
from _socket import inet_aton

from pywrap.config.matching import Destinations
from pywrap.config.settings import TO_BLOCK, TO_DIRECT
from pywrap.frozen import frozen, replace
from pywrap.socks.wire import Endpoint, packed, unpacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pywrap.config.settings import Rule, Settings
    from pywrap.tunnel.dial import FirstHop
    from pywrap.tunnel.names import Hosts, Names

DIRECT = "direct"
TUNNEL = "tunnel"
REFUSE = "refuse"

# Addresses to remember the names of: a crawler that resolves them here asks for any number.
MOST = 1 << 16

# Below are the ports of services, a name server's above all (RFC 6335 section 6).
_EPHEMERAL = 1024

_V4_MAPPED = bytes(10) + b"\xff\xff"
_UNSPECIFIED = (bytes(4), bytes(16))
_LOOPBACK_6 = bytes(15) + b"\1"


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
    """The settings, compiled."""

    def __init__(self, settings: Settings, firsts: Sequence[FirstHop], names: Names, hosts: Hosts) -> None:
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
        self._first_hops_at: set[tuple[bytes, int]] = set()
        self._used_directly: set[bytes] = set()
        self._name_servers = settings.dns == "local"

    def verdict(self, host: str, port: int, ipv6: bool = False, datagram: bool = False) -> Verdict:
        """Decide about ``host``, a literal as the socket module takes it, or a name.

        ``ipv6`` is whether the socket is of that family, for names of /etc/hosts that have both.
        """
        address = address_of(host)
        if address is None:
            known = self.local_addresses(host, ipv6)
            if not known:
                return self._verdict_on_name(host, port, datagram)
            self.remember(host, known)
            verdict = self._verdict_on_address(address_of(known[0]) or b"", port, datagram)
            return verdict if verdict.literal else replace(verdict, literal=known[0])
        name = self._names.name_of(address)
        if name == "":
            return _refuse(
                Endpoint(host, port),
                errno.EHOSTUNREACH,
                "a placeholder address of another process, or too old",
            )
        if name is not None:
            return self._verdict_on_name(name, port, datagram)
        verdict = self._verdict_on_address(address, port, datagram)
        if ipv6 and verdict.literal and ":" not in verdict.literal:
            verdict = replace(verdict, literal=f"::ffff:{verdict.literal}")
        if "%" in host and verdict.kind == TUNNEL:
            return _refuse(
                verdict.destination, errno.EHOSTUNREACH, "an address with a scope means nothing to a proxy"
            )
        return verdict

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
        if any(first.proxy.host == name for first in self._firsts):
            return True
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

    def remember(self, name: str, literals: list[str]) -> None:
        """Note what was found for ``name``: its rules are for these addresses as well."""
        name = name.lower().rstrip(".")
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
        if not datagram and self._is_first_hop(address, port):
            return Verdict(DIRECT, destination)
        rule = self._match(address, self._resolved.get(address, ()), port, datagram)
        if datagram and has_many_receivers(address) and (rule is None or rule.to != TO_DIRECT):
            why = f"no proxy delivers multicast and broadcast (--direct {destination.host} to allow it)"
            return _refuse(destination, errno.EPERM, why)
        if rule is not None:
            return self._obey(rule, destination, datagram)
        if datagram and port >= _EPHEMERAL and address in self._used_directly:
            return Verdict(DIRECT, destination)
        if _is_loopback(address):
            if self._loopback == "direct":
                if port == 53 and not self._name_servers:
                    # systemd-resolved, dnsmasq: what they are asked for, they ask outside.
                    why = f"a name server here would ask outside (--direct {destination.host}:53 to allow it)"
                    return _refuse(destination, errno.EPERM, why)
                return Verdict(DIRECT, destination)
            if self._loopback == "deny":
                return _refuse(destination, errno.EPERM, "loopback is denied (--loopback)")
        return self._through(destination, "", datagram)

    def _match(
        self, address: bytes | None, names: tuple[str, ...], port: int, datagram: bool
    ) -> _Compiled | None:
        """The first rule for a destination, which has an address or names, and can have both."""
        spared = address is not None and self._loopback != "proxy" and _is_loopback(address)
        for rule in self._rules:
            if rule.is_for_everything and spared:
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

    def _is_first_hop(self, address: bytes, port: int) -> bool:
        return (address, port) in self._first_hops_at or any(
            first.is_at(address, port) for first in self._firsts
        )


class _Compiled(Destinations):
    """A rule as numbers, and where it leads."""

    __slots__ = ("_text", "to")

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule)
        self.to = rule.to
        self._text = f"route {rule.protocol}{' ' if rule.protocol else ''}{rule} {rule.to}"

    def __str__(self) -> str:
        return self._text


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
    if address[:12] == _V4_MAPPED:
        return address[12:]
    return address


def _refuse(destination: Endpoint, number: int, why: str) -> Verdict:
    return Verdict(REFUSE, destination, "", number, f"{destination} refused: {why}")


def has_many_receivers(address: bytes) -> bool:
    """Is this a multicast address (RFC 5771, RFC 4291 section 2.7), or broadcast on whatever network?"""
    if len(address) == 16:
        return address[0] == 0xFF
    return 224 <= address[0] <= 239 or address == b"\xff\xff\xff\xff"


def _is_loopback(address: bytes) -> bool:
    # Connecting to 0.0.0.0 or :: reaches this machine.
    return (
        address[0] == 127 if len(address) == 4 and any(address) else address in (*_UNSPECIFIED, _LOOPBACK_6)
    )
