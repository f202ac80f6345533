"""The settings that one source gives (a file, the command line), and how those of two are combined."""

from __future__ import annotations

from pywrap.config.config_error import ConfigError
from pywrap.config.host import is_inside
from pywrap.config.options import READERS
from pywrap.config.route_rules import RESERVED, format_rewrite, format_route
from pywrap.config.settings import Chain, Proxy, Rewrite, Rule, Settings
from pywrap.config.values import picks_some
from pywrap.config.words import suggest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

NOWHERE: Mapping[object, str] = {}

# The fields of ``Settings`` with one value, which a source either gives or leaves open.
SINGLE = tuple(READERS)


class PartialSettings:
    """The parts of ``Settings`` that a source gives; None stands for a part that it leaves open.

    ``proxies``, ``chain_type`` and ``chain_length`` are of the default chain; ``chains`` are the others.
    ``proxies=()`` leaves nothing open: there are no proxies, except those that the launcher adds itself.
    ``singles`` are the settings of one value, by name; each is an attribute too, None where it is left open.

    ``origins``: where each part was given, as "work.conf:12". The key is the name of the setting; the rule or
    the rewrite itself; for a proxy the name of its chain and its index, ``("", 0)``; for a chain
    ``("work", -1)``. ``warnings``: lines for the user, each with its origin.

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
        """A copy with ``changes``, named as the arguments of the class."""
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
    """``partial`` with ``origin`` as the origin of each part that has none."""
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
    """The parts of ``first``, and those of ``second`` that ``first`` leaves open.

    Rules, rewrites and named chains add up: as in proxychains, a network on the command line does not replace
    the networks of the file. The rules of ``first`` come first, and the first rule that matches decides.
    """
    rules = second.rules
    if second.proxies == () and first.proxies is not None:
        # A file of tsocks without a default server ends with a rule that blocks the rest, or connects
        # directly (`fallback`). The proxies of ``first`` are the default server now.
        rules = tuple(rule for rule in rules if not _is_for_everything(rule))
    named = {chain.name for chain in first.chains}
    hidden = named if first.proxies is None else {*named, ""}
    return PartialSettings(
        second.proxies if first.proxies is None else first.proxies,
        second.chain_type if first.chain_type is None else first.chain_type,
        second.chain_length if first.chain_length is None else first.chain_length,
        first.chains + tuple(chain for chain in second.chains if chain.name not in named),
        # Without repetitions: the first of two equal rules decides.
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
    """Settings from ``partial``, with the default for each part that it leaves open.

    Raises:
        ConfigError: two parts contradict each other.
    """
    kind = partial.chain_type or "strict"
    # Strict and dynamic chains ignore chain_len, as in proxychains-ng.
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
    """Whether one of ``rules`` matches everything, so that no destination is left to the default chain."""
    return any(rule.to and _is_for_everything(rule) for rule in rules)


def _is_for_everything(rule: Rule) -> bool:
    return rule == Rule(to=rule.to)


def _check_length(chain: Chain, partial: PartialSettings) -> None:
    if not chain.length:
        return
    # A list without proxies is no error here: the launcher adds some, or none is needed.
    if 0 < len(chain.proxies) < chain.length:
        where = _where(partial, (chain.name, -1) if chain.name else "chain_length")
        raise ConfigError(
            f"{where}a chain length of {chain.length}, and a list of {len(chain.proxies)}",
            "name more proxies, or lower the length",
        )


def _check_rules(partial: PartialSettings) -> None:
    names = [chain.name for chain in partial.chains]
    for rule in partial.rules:
        if rule.to not in ("", *RESERVED, *names):
            raise ConfigError(
                f"{_where(partial, rule)}no chain has this name: `route {format_route(rule)}`",
                suggest(rule.to, [*names, *RESERVED], "destinations"),
            )


def _check_placeholders(settings: Settings, partial: PartialSettings) -> None:
    """Refuse rules and rewrites about placeholder addresses: a connection to one is decided by its name.

    A larger network (0.0.0.0/0) that contains all of them is allowed, since such a rule is about other
    addresses.
    """
    if settings.dns == "local":
        # With ``dns local`` there are no placeholders: addresses of their network come from a resolver, as of
        # Clash.
        return
    about: list[tuple[Rule | Rewrite, str, str]] = [
        (rule, f"route {format_route(rule)}", rule.network) for rule in settings.rules if rule.network
    ]
    for each in settings.rewrites:
        about += [(each, f"dnat {format_rewrite(each)}", host) for host in (each.address, each.new_address)]
    for key, line, network in about:
        if is_inside(network, settings.placeholders):
            raise ConfigError(
                f"{_where(partial, key)}`{line}` is about addresses that stand for names"
                f" ({settings.placeholders})",
                "choose another network for those with `placeholders` (--placeholders), as 100.127.0.0/16",
            )


def _where(partial: PartialSettings, key: object) -> str:
    """The beginning of a message about a part: its origin with a colon, or ""."""
    origin = partial.origins.get(key, "")
    return f"{origin}: " if origin else ""


def _chain_of(key: object) -> object:
    """The name of the chain that a key of ``origins`` is about; None for keys of other parts."""
    return key[0] if isinstance(key, tuple) else None
