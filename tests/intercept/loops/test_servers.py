"""Servers of asyncio programs on uvloop and rloop."""

from __future__ import annotations

import errno

from tests.support.loops import on
from tests.support.run import pysocksify, run


def test_servers_are_local(loop, proxy):
    ran = run(*pysocksify("-x", proxy.url()), *on(loop, "serve_asyncio.py", "localhost", 0))
    assert ran.json == {"own": "HELLO\n", "given": "HELLO\n"}
    assert proxy.asked == []


def test_servers_obey_listen_block():
    command = pysocksify("-x", "socks5h://192.0.2.99:1080", "--listen", "block")
    assert run(*command, *on("uvloop", "serve_asyncio.py", "127.0.0.1", 0)).json["own"] == "HELLO\n"
    ran = run(*command, *on("uvloop", "serve_asyncio.py", "0.0.0.0", 0))
    assert ran.json == {"own": ["PermissionError", errno.EPERM], "given": "HELLO\n"}


def test_servers_do_not_listen_at_a_proxy():
    command = pysocksify("-x", "socks5h://192.0.2.99:1080", "--listen", "bind")
    ran = run(*command, *on("uvloop", "serve_asyncio.py", "0.0.0.0", 0))
    assert ran.json == {"own": ["OSError", errno.EOPNOTSUPP], "given": "HELLO\n"}
    assert "a server of this event loop cannot listen at a proxy" in ran.err
