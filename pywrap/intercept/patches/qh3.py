"""qh3's transport: sends and receives datagrams in Rust, on the descriptor, past every patch of the socket.

It does where ``UdpSocketState`` can be made; where that raises, as off Unix, it goes by the methods of the
socket. niquests' HTTP/3 in asyncio is the same transport.
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
    if hasattr(module, "_UdpSocketState"):
        patches.replace(module, "_UdpSocketState", UdpSocketState)
    hazmat = sys.modules["qh3._hazmat"]
    if hasattr(hazmat, "UdpSocketState"):
        patches.replace(hazmat, "UdpSocketState", UdpSocketState)


def UdpSocketState(fd: int) -> NoReturn:
    """In the place of Rust's class, for sockets that may go through a proxy: all."""
    raise NotImplementedError("pysocksify: datagrams go through the methods of the socket")
