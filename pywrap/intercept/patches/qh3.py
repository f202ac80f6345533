"""qh3's transport: sends and receives datagrams in Rust, on the descriptor, past every patch of the socket.

Where the constructor of ``UdpSocketState`` raises, as on systems that are not Unix, the transport calls the
methods of the socket instead. niquests uses the same transport for HTTP/3 in asyncio.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from pywrap.intercept.patching import Patches
    from pywrap.intercept.runtime import Runtime


def install(patches: Patches, module: Any, current: Callable[[], Runtime | None]) -> None:
    """Replace ``UdpSocketState`` in ``module``, qh3's transport. ``current()``: the runtime, or None."""
    if hasattr(module, "_UdpSocketState"):
        patches.replace(module, "_UdpSocketState", UdpSocketState)
    hazmat = sys.modules["qh3._hazmat"]
    if hasattr(hazmat, "UdpSocketState"):
        patches.replace(hazmat, "UdpSocketState", UdpSocketState)


def UdpSocketState(fd: int) -> NoReturn:
    """In the place of Rust's class: refuse all sockets, so that qh3 calls their methods."""
    raise NotImplementedError("pysocksify: datagrams go through the methods of the socket")
