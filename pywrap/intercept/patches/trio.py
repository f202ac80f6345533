"""trio's sockets: they call C's methods as it found them on the class, past those of a datagram socket.

``trio._socket`` wraps ``socket.socket.recv`` and its like when it is imported, in functions that keep each
in a closure. What they keep is replaced by a look-up on the socket itself. And it takes sockets of the class
``socket.socket`` alone, lest it calls past what another class does: so it does not see the one of datagrams.
"""

from __future__ import annotations

from pywrap.intercept import originals
from pywrap.intercept.derived_class import MARK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_KEPT = {
    getattr(originals, name): name
    for name in ("recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into", "send")
}


def install(patches: originals.Patches, module: Any, roots: list[type]) -> None:
    for function in vars(module._SocketType).values():
        for cell in getattr(function, "__closure__", None) or ():
            kept = cell.cell_contents
            name = _KEPT.get(kept) if callable(kept) else None
            if name is not None:
                cell.cell_contents = _looked_up(name)
                patches.remember(lambda cell=cell, kept=kept: setattr(cell, "cell_contents", kept))  # type: ignore[misc]

    wrapped = module._SocketType.__init__

    def __init__(self: Any, sock: Any) -> None:
        cls = type(sock)
        hidden = hasattr(cls, MARK) and cls.__base__ in roots
        if hidden:
            sock.__class__ = cls.__base__
        try:
            wrapped(self, sock)
        finally:
            if hidden:
                sock.__class__ = cls

    patches.replace(module._SocketType, "__init__", __init__)


def _looked_up(name: str) -> Callable[..., Any]:
    def call(sock: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(sock, name)(*args, **kwargs)

    call.__name__ = name
    return call
