"""Runs a program with pysocksify installed after green sockets.

    install_after_green.py LIBRARY PROXY PROGRAM [ARG...]

The program patches everything itself, for the second time. At the end, pysocksify is uninstalled; what
differs in the modules then is printed on stderr.
"""

from __future__ import annotations

import runpy
import sys

library, proxy, *sys.argv = sys.argv[1:]

if library == "eventlet":
    import eventlet

    eventlet.monkey_patch()
else:
    from gevent import monkey

    monkey.patch_all()

import pywrap  # noqa: E402

NAMES = ("_socket", "_thread", "os", "select", "socket", "subprocess", "time")
modules = [sys.modules[name] for name in NAMES]
before = [dict(vars(module)) for module in modules]
pywrap.install(proxy, loopback="proxy")
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    pywrap.uninstall()
    for module, attributes in zip(modules, before, strict=True):
        for name, value in {**vars(module), **attributes}.items():
            if vars(module).get(name) is not attributes.get(name):
                print(f"left: {module.__name__}.{name}: {value}", file=sys.stderr)
