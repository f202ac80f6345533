"""``--explain``: which rule or route decides on a request, found with the server's own code."""

from __future__ import annotations

import _socket

from pywrap.config.host import is_address, parse_port, split_port
from pywrap.errors import ConfigError
from pywrap.server.access_rules import CONNECT, UDP, Decision, Guard, Party, Rules
from pywrap.server.option_values import UsageError, parse_command
from pywrap.server.tcp.dial import NO_DESTINATION
from pywrap.socks.wire import Endpoint, is_unspecified, packed, unmapped, with_plain_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pywrap.server.access_rules import AccessRule
    from pywrap.server.upstream import Upstream


def explain(
    words: Sequence[str], rules: Sequence[AccessRule], guarded: bool, upstream: Upstream
) -> tuple[str, bool]:
    """The lines to print for the four ``words`` of the option, and whether the request is allowed.

    For a name there is a line for each address that it has now, and the request is allowed if one of them is.
    A name that other proxies look up is judged as a name alone.

    Raises:
        UsageError: one of the words is wrong.
    """
    client, user, command, destination = words
    if not is_address(client):
        raise UsageError(f"not an address: `{client}`", "the first is the client's address")
    number = parse_command(command)
    host, port = _read_destination(destination, number in (CONNECT, UDP))
    address = packed(unmapped(with_plain_address(Endpoint(client, 0)).host))
    assert address is not None
    party = Party(address, b"" if user == "-" else user.encode(), number)
    judge = Rules(rules, Guard(lambda *_: False) if guarded else None)
    way = upstream.way(Endpoint(host, port), party.command == UDP)

    def told(decision: Decision) -> tuple[str, bool]:
        if decision.allowed and way.refusal:
            decision = Decision(False, way.refusal.removeprefix("not allowed: "))
        elif decision.allowed and not way.chain and party.command in (CONNECT, UDP) and is_unspecified(host):
            decision = Decision(False, NO_DESTINATION)
        return _line(destination, decision), decision.allowed

    literal = packed(unmapped(host))
    if literal is not None:
        return told(judge.on_address(party, literal, port))
    decision_on_name = judge.on_name(party, host, port)
    if decision_on_name is not None:
        return told(decision_on_name)
    if way.chain or way.refusal:
        return told(Decision(True, "no rule is against the name, which the last proxy looks up"))
    try:
        found = _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM)
    except OSError as err:
        raise ConfigError(f"it depends on the address of `{host}`: {err.strerror}") from err
    lines, allowed = "", False
    for _, _, _, _, sockaddr in found:
        literal = packed(unmapped(str(sockaddr[0])))
        assert literal is not None
        decision = judge.on_address(party, literal, port, host)
        lines += _line(f"{destination} at {sockaddr[0]}", decision)
        allowed = allowed or decision.allowed
    return lines, allowed


def _read_destination(text: str, needs_port: bool) -> tuple[str, int]:
    try:
        host, port_text = split_port(text)
    except ConfigError:
        host = port_text = ""
    # BIND and RESOLVE may leave the port out, or have 0.
    port = 0 if port_text in (None, "0") and not needs_port else parse_port(port_text or "")
    if port is None:
        raise UsageError(f"not HOST:PORT: `{text}`", "the last is the destination")
    return with_plain_address(Endpoint(host, port)).host, port


def _line(what: str, decision: Decision) -> str:
    return f"{what}: {'allowed' if decision.allowed else 'refused'}: {decision.why}\n"
