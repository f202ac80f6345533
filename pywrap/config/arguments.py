"""Settings one by one, in text: the options of the command, and the arguments of ``install()``."""

from __future__ import annotations

from pywrap.config.formats import FORMATS
from pywrap.config.options import READERS
from pywrap.config.partial_settings import PartialSettings, from_source
from pywrap.config.route_rules import parse_directs, parse_rewrite, parse_route
from pywrap.config.url import parse_proxy
from pywrap.config.values import parse_chain_type
from pywrap.config.words import one_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pywrap.config.settings import Proxy, Rewrite, Rule

# The names that ``Arguments.take`` accepts.
NAMES = (*READERS, "chain_type", "direct", "route", "dnat")


class Arguments:
    """The arguments given so far. ``origin``: what --show-config calls their source, as "command line"."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.proxies: list[Proxy] = []
        self._rules: list[Rule] = []
        self._rewrites: list[Rewrite] = []
        self._values: dict[str, Any] = {}
        self._origins: dict[object, str] = {}

    def take(self, name: str, text: str, shown: str = "") -> None:
        """Read the value ``text`` of the setting ``name``, one of NAMES. ``shown``: its name in messages.

        Given again, a value replaces the one before, except for direct, route and dnat, which add up.

        Raises:
            ConfigError: ``text`` is wrong.
        """
        if name == "direct":
            self._rules += parse_directs(text)
        elif name == "route":
            self._rules += parse_route(text.split())
        elif name == "dnat":
            self._rewrites.append(parse_rewrite(text.split()))
        elif name == "chain_type":
            self._values["chain_type"], self._values["chain_length"] = parse_chain_type(text, shown or name)
        else:
            self._values[name] = READERS[name](text, shown or name)

    def add_proxy(self, url: str) -> None:
        """Read the next proxy of the default chain.

        Raises:
            ConfigError: ``url`` is wrong.
        """
        self.proxies.append(parse_proxy(url))

    def add_environment(self, environ: Mapping[str, str]) -> None:
        """Read the next proxy, and the destinations without one, from variables (``-x env``).

        Raises:
            ConfigError: no variable names a proxy, or one of them is wrong.
        """
        from pywrap.config.environ import proxy_of, rules_of

        proxy, variable = proxy_of(environ)
        self._origins["", len(self.proxies)] = variable
        self.proxies.append(proxy)
        rules, variable = rules_of(environ)
        self._rules += rules
        self._origins.update(dict.fromkeys(rules, variable))

    def partial(self, without_proxies: bool = False) -> PartialSettings:
        """All arguments. ``without_proxies``: if none was given, there is none, whatever a file says."""
        return from_source(
            self.origin,
            PartialSettings(
                proxies=tuple(self.proxies) if self.proxies or without_proxies else None,
                rules=tuple(self._rules),
                rewrites=tuple(self._rewrites),
                origins=self._origins,
                **self._values,
            ),
        )

    @staticmethod
    def file_format(text: str | None, shown: str = "config_format") -> str | None:
        """Return ``text``, the name of a configuration format, or None.

        Raises:
            ConfigError: there is no such format.
        """
        return None if text is None else one_of(FORMATS, text, shown)
