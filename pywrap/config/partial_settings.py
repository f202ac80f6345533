"""What one source says, a file or the command line, and how two of them become settings."""

from __future__ import annotations

from pywrap.config.host import is_inside
from pywrap.config.options import READERS
from pywrap.config.rules import RESERVED, format_rewrite, format_route
from pywrap.config.settings import Chain, Proxy, Rewrite, Rule, Settings
from pywrap.config.values import picks_some
from pywrap.config.words import suggest
from pywrap.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

NOWHERE: Mapping[object, str] = {}

# Those of ``Settings`` that a source either decides or says nothing about.
SINGLE = tuple(READERS)


class PartialSettings:
    """What makes up ``Settings``, where None is "says nothing".

    ``proxies``, ``chain_type`` and ``chain_length`` are those of the default chain, ``chains`` the others.
    ``proxies=()`` says something: no proxy but those that the launcher brings itself. ``singles`` are the
    settings of one value, by their names; each is an attribute too, None where nothing is said.

    ``origins``: where it was said, "work.conf:12". Its keys are the names of settings; a rule or a rewrite
    itself; the name and the place of a proxy in its chain, ``("", 0)``; and of a chain ``("work", -1)``.
    ``warnings``: what the user should know of it, each with its place.

    Raises:
        TypeError: ``singles`` has a name that is no setting.
    """

    def __init__(
        self,
        proxies: tuple[Proxy, ...] | None = None,
        chain_type: str | None = None,
        chain_length: int | None = None,
        chains: tuple[Chain, ...] = (),
        rules: tuple[Rule, ...] = (),
        rewrites: tuple[Rewrite, ...] = (),
        origins: Mapping[object, str] = NOWHERE,
        warnings: tuple[str, ...] = (),
        **singles: Any,
    ) -> None:
        for name in singles:
            if name not in READERS:
                raise TypeError(f"{name} is no setting")
        self.proxies = proxies
        self.chain_type = chain_type
        self.chain_length = chain_length
        self.chains = chains
        self.rules = rules
        self.rewrites = rewrites
        self.origins = origins
        self.warnings = warnings
        self.singles = {name: value for name, value in singles.items() if value is not None}

    def __getattr__(self, name: str) -> Any:
        if name in READERS:
            return self.singles.get(name)
        raise AttributeError(name)

    def replace(self, **changes: Any) -> PartialSettings:
        """The same but for ``changes``."""
        return PartialSettings(**{**self._said(), **changes})

    def _said(self) -> dict[str, Any]:
        parts = dict(vars(self))
        singles = parts.pop("singles")
        return {**parts, **singles}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PartialSettings) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        said = (f"{name}={value!r}" for name, value in self._said().items() if value not in (None, (), {}))
        return f"PartialSettings({', '.join(said)})"


def from_source(origin: str, partial: PartialSettings) -> PartialSettings:
    """``partial``, all of it said at ``origin`` where that is not known any better."""
    origins: dict[object, str] = {}
    for name in (*SINGLE, "chain_type", "chain_length"):
        if getattr(partial, name) is not None:
            origins[name] = origin
    for each in (*partial.rules, *partial.rewrites):
        origins[each] = origin
    for place in range(len(partial.proxies or ())):
        origins["", place] = origin
    return partial.replace(origins={**origins, **partial.origins})


