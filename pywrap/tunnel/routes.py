"""Where traffic goes: the verdict on each destination.

In this order; the first that applies decides.

1. A placeholder is the name that it stands for, and a name of /etc/hosts is its address.
2. The address and port of the first hop: direct, for programs that already use the same proxy.
3. ``direct`` networks and names: direct.
4. Loopback: as ``loopback`` says. Direct is not meant for port 53, whose server would ask outside.
5. Everything else: through the chain.

A datagram that would have to go through the chain is refused: there is no UDP yet.
"""

from __future__ import annotations

import errno
from _socket import inet_aton

from pywrap.frozen import frozen
from pywrap.socks.wire import Endpoint, packed, unpacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Direct, Settings
    from pywrap.tunnel.dial import FirstHop
    from pywrap.tunnel.names import Hosts, Names

DIRECT = "direct"
TUNNEL = "tunnel"
REFUSE = "refuse"

_V4_MAPPED = bytes(10) + b"\xff\xff"
_UNSPECIFIED = (bytes(4), bytes(16))
_LOOPBACK_6 = bytes(15) + b"\1"


@frozen
class Verdict:
    """What to do with one destination.

    ``destination``: what to ask the last proxy for. ``literal``: set when a direct destination was given
    as a name of /etc/hosts, so that no resolver has to be asked. ``errno`` and ``reason``: why it is refused.
    """

    kind: str
    destination: Endpoint
    literal: str = ""
    errno: int = 0
    reason: str = ""
    chain: str = ""


class Routes:
    """The settings, compiled."""

    def __init__(self, settings: Settings, first: FirstHop, names: Names, hosts: Hosts) -> None:
        self._loopback = settings.loopback
        self._first = first
        self._names = names
        self._hosts = hosts
        self._networks = [_network(rule) for rule in settings.direct if rule.network]
        self._direct_names = [rule for rule in settings.direct if rule.name]
        # What the local resolver said for direct names (address to port, 0 for any), and for the first hop's.
        self._resolved: dict[bytes, int] = {}
        self._first_hop_at: set[bytes] = set()
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
            verdict = self._verdict_on_address(address_of(known[0]) or b"", port, datagram)
            return Verdict(verdict.kind, verdict.destination, known[0], verdict.errno, verdict.reason)
        name = self._names.name_of(address)
        if name == "":
            return _refuse(
                Endpoint(host, port),
                errno.EHOSTUNREACH,
                "a placeholder address of another process, or too old",
            )
        if name is not None:
            return self._verdict_on_name(name, port, datagram)
        if "%" in host and not self._is_direct(address, port):
            return _refuse(
                Endpoint(host, port), errno.EHOSTUNREACH, "an address with a scope means nothing to a proxy"
            )
        return self._verdict_on_address(address, port, datagram)

    def local_addresses(self, name: str, ipv6: bool | None = None) -> list[str]:
        """The literals of a name that is known without asking, of one family or of both (None)."""
        found = self._hosts.addresses(name)
        return found if ipv6 is None else [literal for literal in found if (":" in literal) == ipv6]

    def resolves_here(self, name: str) -> bool:
        """May the local resolver be asked for ``name``? For direct names and the first hop's own."""
        name = name.lower().rstrip(".")
        return name == self._first.proxy.host or any(_matches(rule, name) for rule in self._direct_names)

    def remember(self, name: str, literals: list[str]) -> None:
        """Note what the local resolver said for a direct name or the first hop's: it is direct as well."""
        name = name.lower().rstrip(".")
        ports = [rule.port for rule in self._direct_names if _matches(rule, name)]
        addresses = {address for literal in literals if (address := address_of(literal)) is not None}
        if ports:
            self._resolved.update(dict.fromkeys(addresses, min(ports)))
        if name == self._first.proxy.host:
            self._first_hop_at |= addresses

    def _verdict_on_name(self, name: str, port: int, datagram: bool) -> Verdict:
        destination = Endpoint(name, port)
        lowered = name.lower().rstrip(".")
        if any(_matches(rule, lowered) and rule.port in (0, port) for rule in self._direct_names):
            return Verdict(DIRECT, destination)
        return _through_chain(destination, datagram)

    def _verdict_on_address(self, address: bytes, port: int, datagram: bool) -> Verdict:
        destination = Endpoint(unpacked(address), port)
        if (not datagram and self._is_first_hop(address, port)) or self._is_direct(address, port):
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
        return _through_chain(destination, datagram)

    def _is_first_hop(self, address: bytes, port: int) -> bool:
        if address in self._first_hop_at and port == self._first.proxy.port:
            return True
        return self._first.is_at(address, port)

    def _is_direct(self, address: bytes, port: int) -> bool:
        if self._resolved.get(address, -1) in (0, port):
            return True
        number = int.from_bytes(address, "big")
        return any(
            size == len(address) and number & mask == network and only in (0, port)
            for size, network, mask, only in self._networks
        )


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


def _through_chain(destination: Endpoint, datagram: bool) -> Verdict:
    return Verdict(TUNNEL, destination)


def _is_loopback(address: bytes) -> bool:
    # Connecting to 0.0.0.0 or :: reaches this machine.
    return (
        address[0] == 127 if len(address) == 4 and any(address) else address in (*_UNSPECIFIED, _LOOPBACK_6)
    )


def _matches(rule: Direct, name: str) -> bool:
    if rule.name.startswith("*."):
        return name.endswith(rule.name[1:])
    return name == rule.name


def _network(rule: Direct) -> tuple[int, int, int, int]:
    """Size of the address in bytes, network, mask, port."""
    literal, _, length = rule.network.partition("/")
    address = packed(literal)
    assert address is not None, f"not checked by its reader: {rule.network}"
    bits = len(address) * 8
    mask = (1 << bits) - (1 << (bits - int(length or bits)))
    return len(address), int.from_bytes(address, "big") & mask, mask, rule.port
