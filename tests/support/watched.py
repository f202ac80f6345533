"""Processes as ``--watch`` sees them."""

from __future__ import annotations

from pywrap.launch.watch.judge import Way
from pywrap.launch.watch.proc_sockets import Socket
from pywrap.launch.watch.runs import Connection, Process


def stray(name="curl"):
    """A process that goes past the proxies, with two connections that are alike."""
    sock = Socket("tcp", "connected", "10.0.0.5", 40000, "192.0.2.7", 443)
    way = Connection(sock, Way("neither", "no hop, and no rule makes it direct"))
    return Process(7, 5, 2.0, name, ("unprotected",), "not a Python, and not confined", (way, way))


def parent():
    """A patched process with a connection to its proxy."""
    sock = Socket("tcp", "connected", "127.0.0.1", 40000, "::1", 9050)
    return Process(5, 1, 1.0, "python3", ("patched",), "", (Connection(sock, Way("hop", "[::1]:9050")),))
