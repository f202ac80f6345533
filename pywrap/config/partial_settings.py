"""What one source says, a file or the command line, and how two of them become settings."""

from __future__ import annotations

from pywrap.config.host import is_inside
from pywrap.config.rules import RESERVED, format_rewrite, format_route
from pywrap.config.settings import Chain, Proxy, Rewrite, Rule, Settings
from pywrap.config.values import picks_some
from pywrap.config.words import suggest
from pywrap.errors import ConfigError
from pywrap.frozen import frozen, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

NOWHERE: Mapping[object, str] = {}

# Those of ``Settings`` that a source either decides or says nothing about.
SINGLE = (
    *("dns", "placeholders", "loopback", "udp", "listen", "bind_peer", "pipeline", "fast_open"),
    *("isolate_streams", "timeout", "connect_timeout", "read_timeout", "keep_env", "verbosity"),
)


@frozen
class PartialSettings:
    """What makes up ``Settings``, where None is "says nothing".

    ``proxies``, ``chain_type`` and ``chain_length`` are those of the default chain, ``chains`` the others.
    ``proxies=()`` says something: no proxy but those that the launcher brings itself.

    ``origins``: where it was said, "work.conf:12". Its keys are the names of fields; a rule or a rewrite
    itself; the name and the place of a proxy in its chain, ``("", 0)``; and of a chain ``("work", -1)``.
    ``warnings``: what the user should know of it, each with its place.
    """

    proxies: tuple[Proxy, ...] | None = None
    chain_type: str | None = None
    chain_length: int | None = None
    chains: tuple[Chain, ...] = ()
    rules: tuple[Rule, ...] = ()
    rewrites: tuple[Rewrite, ...] = ()
    dns: str | None = None
    placeholders: str | None = None
    loopback: str | None = None
    udp: str | None = None
    listen: str | None = None
    bind_peer: str | None = None
    pipeline: str | None = None
    fast_open: bool | None = None
    isolate_streams: bool | None = None
    timeout: float | None = None
    connect_timeout: float | None = None
    read_timeout: float | None = None
    keep_env: bool | None = None
    verbosity: int | None = None
    origins: Mapping[object, str] = NOWHERE
    warnings: tuple[str, ...] = ()


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
    return replace(partial, origins={**origins, **partial.origins})


def combine(first: PartialSettings, second: PartialSettings) -> PartialSettings:
    """What ``first`` says, and where it says nothing, ``second``; rules, rewrites and named chains add up.

    Adding is what proxychains users mean when they name one more network. Who wants only his own
    gives a file of his own. The rules of ``first`` come first, and the first that matches decides.
    """
    values = {name: getattr(first, name) for name in PartialSettings.__match_args__}
    for name, value in values.items():
        if value is None:
            values[name] = getattr(second, name)
    rules = second.rules
    if second.proxies == () and first.proxies is not None:
        # The rest had no chain there, and was blocked or direct (tsocks' `fallback`). Now it has one.
        rules = tuple(rule for rule in rules if not _is_for_everything(rule))
    # Once each: a rule that stands further down as well never gets to decide.
    values["rules"] = tuple(dict.fromkeys(first.rules + rules))
    values["rewrites"] = tuple(dict.fromkeys(first.rewrites + second.rewrites))
    named = {chain.name for chain in first.chains}
    values["chains"] = first.chains + tuple(chain for chain in second.chains if chain.name not in named)
    hidden = named if first.proxies is None else {*named, ""}
    values["origins"] = {
        **{key: origin for key, origin in second.origins.items() if _chain_of(key) not in hidden},
        **first.origins,
    }
    values["warnings"] = first.warnings + second.warnings
    return PartialSettings(**values)


def settle(partial: PartialSettings) -> Settings:
    """``partial`` as settings, the defaults where nothing was said.

    Raises:
        ConfigError: they do not fit together.
    """
    said = {name: getattr(partial, name) for name in SINGLE}
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
        **{key: value for key, value in said.items() if value is not None},
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
