"""Rules as tests write them."""

from __future__ import annotations

from pywrap.config.settings import Rule


def direct(network: str = "", name: str = "", port: int = 0) -> Rule:
    """What ``--direct`` makes of a network or a name."""
    return Rule(network, name, port, to="direct")
