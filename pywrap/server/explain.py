"""``--explain``: which rule decides on a request, found with the code that the server decides with."""

from __future__ import annotations

import _socket

from pywrap.config.host import is_address, split_port
from pywrap.errors import ConfigError
from pywrap.server.option_values import UsageError, parse_command
from pywrap.server.rules import Guard, Party, Rules
from pywrap.socks.wire import packed, unmapped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pywrap.server.rules import AccessRule, Decision


def explain(words: Sequence[str], rules: Sequence[AccessRule], guarded: bool) -> tuple[str, bool]:
    """Lines for the four ``words`` of the option, and whether the request is allowed.

    Of a name, each address that it has now; it is allowed if one of them is.

    Raises:
        UsageError: one of the words is none.
    """
    client, user, command, destination = words
    if not is_address(client):
        raise UsageError(f"not an address: `{client}`", "the first is the client's address")
    try:
        host, port_text = split_port(destination)
        port = int(port_text) if port_text else 0
    except (ConfigError, ValueError):
        raise UsageError(f"not HOST:PORT: `{destination}`", "the last is the destination") from None
    address = packed(unmapped(client))
    assert address is not None
    party = Party(address, b"" if user == "-" else user.encode(), parse_command(command))
    judge = Rules(rules, Guard(lambda *_: False) if guarded else None)
    literal = packed(unmapped(host))
    if literal is not None:
        decision = judge.on_address(party, literal, port)
        return _line(destination, decision), decision.allowed
    decision_on_name = judge.on_name(party, host, port)
    if decision_on_name is not None:
        return _line(destination, decision_on_name), decision_on_name.allowed
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


def _line(what: str, decision: Decision) -> str:
    return f"{what}: {'allowed' if decision.allowed else 'refused'}: {decision.why}\n"
