"""Which requests are allowed: by rules, of which the first that matches decides, and by a guard without them.

A rule is written ``allow|deny [from NETWORK] [user NAME] [COMMAND] [[to] DESTINATION]``. Each part is one
item, or several with commas between; a part that is missing means everything::

    allow from 10.0.0.0/8 user alice,bob connect,udp *.corp.example:443,10.1.0.0/16
    deny connect to *:25
    deny from 192.0.2.0/24

Commands are connect, bind, udp and resolve; destinations are those of the client's routes
(``pywrap.config.route_rules``). A destination that is a name is judged twice: as this name, before it is
looked up, and as each address that it leads to, so that no owner of a name can choose which host is reached
(DNS rebinding). A guarded address (``GUARDED``) is allowed only by a rule that names it, not by one for
everything.
"""

from __future__ import annotations

from pywrap.config.host import parse_network
from pywrap.config.matching import Destinations, Network
from pywrap.config.route_rules import parse_rule
from pywrap.config.words import suggest
from pywrap.errors import ConfigError
from pywrap.frozen import frozen
from pywrap.socks import v5
from pywrap.socks.wire import packed, unmapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pywrap.socks.wire import Endpoint

CONNECT = "connect"
UDP = "udp"
WORDS = {
    v5.CONNECT: CONNECT,
    v5.BIND: "bind",
    v5.UDP_ASSOCIATE: UDP,
    v5.RESOLVE: "resolve",
    v5.RESOLVE_PTR: "resolve",
}
COMMANDS = tuple(dict.fromkeys(WORDS.values()))

FORM = "it is written `allow|deny [from NETWORK] [user NAME] [connect|bind|udp|resolve] [DESTINATION]`"

# Addresses whose services often trust every client, as only near ones can reach them: this host (RFC 1122),
# private networks (RFC 1918, 4193), links (RFC 3927, 4291), a provider's own (RFC 6598). Cloud machines get
# their keys from 169.254.169.254.
GUARDED = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
    *("192.168.0.0/16", "::/96", "fc00::/7", "fe80::/10", "fec0::/10"),
)

# IPv6 addresses that lead to an IPv4 one, and where in their 16 bytes that is (RFC 6052, RFC 3056).
_NAT64 = bytes.fromhex("0064ff9b") + bytes(8)
_6TO4 = bytes.fromhex("2002")


@frozen
class AccessRule:
    """One rule. In each part one item must match; an empty part matches everything."""

    allow: bool
    clients: tuple[str, ...] = ()  # networks, normalized
    users: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    destinations: tuple[Destinations, ...] = ()
    text: str = ""
    origin: str = ""

    def __str__(self) -> str:
        return f"{self.origin}: {self.text}" if self.origin else self.text


@frozen
class Decision:
    """Whether a request is allowed. ``why``: the text of the rule that decides, or another reason."""

    allowed: bool
    why: str


def parse_access(verb: str, text: str, origin: str = "") -> AccessRule:
    """Read a rule: ``verb`` is ``allow`` or ``deny``, ``text`` the rest. ``origin``: its place, for messages.

    Raises:
        ConfigError: ``text`` is not in the form of a rule.
    """
    clients: list[str] = []
    users: list[str] = []
    commands: list[str] = []
    destinations: list[Destinations] = []
    words = text.split()
    while words:
        word = words.pop(0)
        if word in ("from", "user", "to"):
            if not words:
                raise ConfigError(f"nothing after `{word}`: `{verb} {text}`", FORM)
            items = words.pop(0).split(",")
            if word == "from":
                clients += map(_parse_client, items)
            elif word == "user":
                users += items
            else:
                destinations += _parse_destinations(items)
        elif set(word.split(",")) <= set(COMMANDS):
            commands += word.split(",")
        elif words or destinations:
            hint = suggest(word, ("from", "user", "to", *COMMANDS), "words")
            raise ConfigError(f"unknown word `{word}` in `{verb} {text}`", f"{hint}; {FORM}")
        else:
            destinations += _parse_destinations(word.split(","))
    return AccessRule(
        verb == "allow",
        tuple(clients),
        tuple(users),
        tuple(commands),
        tuple(destinations),
        f"{verb} {' '.join(text.split())}".strip(),
        origin,
    )


def _parse_client(text: str) -> str:
    address, slash, mask = text.partition("/")
    return parse_network(address, mask if slash else None)


def _parse_destinations(items: Iterable[str]) -> list[Destinations]:
    return [Destinations(parse_rule(item, "")) for item in items]


class Guard:
    """Refuses addresses that no rule names, for a server without users that other machines can reach.

    ``is_own(address, port)``: whether a connection there would come to this server itself.
    """

    def __init__(self, is_own: Callable[[bytes, int], bool]) -> None:
        self._networks = [Network(text) for text in GUARDED]
        self._is_own = is_own

    def reason(self, address: bytes, port: int) -> str:
        """Why an address is guarded, "" when it is not."""
        if any(network.takes(address) for network in self._networks):
            return "a private, loopback or link-local address, and clients are anonymous"
        inner = address[12:] if address[:12] == _NAT64 else address[2:6] if address[:2] == _6TO4 else b""
        if len(address) == 16 and inner and self.reason(inner, port):
            return "leads to a private, loopback or link-local address, and clients are anonymous"
        return "this server itself" if self._is_own(address, port) else ""


