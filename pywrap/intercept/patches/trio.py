"""trio's sockets: they call C's methods as it found them on the class, past those of a datagram socket.

``trio._socket`` wraps ``socket.socket.recv`` and its like when it is imported, in functions that keep each
in a closure. What they keep is replaced by a look-up on the socket itself. And it takes sockets of the class
``socket.socket`` alone, lest it calls past what another class does: so it does not see the one of datagrams.
"""

from __future__ import annotations

from pywrap.intercept import originals
from pywrap.intercept.derived_class import MARK
from pywrap.intercept.patching import with_state

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
                cell.cell_contents = with_state(call_by_name, kept, _name=name)
                patches.remember(lambda cell=cell, kept=kept: setattr(cell, "cell_contents", kept))  # type: ignore[misc]
    real = module._SocketType.__init__
    patches.replace(module._SocketType, "__init__", with_state(wrap, real, _real=real, _roots=roots))


def call_by_name(sock: Any, *args: Any, _name: str, **kwargs: Any) -> Any:
    """A method that trio has kept: the one that ``sock`` has by now."""
    return getattr(sock, _name)(*args, **kwargs)


def wrap(self: Any, sock: Any, *, _real: Callable[..., None], _roots: list[type]) -> None:
    """The constructor of trio's sockets, by ``_real``, which gets to see ``sock``'s own class."""
    cls = type(sock)
    hidden = hasattr(cls, MARK) and cls.__base__ in _roots
    if hidden:
        sock.__class__ = cls.__base__
    try:
        _real(self, sock)
    finally:
        if hidden:
            sock.__class__ = cls
