"""Programs with a log."""

from __future__ import annotations

from tests.support.run import pysocksify


def logged(file, url, *options):
    """The words before a program that goes through ``url`` and has its log in ``file``."""
    return pysocksify("-x", url, "--loopback", "proxy", "--log", file, *options)
