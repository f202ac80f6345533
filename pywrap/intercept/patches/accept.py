"""socket._accept(), the C function below accept(): for a socket that listens at a proxy (``bind``)."""

from __future__ import annotations

from pywrap.intercept import originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any

    from pywrap.intercept.registry import SocketRegistry

# The registry of this process; set by ``install``.
_registry: SocketRegistry


def install(patches: originals.Patches, module: Any, registry: SocketRegistry) -> None:
    """Replace ``_accept`` of the socket class in ``module``, which is ``socket``."""
    global _registry
    _registry = registry
    patches.replace(module.socket, "_accept", _accept)


def _accept(self: _socket.socket) -> Any:
    """_accept() -> (integer, address info)."""
    if _registry.listening:
        listener = _registry.listener_of(originals.fileno(self))
        if listener is not None:
            return listener.accept(self)
    return originals.accept(self)
