"""What one source says, a file or the command line, and how two of them become settings."""

from __future__ import annotations

from pywrap.config.settings import Direct, Proxy, Settings
from pywrap.frozen import frozen


@frozen
class Choices:
    """The fields of ``Settings``, where None is "says nothing".

    ``chain=()`` says something: no proxy but those that the launcher brings itself.
    """

    chain: tuple[Proxy, ...] | None = None
    dns: str | None = None
    loopback: str | None = None
    direct: tuple[Direct, ...] = ()
    udp: str | None = None
    listen: str | None = None
    timeout: float | None = None
    connect_timeout: float | None = None
    read_timeout: float | None = None
    verbosity: int | None = None


def combine(first: Choices, second: Choices) -> Choices:
    """What ``first`` says, and where it says nothing, ``second``; exempted destinations add up.

    Adding is what proxychains users mean when they name one more network. Who wants only his own
    gives a file of his own.
    """
    values = {name: getattr(first, name) for name in Choices.__match_args__}
    for name, value in values.items():
        if value is None:
            values[name] = getattr(second, name)
    # Once each, in the order of appearance.
    values["direct"] = tuple(dict.fromkeys(second.direct + first.direct))
    return Choices(**values)


def settle(choices: Choices) -> Settings:
    """``choices`` as settings, the defaults where nothing was said."""
    said = {name: getattr(choices, name) for name in Choices.__match_args__}
    return Settings(**{name: value for name, value in said.items() if value is not None})
