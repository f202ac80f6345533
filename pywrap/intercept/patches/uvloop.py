"""uvloop's loop: libuv connects, resolves, sends and starts children past every patch of ``socket``.

``uvloop.Loop`` is a Python class that inherits everything from one in C. Its methods are replaced, so
``run``, ``install``, ``new_event_loop`` and the policy need no patch. Once connected, streams are libuv's
own, TLS included.
"""

from __future__ import annotations

import sys

from pywrap.intercept.loops import datagram_endpoint, registrations, servers, streams, subprocesses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.patching import Patches
    from pywrap.intercept.runtime import Runtime


def install(patches: Patches, module: Any, current: Callable[[], Runtime | None]) -> None:
    """Replace ``Loop`` in ``module``, which is ``uvloop``. ``current()``: the runtime, or None."""
    cls = module.Loop
    registrations.install(patches, cls)
    for name, new in (
        ("getaddrinfo", streams.getaddrinfo),
        ("getnameinfo", streams.getnameinfo),
        ("sock_connect", streams.sock_connect(cls.sock_connect)),
        ("create_connection", streams.create_connection(cls.create_connection)),
        (
            "create_datagram_endpoint",
            datagram_endpoint.create_datagram_endpoint(cls.create_datagram_endpoint),
        ),
        ("create_server", servers.create_server(cls.create_server, current)),
        ("subprocess_exec", subprocesses.subprocess_exec),
        ("subprocess_shell", subprocesses.subprocess_shell),
    ):
        patches.replace(cls, name, new)
    # A program can use the C class by itself, which cannot be changed: so the name gets our class.
    patches.replace(sys.modules["uvloop.loop"], "Loop", cls)
