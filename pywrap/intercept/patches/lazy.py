"""Doors: what decides about traffic, replaced by functions that import their implementation when called.

``connect connect_ex bind`` (``connect``), ``listen`` (``listener``), ``sendto sendmsg`` (``methods``), and
the resolver family (``getaddrinfo``). A door that somebody has kept works on: after ``uninstall`` it leads to
the interpreter's own.
"""

from __future__ import annotations

import _socket

from pywrap.intercept import originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.runtime import Runtime

METHODS = ("bind", "connect", "connect_ex", "listen", "sendmsg", "sendto")
# socket.py copies these by ``from _socket import *``.
COPIED = ("gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo")


def install(patches: originals.Patches, module: Any, current: Callable[[], Runtime | None]) -> None:
    for name in METHODS:
        door = _method(name, getattr(originals.Socket, name), current)
        patches.replace(module.socket, name, door)
    # ``socket.getaddrinfo`` is Python, and calls that of ``_socket``: replacing the latter reaches whoever
    # imported the former before us.
    for name in ("getaddrinfo", *COPIED):
        door = _function(name, getattr(originals, name), current)
        patches.replace(_socket, name, door)
        if name in COPIED:
            patches.replace(module, name, door)


def _function(name: str, original: Any, current: Callable[[], Runtime | None]) -> Callable[..., Any]:
    def door(*args: Any, **kwargs: Any) -> Any:
        runtime = current()
        function = original if runtime is None else runtime.functions[name]
        try:
            return function(*args, **kwargs)
        finally:
            # An exception would keep what it was called with by this frame, as C does not.
            del args, kwargs

    return _disguised(door, name, original)


def _method(name: str, original: Any, current: Callable[[], Runtime | None]) -> Callable[..., Any]:
    def door(self: _socket.socket, *args: Any, **kwargs: Any) -> Any:
        # AF_UNIX and the like: nothing of ours, and nothing to import.
        runtime = current() if originals.is_inet(self) else None
        function = original if runtime is None else runtime.functions[name]
        return function(self, *args, **kwargs)

    return _disguised(door, name, original)


def _disguised(door: Callable[..., Any], name: str, original: Any) -> Callable[..., Any]:
    door.__name__ = door.__qualname__ = name
    door.__doc__ = original.__doc__
    return door
