"""Installs pysocksify after others have patched sockets: install_after_green.py gevent|sockets|eventlet

Prints why that is refused, and whether anything has changed.
"""

from __future__ import annotations

import sys

import pywrap

if sys.argv[1] == "eventlet":
    import eventlet

    eventlet.monkey_patch()
else:
    from gevent import monkey

    monkey.patch_all(select=sys.argv[1] == "gevent")

import socket  # noqa: E402

before = dict(vars(socket))
try:
    pywrap.install("socks5h://192.0.2.99")
except RuntimeError as err:
    print(err)
print(dict(vars(socket)) == before)
