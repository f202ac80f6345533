"""What doors lead to: a session, and the functions that work on it.

Made at the first call of a door, so that a program which never goes out pays for none of it. Everything is
imported here and at once, so that nothing is imported any more when gevent has made those locks green.
"""

from __future__ import annotations

from pywrap.intercept import audit, groups, unsupported
from pywrap.intercept.bind import listener
from pywrap.intercept.patches import connect, getaddrinfo
from pywrap.intercept.runtime import Runtime
from pywrap.intercept.udp import methods

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.config.settings import Settings
    from pywrap.intercept.registry import SocketRegistry


class Installed:
    """``functions`` by the name of each door."""

    def __init__(self, settings: Settings, registry: SocketRegistry) -> None:
        self.runtime = Runtime(settings, registry)
        self.functions: dict[str, Callable[..., Any]] = {
            **connect.functions(self.runtime),
            **methods.functions(self.runtime),
            **listener.functions(self.runtime),
            **getaddrinfo.functions(self.runtime),
        }

    def check(self, event: str, args: tuple[Any, ...]) -> None:
        """Look at an audit event (``audit``)."""
        audit.check(self.runtime, event, args)

    def check_module(self, name: str) -> None:
        """Look at a module that is about to be imported (``unsupported``)."""
        unsupported.check(self.runtime, name)

    def check_option(self, args: tuple[Any, ...]) -> None:
        """Look at an option of IP that is about to be set (``groups``)."""
        groups.check(self.runtime, args)
