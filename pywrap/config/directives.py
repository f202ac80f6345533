"""The texts about the directives of a configuration file, for pysocksify.conf(5) and docs/configuration.md.

A directive that is also an option has its text in ``options.OPTIONS``; here are the others. This module is
not imported when a file is read: ``proxychains.DIRECTIVES`` has the functions for that.
"""

from __future__ import annotations

from pywrap.config.options import DIRECTIVES, MESSAGES, OPTIONS, PROXIES, TRAFFIC
from pywrap.frozen import frozen

GROUPS = (PROXIES, TRAFFIC, MESSAGES)


@frozen
class Directive:
    """One directive: its ``name``, the form of its ``value`` ("" when it takes none), and what it means."""

    name: str
    group: str
    value: str
    text: str


_ONLY_IN_FILES = (
    Directive(
        "strict_chain",
        PROXIES,
        "",
        "A connection goes through all proxies of the list, in order. This is the default.",
    ),
    Directive(
        "dynamic_chain",
        PROXIES,
        "",
        "A connection goes through all proxies of the list that are not dead, in order.",
    ),
    Directive(
        "random_chain",
        PROXIES,
        "",
        "A connection goes through chain_len proxies of the list, taken at random.",
    ),
    Directive(
        "round_robin_chain",
        PROXIES,
        "",
        "A connection goes through chain_len proxies, beginning after those of the connection before.",
    ),
    Directive(
        "chain_len",
        PROXIES,
        "NUMBER",
        "The number of proxies for random_chain and round_robin_chain, by default 1. `chain_len = 2` is "
        "understood as well.",
    ),
    Directive(
        "tcp_connect_time_out",
        PROXIES,
        "MILLISECONDS",
        "How long the first proxy may take to be reached. By default, timeout alone counts.",
    ),
    Directive(
        "tcp_read_time_out",
        PROXIES,
        "MILLISECONDS",
        "How long each answer of a proxy may take to come. By default, timeout alone counts.",
    ),
    Directive("proxy_dns", TRAFFIC, "", "The same as `dns remote`: the last proxy resolves names."),
    Directive("proxy_dns_old", TRAFFIC, "", "The same as proxy_dns."),
    Directive("proxy_dns_daemon", TRAFFIC, "ADDRESS:PORT", "The same as proxy_dns. No daemon is needed."),
    Directive(
        "remote_dns_subnet",
        TRAFFIC,
        "NUMBER",
        "The first byte of the placeholders, in the form of proxychains: 224 means "
        "`placeholders 224.128.0.0/9`.",
    ),
    Directive(
        "localnet",
        TRAFFIC,
        "ADDRESS[:PORT]/MASK",
        "Connect directly to this network, in the form of proxychains. MASK is a netmask or a number of "
        "bits.",
    ),
    Directive(
        "direct",
        TRAFFIC,
        "NET[,NET]...",
        "Connect directly to these destinations. NET is a network, an address, a name, or *.SUFFIX for all "
        "names below SUFFIX; with :PORT or :PORT-PORT, for those ports alone.",
    ),
    Directive(
        "route",
        TRAFFIC,
        "[tcp|udp] NET[,NET]... CHAIN|proxy|direct|block",
        "Where connections to NET go, which is * for everything beyond this machine: through the chain of "
        "the list [ProxyList CHAIN], through the list without a name (proxy), directly, or nowhere. Of all "
        "localnet, direct and route lines, the first that matches decides.",
    ),
    Directive(
        "dnat",
        TRAFFIC,
        "ADDRESS[:PORT] ADDRESS[:PORT]",
        "Where the first address is asked for, connect to the second. Applied before the rules above.",
    ),
    Directive("quiet_mode", MESSAGES, "", "Errors only, as with -q."),
    Directive("verbosity", MESSAGES, "-1|0|1|2", "-1 is -q, 1 is -v, 2 is -vv. The default is 0."),
)


def directives() -> tuple[Directive, ...]:
    """Every directive of the native format."""
    names = {setting: name for name, setting in DIRECTIVES.items()}
    options = (
        Directive(names[option.name], option.group, option.metavar, option.text)
        for option in OPTIONS
        if option.name in names
    )
    return (*_ONLY_IN_FILES, *options)
