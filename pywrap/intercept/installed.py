"""What doors lead to: a session, and the functions that work on it.

Made at the first call of a door, so that a program which never goes out pays for none of it. Everything is
imported here and at once, so that nothing is imported any more when gevent has made those locks green.
"""

from __future__ import annotations

from pywrap.intercept import audit, connect, datagram, foreign, groups, listening, resolver
from pywrap.intercept.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.config.settings import Settings
    from pywrap.intercept.tunnels import Tunnels


class Installed:
    """``functions`` by the name of each door."""

    def __init__(self, settings: Settings, tunnels: Tunnels) -> None:
        self.session = Session(settings, tunnels)
        self.functions: dict[str, Callable[..., Any]] = {
            **connect.functions(self.session),
            **datagram.functions(self.session),
            **listening.functions(self.session),
            **resolver.functions(self.session),
        }

    def check(self, event: str, args: tuple[Any, ...]) -> None:
        """Look at an audit event (``audit``)."""
        audit.check(self.session, event, args)

    def check_module(self, name: str) -> None:
        """Look at a module that is about to be imported (``foreign``)."""
        foreign.check(self.session, name)

    def check_option(self, args: tuple[Any, ...]) -> None:
        """Look at an option of IP that is about to be set (``groups``)."""
        groups.check(self.session, args)
