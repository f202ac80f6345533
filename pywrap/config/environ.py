"""For ``-x env``: the proxy in $ALL_PROXY, and the destinations without one in $NO_PROXY, as curl reads them.

They are not read by default: desktops and other programs set these variables, and the user may not know it.
"""

from __future__ import annotations

from pywrap.config.config_error import ConfigError
from pywrap.config.route_rules import parse_directs
from pywrap.config.settings import TO_DIRECT, Proxy, Rule
from pywrap.config.url import parse_proxy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# The names of the variables in curl's order: the first that is set counts.
ALL = ("all_proxy", "ALL_PROXY")
NONE = ("no_proxy", "NO_PROXY")


def proxy_of(environ: Mapping[str, str]) -> tuple[Proxy, str]:
    """The proxy, and the name of its variable with the ``$``.

    Raises:
        ConfigError: no variable is set, or its value is no URL of a proxy.
    """
    name, text = _first(ALL, environ)
    if not text:
        raise ConfigError(
            "`-x env`, and $ALL_PROXY is not set", "set it to a URL, as in ALL_PROXY=socks5h://127.0.0.1:1080"
        )
    try:
        return parse_proxy(text), f"${name}"
    except ConfigError as err:
        raise ConfigError(f"${name}: {err}", err.hint) from None


def rules_of(environ: Mapping[str, str]) -> tuple[tuple[Rule, ...], str]:
    """Rules for the destinations that need no proxy, and the name of their variable with the ``$``.

    Raises:
        ConfigError: an entry is neither a network, an address nor a name.
    """
    name, text = _first(NONE, environ)
    rules: list[Rule] = []
    for item in text.replace(",", " ").split():
        try:
            rules += _read(item)
        except ConfigError as err:
            raise ConfigError(f"${name}: {err}", err.hint) from None
    return tuple(rules), f"${name}"


def _first(names: tuple[str, ...], environ: Mapping[str, str]) -> tuple[str, str]:
    return next(((name, environ[name]) for name in names if environ.get(name)), (names[-1], ""))


def _read(item: str) -> tuple[Rule, ...]:
    # A name stands for those below it as well, with a dot or a star before it or without.
    bare = item.removeprefix("*").removeprefix(".")
    if not bare:
        raise ConfigError(f"no proxy for anything: `{item}`", "leave `-x env` out")
    rules = parse_directs(bare)
    return tuple(each for rule in rules for each in ((rule, _below(rule)) if rule.name else (rule,)))


def _below(rule: Rule) -> Rule:
    return Rule("", f"*.{rule.name}", rule.port, rule.last_port, to=TO_DIRECT)
