"""_socket.socket, the C class below ``socket.socket``: gevent, eventlet and others derive from it.

The C class cannot be changed, so a class derived from it takes its place in ``_socket``, with the functions
that replace those of ``socket.socket``. Objects that C code makes (socketpair) are of the original class.
"""

from __future__ import annotations

import _socket

from pywrap.intercept import originals
from pywrap.intercept.patches import lifecycle
from pywrap.intercept.patching import with_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pywrap.intercept.registry import SocketRegistry

SAME = (
    *("_accept", "bind", "connect", "connect_ex", "getpeername", "getsockname", "getsockopt"),
    *("listen", "sendmsg", "sendto", "setblocking", "setsockopt", "settimeout"),
)


# What is in the derived class; set by ``install``.
_functions: dict[str, Any] = {}


def install(patches: originals.Patches, module: Any, registry: SocketRegistry) -> None:
    """Put the derived class into ``_socket``; ``module`` is ``socket``, already patched."""
    global _functions
    functions = _functions = {name: vars(module.socket)[name] for name in SAME}
    functions["close"] = with_state(lifecycle.close, originals.close, _real=originals.close)
    itself = {"__slots__": (), "__module__": "_socket", "__doc__": originals.Socket.__doc__}
    derived = _Derived("socket", (originals.Socket,), {**itself, **functions})
    registry.roots.append(derived)
    for name in ("socket", "SocketType"):
        patches.replace(_socket, name, derived)
    patches.replace(module, "SocketType", derived)


def cover(patches: originals.Patches, cls: Any, registry: SocketRegistry) -> None:
    """Give ``cls``, which derives from the original class, what is in the one that has taken its place."""
    registry.roots.append(cls)
    for name, function in _functions.items():
        patches.replace(cls, name, function)


class _Derived(type):
    """The metaclass of the derived class: it counts objects and subclasses of the original class as its own.

    The derived class is immutable like the original.
    """

    def __setattr__(cls, name: str, value: Any) -> None:
        _check_mutable(cls, name)
        super().__setattr__(name, value)

    def __delattr__(cls, name: str) -> None:
        _check_mutable(cls, name)
        super().__delattr__(name)

    def __instancecheck__(cls, instance: Any) -> bool:
        if cls is _socket.socket:
            return isinstance(instance, originals.Socket)
        return super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: Any) -> bool:
        if cls is _socket.socket:
            return issubclass(subclass, originals.Socket)
        return super().__subclasscheck__(subclass)


def _check_mutable(cls: type, name: str) -> None:
    if cls is _socket.socket:
        raise TypeError(f"cannot set {name!r} attribute of immutable type '_socket.socket'")
