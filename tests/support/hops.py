"""Proxies and a destination that nothing connects to, for tests of what is decided about them."""

from __future__ import annotations

from pywrap.config.settings import Proxy
from pywrap.socks.wire import Endpoint

A, B, RAW = Proxy("socks5h", "a.example"), Proxy("socks5h", "b.example"), Proxy("raw", "c.example")
TARGET = Endpoint("example.org", 443)