class _Compiled:
    __slots__ = ("_clients", "_commands", "_destinations", "_users", "rule")

    def __init__(self, rule: AccessRule) -> None:
        self.rule = rule
        self._clients = [Network(text) for text in rule.clients]
        self._users = frozenset(user.encode() for user in rule.users)
        self._commands = frozenset(rule.commands)
        self._destinations = rule.destinations

    def is_for(self, party: Party) -> bool:
        return (
            (not self._commands or party.command in self._commands)
            and (not self._users or party.user in self._users)
            and (not self._clients or any(network.takes(party.address) for network in self._clients))
        )

    def matches(self, name: str, address: bytes | None, port: int, datagram: bool) -> bool | None:
        """Whether the rule matches; None: that depends on the address, which is not known yet."""
        unknown = False
        for each in self._destinations:
            if not each.takes_port(port, datagram):
                continue
            if name and each.takes_name(name) or address is not None and each.takes_address(address):
                return True
            unknown = unknown or address is None and each.is_for_addresses
        if not self._destinations:
            return True
        return None if unknown else False

    def names(self, name: str, address: bytes, port: int, datagram: bool) -> bool:
        """Whether the rule matches by an item that is not ``*``."""
        return any(
            not each.is_for_everything
            and each.takes_port(port, datagram)
            and (name != "" and each.takes_name(name) or each.takes_address(address))
            for each in self._destinations
        )

    @property
    def takes_every_destination(self) -> bool:
        return not self._destinations or any(
            each.is_for_everything and each.takes_all_ports for each in self._destinations
        )


@frozen
class Party:
    """The source of a request: the client's address, the authenticated user (b"": none), the command."""

    address: bytes
    user: bytes
    command: str


class Rules:
    """Decides by ``rules``, the first that matches, and then by ``guard``."""

    def __init__(self, rules: Sequence[AccessRule] = (), guard: Guard | None = None) -> None:
        self._rules = [_Compiled(rule) for rule in rules]
        self._guard = guard

    @property
    def are_none(self) -> bool:
        """Whether everything is allowed."""
        return not self._rules and self._guard is None

    def on_name(self, party: Party, name: str, port: int) -> Decision | None:
        """Judge a name before it is looked up; None: the decision depends on its addresses."""
        return self._decide(party, _plain(name), None, port)

    def on_address(self, party: Party, address: bytes, port: int, name: str = "") -> Decision:
        """Judge ``address``, packed, to which ``name`` leads; "" when the request has the address itself."""
        decision = self._decide(party, _plain(name), address, port)
        assert decision is not None, "all is known"
        return decision

    def on_command(self, party: Party) -> Decision:
        """Judge a command whose destinations come later (UDP ASSOCIATE)."""
        for each in self._rules:
            if each.is_for(party):
                if each.takes_every_destination:
                    return Decision(each.rule.allow, str(each.rule))
                if each.rule.allow:
                    # The rule allows at least one destination.
                    return Decision(True, str(each.rule))
        return Decision(True, "no rule is against it")

    def _decide(self, party: Party, name: str, address: bytes | None, port: int) -> Decision | None:
        datagram = party.command == UDP
        guarded = ""
        if self._guard is not None and address is not None and any(address):
            guarded = self._guard.reason(address, port)
        # The decisions of rules that depend on the address to which the name will lead.
        possible: set[bool] = set()
        for each in self._rules:
            if not each.is_for(party):
                continue
            matches = each.matches(name, address, port, datagram)
            if matches is False:
                continue
            allow = each.rule.allow
            if matches and allow and self._guard is not None:
                # A rule for ``*`` does not allow guarded addresses.
                if address is None and not each.names(name, b"", port, datagram):
                    matches = None
                elif guarded and address is not None and not each.names(name, address, port, datagram):
                    continue
            if matches is None:
                possible.add(allow)
            elif possible <= {allow}:
                return Decision(allow, str(each.rule))
            else:
                return None
        if guarded:
            return Decision(False, guarded)
        if address is None and (self._guard is not None or False in possible):
            return None
        return Decision(True, "no rule is against it")


class Judge:
    """The rules for one request. Methods return why something is refused, "" when it is allowed."""

    __slots__ = ("_party", "_rules")

    def __init__(self, rules: Rules, party: Party) -> None:
        self._rules = rules
        self._party = party

    def command(self) -> str:
        """Why the command itself is refused; "" when it is allowed."""
        return _reason(self._rules.on_command(self._party))

    def name(self, name: str, port: int) -> str:
        """Why ``name``, not looked up yet, is refused; "" when it is allowed, or its addresses decide."""
        return _reason(self._rules.on_name(self._party, name, port))

    def address(self, destination: Endpoint, address: str) -> str:
        """Why ``address``, which ``destination`` is or leads to, is refused; "" when it is allowed."""
        literal = packed(unmapped(address))
        assert literal is not None
        name = "" if packed(destination.host) is not None else destination.host
        return _reason(self._rules.on_address(self._party, literal, destination.port, name))


def _reason(decision: Decision | None) -> str:
    return "" if decision is None or decision.allowed else f"not allowed: {decision.why}"


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")
