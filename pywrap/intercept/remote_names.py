"""Look-ups through the chain: which names and addresses they are for, and which answers are refused.

With ``dns tor`` the last proxy is asked (RESOLVE), with ``dns tcp://`` a name server behind it. With
``dns remote`` and ``dns local`` this module looks nothing up.

An answer never chooses the direct path. An address of this machine, of a direct network or of a direct name
is refused, and so is a name that this machine knows. (A direct name is not looked up through the chain.)
v2ray 4.34 answers RESOLVE with success and its own address, whatever the name.
"""

from __future__ import annotations

import errno
from _socket import EAI_FAIL

from pywrap.errors import SocksError
from pywrap.frozen import replace
from pywrap.tunnel.lookups import LookupFailed, has_addresses
from pywrap.tunnel.routes import TUNNEL, address_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.messages import Messages
    from pywrap.tunnel.placeholders import Placeholders
    from pywrap.tunnel.resolver import Found, Resolver
    from pywrap.tunnel.routes import Routes


class RemoteNames:
    """``routes`` decides whether a name is looked up, and learns its addresses.

    ``lookup``: None with ``dns remote`` and ``dns local``.
    """

    def __init__(
        self, lookup: Resolver | None, routes: Routes, names: Placeholders, messages: Messages
    ) -> None:
        self._lookup = lookup
        self._routes = routes
        self._names = names
        self._messages = messages
        self._said_missing = False

    def takes(self, name: str) -> bool:
        """Whether ``name`` is looked up through the chain."""
        return (
            self._lookup is not None
            and has_addresses(name)
            and not self._routes.local_addresses(name)
            and not self._routes.resolves_here(name)
            and not self._routes.is_blocked(name)
        )

    def addresses(self, name: str, ipv6: bool | None) -> Found:
        """The addresses of a ``name`` that ``takes`` has accepted, of one family or of both (None).

        Raises:
            LookupFailed: the name has none, all are refused, or the look-up failed.
        """
        assert self._lookup is not None, "takes() was asked before"
        try:
            found = self._lookup.addresses(name, ipv6)
            wrong = {each: self._routes.why_not_from_beyond(address_of(each) or b"") for each in found.values}
            refused = [f"answered with {each}, {why}" for each, why in wrong.items() if why]
            values = tuple(each for each in found.values if not wrong[each])
            if not values:
                raise LookupFailed(f"{name} was {' and '.join(refused)}", EAI_FAIL)
        except LookupFailed as err:
            self._failed(name, err)
            raise
        for words in refused:
            self._messages.say(1, f"refused: {name} was {words}")
        self._messages.say(2, f"{name}: {', '.join(values)}")
        self._routes.learn_from_beyond(name, list(values))
        # The program may connect to the canonical name as well.
        canonical = name if self._routes.knows(found.canonical) else found.canonical
        return replace(found, values=values, canonical=canonical)

    def names(self, literal: str) -> list[str]:
        """The names of an address, if it goes through a chain itself; none are looked up for any other.

        Raises:
            LookupFailed: the address has no name, a name is refused, or the look-up failed.
        """
        address = address_of(literal)
        if self._lookup is None or address is None or self._routes.verdict(literal, 0).kind != TUNNEL:
            return []
        try:
            found = self._lookup.names(address)
            for name in found.values:
                if self._routes.knows(name):
                    raise LookupFailed(f"{literal} was answered with {name}, which is known here", EAI_FAIL)
        except LookupFailed as err:
            self._failed(literal, err)
            raise
        self._messages.say(2, f"{literal}: {', '.join(found.values)}")
        return list(found.values)

    def _failed(self, what: str, err: LookupFailed) -> None:
        """Print the reason: once where the proxy has no look-ups at all, at -v otherwise."""
        cause = err.__cause__
        missing = isinstance(cause, SocksError) and cause.errno == errno.EOPNOTSUPP
        once = missing and not self._said_missing
        self._said_missing = self._said_missing or once
        self._messages.say(0 if once else 1, f"{what}: {err}")
