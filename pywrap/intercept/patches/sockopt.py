"""socket.getsockopt() and setsockopt(): SO_ERROR tells how a tunnel went.

While there is a placeholder, the other options are those of the socket underneath it.
"""

from __future__ import annotations

import _socket

from pywrap.intercept import originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pywrap.intercept.registry import SocketRegistry


def install(patches: originals.Patches, module: Any, registry: SocketRegistry) -> None:
    def getsockopt(self: _socket.socket, level: int, optname: int, *buflen: int) -> Any:
        """getsockopt(level, optname[, buflen]) -> int or bytes."""
        fd = originals.fileno(self)
        is_error = level == _socket.SOL_SOCKET and optname == _socket.SO_ERROR and fd >= 0 and not buflen
        if is_error and (error := registry.error_of(fd)):
            return error
        if registry.listening:
            with registry.lock:
                listener = registry.listener_of(fd)
                if listener is not None:
                    return listener.getsockopt(self, level, optname, *buflen)
        if registry.pending:
            with registry.lock:
                pending = registry.pending_of(fd)
                if pending is not None:
                    # What the kernel has to tell of the socket underneath is for whoever opens the tunnel.
                    return 0 if is_error else pending.real.getsockopt(level, optname, *buflen)
        return originals.getsockopt(self, level, optname, *buflen)

    def setsockopt(self: _socket.socket, *args: Any) -> None:
        """setsockopt(level, optname, value[, optlen])."""
        if registry.listening:
            with registry.lock:
                listener = registry.listener_of(originals.fileno(self))
                if listener is not None:
                    return listener.setsockopt(self, *args)
        if registry.pending:
            with registry.lock:
                pending = registry.pending_of(originals.fileno(self))
                if pending is not None:
                    return pending.real.setsockopt(*args)
        return originals.setsockopt(self, *args)

    patches.replace(module.socket, "getsockopt", getsockopt)
    patches.replace(module.socket, "setsockopt", setsockopt)
