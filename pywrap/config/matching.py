"""Rules compiled to match destinations quickly, for the client's routes and for the server's rules."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_pton

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Rule


class Network:
    """A network, given as ``parse_network`` writes it, ``10.0.0.0/8``, or as one literal."""

    __slots__ = ("_mask", "_network", "_size")

    def __init__(self, text: str) -> None:
        literal, _, length = text.partition("/")
        address = inet_pton(AF_INET6 if ":" in literal else AF_INET, literal)
        self._size = len(address)
        bits = self._size * 8
        self._mask = (1 << bits) - (1 << (bits - int(length or bits)))
        self._network = int.from_bytes(address, "big") & self._mask

    def takes(self, address: bytes) -> bool:
        """Whether ``address``, 4 or 16 bytes in network order, is in this network."""
        return self._size == len(address) and int.from_bytes(address, "big") & self._mask == self._network


class Destinations:
    """The destinations of ``rule``. Names to match are in lower case, without a dot at their end."""

    __slots__ = ("_name", "_network", "_ports", "_protocol", "is_for_everything")

    def __init__(self, rule: Rule) -> None:
        self._name = rule.name
        self._network = Network(rule.network) if rule.network else None
        self.is_for_everything = not rule.name and not rule.network
        self._ports = (rule.port, rule.last_port or rule.port) if rule.port else (0, 0xFFFF)
        self._protocol = rule.protocol

    @property
    def takes_all_ports(self) -> bool:
        """Whether the rule matches every port of both protocols."""
        return self._ports == (0, 0xFFFF) and not self._protocol

    @property
    def takes_datagrams(self) -> bool:
        """Whether the rule can match datagrams."""
        return self._protocol != "tcp"

    @property
    def is_for_addresses(self) -> bool:
        """Whether the rule is for a network, so that a name must be resolved to match it."""
        return self._network is not None

    def takes_port(self, port: int, datagram: bool) -> bool:
        """Whether the rule matches ``port`` of TCP, or with ``datagram`` of UDP."""
        low, high = self._ports
        return low <= port <= high and self._protocol in ("", "udp" if datagram else "tcp")

    def takes_name(self, name: str) -> bool:
        """Whether the rule matches ``name``, in lower case and without a dot at its end."""
        if self._name.startswith("*."):
            return name.endswith(self._name[1:])
        return self.is_for_everything or name == self._name

    def takes_address(self, address: bytes) -> bool:
        """Whether the rule matches ``address``, 4 or 16 bytes in network order."""
        return self.is_for_everything if self._network is None else self._network.takes(address)
