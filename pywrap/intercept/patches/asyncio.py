"""asyncio's ``loop.sock_connect()``: the event loop opens the tunnel itself (``tcp.in_loop``).

asyncio makes all its TCP connections by this method. Other event loops that are written in Python wait for a
placeholder (``tcp.nonblocking``), which costs the background thread and thread switches.
"""

from __future__ import annotations

import _socket

from pywrap.intercept import originals
from pywrap.intercept.loading import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.runtime import Runtime


def install(patches: originals.Patches, module: Any, current: Callable[[], Runtime | None]) -> None:
    """Replace the method in ``module``, which is ``asyncio.selector_events``."""
    original = module.BaseSelectorEventLoop._sock_connect

    def _sock_connect(self: Any, fut: Any, sock: _socket.socket, address: Any) -> None:
        # An object that only looks like a socket (a mock of unittest) is not ours: the loop calls its
        # connect().
        is_ours = issubclass(type(sock), _socket.socket) and originals.is_inet(sock)
        runtime = current() if is_ours else None
        if runtime is None or not load("pywrap.intercept.tcp.in_loop").opens(
            runtime, self, fut, sock, address
        ):
            original(self, fut, sock, address)

    patches.replace(module.BaseSelectorEventLoop, "_sock_connect", _sock_connect)
