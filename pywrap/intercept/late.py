"""trio's sockets: they call C's methods as it found them on the class, past those that a datagram socket gets.

``trio._socket`` wraps ``socket.socket.recv`` and its like when it is imported, each in a function that keeps it
in a closure. What it keeps is replaced by a look-up on the socket itself.
"""

from __future__ import annotations

from pywrap.intercept import originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_KEPT = {
    getattr(originals, name): name
    for name in ("recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into", "send")
}


def install(patches: originals.Patches, module: Any) -> None:
    for function in vars(module._SocketType).values():
        for cell in getattr(function, "__closure__", None) or ():
            kept = cell.cell_contents
            name = _KEPT.get(kept) if callable(kept) else None
            if name is not None:
                cell.cell_contents = _looked_up(name)
                patches.remember(lambda cell=cell, kept=kept: setattr(cell, "cell_contents", kept))  # type: ignore[misc]


def _looked_up(name: str) -> Callable[..., Any]:
    def call(sock: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(sock, name)(*args, **kwargs)

    call.__name__ = name
    return call
