"""Chains with a login that no other process uses, so that Tor keeps its streams on circuits of their own.

Tor gives streams of different usernames or passwords different circuits (IsolateSOCKSAuth in tor(1));
``torsocks -i`` does it in this way as well.
"""

from __future__ import annotations

import os

from pywrap.frozen import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pywrap.config.settings import Chain


def isolated(chains: Iterable[Chain]) -> list[Chain]:
    """``chains`` with one new login for all their SOCKS5 proxies that have none."""
    username, password = f"pysocksify-{os.getpid()}".encode(), os.urandom(8).hex().encode()
    return [
        replace(
            chain,
            proxies=tuple(
                replace(hop, username=username, password=password)
                if hop.scheme in ("socks5", "socks5h") and hop.username is None
                else hop
                for hop in chain.proxies
            ),
        )
        for chain in chains
    ]
