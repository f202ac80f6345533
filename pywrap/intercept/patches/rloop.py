"""rloop's event loop: its streams use the functions of ``socket``; its datagrams and servers do not.

``rloop.loop.RLoop`` is a Python class that inherits from one in Rust. As of 0.5 it has no TLS.
"""

from __future__ import annotations

from pywrap.intercept.loops import datagram_endpoint, registrations, servers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.patching import Patches
    from pywrap.intercept.runtime import Runtime


def install(patches: Patches, module: Any, current: Callable[[], Runtime | None]) -> None:
    """Replace methods of the loop in ``module``, ``rloop.loop``. ``current()``: the runtime, or None."""
    cls = module.RLoop
    registrations.install(patches, cls)
    endpoint = datagram_endpoint.create_datagram_endpoint(cls.create_datagram_endpoint)
    patches.replace(cls, "create_datagram_endpoint", endpoint)
    patches.replace(cls, "create_server", servers.create_server(cls.create_server, current))
