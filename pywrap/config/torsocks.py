"""torsocks.conf, as torsocks 2.4 reads it: one proxy, which is Tor, and the traffic that may bypass it.

Names are resolved by Tor, except those below .onion, which get placeholders of ``OnionAddrRange``. As in
torsocks, UDP is refused; so are, unless the file allows them, connections to loopback, listening sockets that
other machines can reach, and IPv6 destinations. The defaults are those of torsocks: an empty file means Tor
at 127.0.0.1:9050.

An unknown directive has no effect, and of two lines for one directive the last counts: torsocks warns of the
former. Here there is a warning for both. Two things differ: more words than a directive takes are an error,
and so is a file without any directive of torsocks, which is of another tool.
"""

from __future__ import annotations

from pywrap.config.config_error import ConfigError
from pywrap.config.file_parser import FileParser, parse_lines, without_comment
from pywrap.config.host import is_address, parse_host, parse_port, without_brackets
from pywrap.config.settings import TO_BLOCK, Proxy, Rule
from pywrap.config.url import check_credentials
from pywrap.config.values import parse_placeholders
from pywrap.config.words import one_of, suggest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.config.partial_settings import PartialSettings

# The block of ``FileParser`` for the values of the directives; ``end`` makes settings of them.
BLOCK = "torsocks"

# The default of torsocks for OnionAddrRange.
ONION_ADDRESSES = "127.42.42.0/24"


def parse(data: bytes, source: str) -> PartialSettings:
    """Read the contents of a file; ``source`` is its name in messages.

    Raises:
        ConfigError: a line that is wrong.
    """
    return parse_lines(data, _Parser(source))


class _Parser(FileParser):
    def __init__(self, source: str) -> None:
        super().__init__(source)
        self.lines: dict[str, int] = {}
        # The first unknown directive and its line.
        self.unknown: tuple[str, int] | None = None

    def read(self, words: list[str]) -> None:
        # A username or password may begin with #: torsocks reads no comment there.
        end = 2 if words[0] in CREDENTIALS else 1
        name, *values = [*words[:end], *without_comment(words[end:])]
        if name not in DIRECTIVES:
            # The line may have been written `SOCKS5Password=secret`.
            name = name.partition("=")[0]
            if name in DIRECTIVES:
                raise ConfigError(f"`{name}` with a `=`", f"`{name} VALUE`")
            self.unknown = self.unknown or (name, self.line)
            return self.warn_unknown(name, DIRECTIVES, "torsocks")
        if len(values) != 1:
            raise ConfigError(f"`{name}` takes one value, not {len(values)}")
        shown = f"{name} {'***' if name == 'SOCKS5Password' else values[0]}"
        value = DIRECTIVES[name](values[0], name)
        if self.values.get(BLOCK, {}).get(name, value) != value:
            self.warn(f"`{shown}` replaces that of line {self.lines[name]}, as torsocks has it")
        self.decide_anew(name, value, shown, BLOCK)
        self.lines[name] = self.line

    def end(self) -> None:
        if self.unknown is not None and not self.lines:
            name, self.line = self.unknown
            raise ConfigError(f"unknown directive: `{name}`", suggest(name, DIRECTIVES, "directives"))
        said = self.values.pop(BLOCK, {})
        username, password = said.get("SOCKS5Username"), said.get("SOCKS5Password")
        if (username is None) != (password is None):
            self.line = self.lines["SOCKS5Password" if username is None else "SOCKS5Username"]
            raise ConfigError("one of `SOCKS5Username` and `SOCKS5Password`", "Tor needs both, or none")
        if said.get("IsolatePID") == "1" and username is not None:
            raise ConfigError("`IsolatePID` and `SOCKS5Username`", "both would be the username; remove one")
        host, port = said.get("TorAddress", "127.0.0.1"), said.get("TorPort", 9050)
        proxy = Proxy("socks5h", host, port, username, password)
        check_credentials(proxy)
        self.proxies = [proxy]
        self.origins["", 0] = self.origin_of("TorAddress", "TorPort")
        self.settle("dns", "tor")
        self.settle("placeholders", said.get("OnionAddrRange", ONION_ADDRESSES), "OnionAddrRange")
        self.settle("udp", "block")
        self.settle("listen", "local" if said.get("AllowInbound") == "1" else "block", "AllowInbound")
        self.settle("isolate_streams", said.get("IsolatePID") == "1", "IsolatePID")
        allowed = said.get("AllowOutboundLocalhost", "0")
        self.settle("loopback", "deny" if allowed == "0" else "direct", "AllowOutboundLocalhost")
        if allowed == "1":
            for network in ("127.0.0.0/8", "::1/128"):
                self.refuse(Rule(network, protocol="udp", to=TO_BLOCK), "AllowOutboundLocalhost")
        if said.get("EnableIPv6") != "1":
            self.refuse(Rule("::/0", to=TO_BLOCK), "EnableIPv6")

    def settle(self, field: str, value: object, *directives: str) -> None:
        self.values[""][field] = value
        self.origins[field] = self.origin_of(*directives)

    def refuse(self, rule: Rule, directive: str) -> None:
        self.rules.append(rule)
        self.origins[rule] = self.origin_of(directive)

    def origin_of(self, *directives: str) -> str:
        """The line of the first of ``directives`` that the file has; else the file, for a default."""
        number = next((self.lines[name] for name in directives if name in self.lines), None)
        return self.source if number is None else f"{self.source}:{number}"


def _address(text: str, what: str) -> str:
    if not is_address(text):
        host, _, port = text.rpartition(":")
        if is_address(without_brackets(host)) and parse_port(port) is not None:
            hint = f"the port stands on a line of its own: `TorPort {port}`"
            raise ConfigError(f"`{what}` takes an address without a port: `{text}`", hint)
        raise ConfigError(f"`{what}` takes an address, not a name: `{text}`")
    return parse_host(text)


def _port(text: str, what: str) -> int:
    port = parse_port(text)
    if port is None:
        raise ConfigError(f"`{what}` takes a number from 1 to 65535: `{text}`")
    return port


def _credential(text: str, what: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _number(*known: str) -> Callable[[str, str], str]:
    return lambda text, what: one_of(known, text, what)


CREDENTIALS = ("SOCKS5Username", "SOCKS5Password")

# By name: the function that reads its value.
DIRECTIVES: dict[str, Callable[[str, str], object]] = {
    "TorAddress": _address,
    "TorPort": _port,
    "OnionAddrRange": parse_placeholders,
    "SOCKS5Username": _credential,
    "SOCKS5Password": _credential,
    "AllowInbound": _number("0", "1"),
    "AllowOutboundLocalhost": _number("0", "1", "2"),
    "IsolatePID": _number("0", "1"),
    "EnableIPv6": _number("0", "1"),
}
