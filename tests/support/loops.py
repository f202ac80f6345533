"""Programs on event loops in C and Rust; strace sees what the code of those reaches for."""

from __future__ import annotations

from tests.support.run import program, pysocksify


def through(proxy, *options):
    """The words before a program that goes through ``proxy``."""
    return pysocksify("-x", proxy.url(), "--loopback", "proxy", *options)


def on(loop, name, *args):
    """The words of ``tests/programs/name`` on ``loop``."""
    return *program("on_loop.py"), loop, name, *args


def check_clean(seen, proxy):
    """Nothing but ``proxy`` was reached for, and nothing was asked for a name."""
    assert seen.destinations == {(proxy.host, proxy.port)}, str(seen)
    assert seen.families <= {"AF_INET", "AF_INET6"}, str(seen)