def combine(first: PartialSettings, second: PartialSettings) -> PartialSettings:
    """What ``first`` says, and where it says nothing, ``second``; rules, rewrites and named chains add up.

    Adding is what proxychains users mean when they name one more network. Who wants only his own
    gives a file of his own. The rules of ``first`` come first, and the first that matches decides.
    """
    rules = second.rules
    if second.proxies == () and first.proxies is not None:
        # The rest had no chain there, and was blocked or direct (tsocks' `fallback`). Now it has one.
        rules = tuple(rule for rule in rules if not _is_for_everything(rule))
    named = {chain.name for chain in first.chains}
    hidden = named if first.proxies is None else {*named, ""}
    return PartialSettings(
        second.proxies if first.proxies is None else first.proxies,
        second.chain_type if first.chain_type is None else first.chain_type,
        second.chain_length if first.chain_length is None else first.chain_length,
        first.chains + tuple(chain for chain in second.chains if chain.name not in named),
        # Once each: a rule that stands further down as well never gets to decide.
        tuple(dict.fromkeys(first.rules + rules)),
        tuple(dict.fromkeys(first.rewrites + second.rewrites)),
        {
            **{key: origin for key, origin in second.origins.items() if _chain_of(key) not in hidden},
            **first.origins,
        },
        first.warnings + second.warnings,
        **{**second.singles, **first.singles},
    )


def settle(partial: PartialSettings) -> Settings:
    """``partial`` as settings, the defaults where nothing was said.

    Raises:
        ConfigError: they do not fit together.
    """
    kind = partial.chain_type or "strict"
    # Of strict and dynamic chains nothing is left out, whatever a file says of the length (proxychains-ng).
    length = partial.chain_length or 0 if picks_some(kind) else 0
    default = Chain(partial.proxies or (), "", kind, length)
    chains = (default, *partial.chains)
    for chain in chains:
        _check_length(chain, partial)
    _check_rules(partial)
    settings = Settings(
        chains,
        partial.rules,
        partial.rewrites,
        **partial.singles,
    )
    _check_placeholders(settings, partial)
    return settings


def leaves_nothing(rules: tuple[Rule, ...]) -> bool:
    """Does one of ``rules`` match everything, and send it elsewhere than to the default chain?"""
    return any(rule.to and _is_for_everything(rule) for rule in rules)


def _is_for_everything(rule: Rule) -> bool:
    return rule == Rule(to=rule.to)


def _check_length(chain: Chain, partial: PartialSettings) -> None:
    if not chain.length:
        return
    origin = partial.origins.get((chain.name, -1) if chain.name else "chain_length", "")
    where = f"{origin}: " if origin else ""
    # Without any: those that the launcher brings, or none is needed.
    if 0 < len(chain.proxies) < chain.length:
        raise ConfigError(
            f"{where}a chain length of {chain.length}, and a list of {len(chain.proxies)}",
            "name more proxies, or lower the length",
        )


def _check_rules(partial: PartialSettings) -> None:
    names = [chain.name for chain in partial.chains]
    for rule in partial.rules:
        if rule.to not in ("", *RESERVED, *names):
            origin = partial.origins.get(rule, "")
            raise ConfigError(
                f"{origin}{': ' if origin else ''}no chain has this name: `route {format_route(rule)}`",
                suggest(rule.to, [*names, *RESERVED], "destinations"),
            )


def _check_placeholders(settings: Settings, partial: PartialSettings) -> None:
    """Nothing that is said of single addresses may be about those that stand for names.

    A larger network that has them in it (0.0.0.0/0) is none that was meant for them.
    """
    if settings.dns == "local":
        # There are none: addresses of that network are those of a resolver, of Clash for one.
        return
    about: list[tuple[Rule | Rewrite, str, str]] = [
        (rule, f"route {format_route(rule)}", rule.network) for rule in settings.rules if rule.network
    ]
    for each in settings.rewrites:
        about += [(each, f"dnat {format_rewrite(each)}", host) for host in (each.address, each.new_address)]
    for key, line, network in about:
        if is_inside(network, settings.placeholders):
            origin = partial.origins.get(key, "")
            raise ConfigError(
                f"{origin}{': ' if origin else ''}`{line}` is about addresses that stand for names"
                f" ({settings.placeholders})",
                "choose another network for those with `placeholders` (--placeholders), as 100.127.0.0/16",
            )


def _chain_of(key: object) -> object:
    return key[0] if isinstance(key, tuple) else None
