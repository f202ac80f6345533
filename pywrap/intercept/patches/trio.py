"""trio's sockets: they call the C methods that trio found on the class, past those of our datagram class.

When ``trio._socket`` is imported, it wraps ``socket.socket.recv`` and the like in functions that keep each
method in a closure. The kept methods are replaced by functions that look the method up on the socket itself.
trio accepts only sockets of the exact class ``socket.socket``: so while it checks a datagram socket, that is
of this class.
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
    """Patch ``module``, which is ``trio._socket``. ``roots``: the patched socket classes."""
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
    """In the place of a method that trio has kept: call the one that ``sock`` has now."""
    return getattr(sock, _name)(*args, **kwargs)


def wrap(self: Any, sock: Any, *, _real: Callable[..., None], _roots: list[type]) -> None:
    """The constructor of trio's sockets, by ``_real``, for which ``sock`` is of its own class again."""
    cls = type(sock)
    hidden = hasattr(cls, MARK) and cls.__base__ in _roots
    if hidden:
        sock.__class__ = cls.__base__
    try:
        _real(self, sock)
    finally:
        if hidden:
            sock.__class__ = cls
