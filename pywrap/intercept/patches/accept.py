"""socket._accept(), the C function below accept(): for a socket that listens at a proxy (``listener``)."""

from __future__ import annotations

from pywrap.intercept import originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any

    from pywrap.intercept.registry import SocketRegistry


def install(patches: originals.Patches, module: Any, registry: SocketRegistry) -> None:
    def _accept(self: _socket.socket) -> Any:
        """_accept() -> (integer, address info)."""
        if registry.listening:
            listener = registry.listener_of(originals.fileno(self))
            if listener is not None:
                return listener.accept(self)
        return originals.accept(self)

    patches.replace(module.socket, "_accept", _accept)
