"""What is decided of each destination, with the settings, names and hosts file that it is decided by."""

from __future__ import annotations

import threading
from pathlib import Path

from pywrap.config.route_rules import parse_directs, parse_rewrite, parse_route
from pywrap.config.settings import Chain, Proxy, Settings
from pywrap.tunnel.first_hop import FirstHop
from pywrap.tunnel.placeholders import Hosts, Placeholders
from pywrap.tunnel.routes import Routes

PROXY = Proxy("socks5h", "192.0.2.99", 1080)


class World:
    """Routes with what they ask."""

    def __init__(self, hosts: Path, settings: Settings) -> None:
        self.names = Placeholders(threading.Lock)
        firsts = [FirstHop(chain.proxies[0], no_resolver) for chain in settings.chains]
        self.routes = Routes(settings, firsts, self.names, Hosts(str(hosts)))

    def kind(self, host: str, port: int = 80, **how: bool) -> str:
        return self.routes.verdict(host, port, **how).kind


def no_resolver(*args: object) -> list[object]:
    raise AssertionError(f"asked the resolver: {args}")


def world(folder: Path, chain=(PROXY,), direct=(), rules=(), dnat=(), **settings) -> World:
    """Routes of ``settings``; rules, direct destinations and rewrites are written as in a file."""
    (folder / "hosts").write_text("127.0.0.1 localhost\n192.0.2.7 db.example\n::1 six.example\n")
    rules = [rule for text in rules for rule in parse_route(text.split())]
    rules += [rule for text in direct for rule in parse_directs(text)]
    chains = (Chain(tuple(chain)), Chain((Proxy("socks5h", "work.example"),), "work"))
    rewrites = tuple(parse_rewrite(text.split()) for text in dnat)
    return World(folder / "hosts", Settings(chains, tuple(rules), rewrites, **settings))
