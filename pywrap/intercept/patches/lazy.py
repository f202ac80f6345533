"""Functions that decide about traffic, and import their implementation when they are called.

``connect connect_ex bind`` (``connect``), ``listen`` (``bind.listener``), ``sendto sendmsg`` (``sendto``),
and the resolver family (``getaddrinfo``). One that the program has kept works on: after ``uninstall``, it
calls the interpreter's own.
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
        replacement = _method(name, getattr(originals.Socket, name), current)
        patches.replace(module.socket, name, replacement)
    # ``socket.getaddrinfo`` is Python, and calls that of ``_socket``. Replacing the latter reaches modules
    # that have imported the former before us.
    for name in ("getaddrinfo", *COPIED):
        replacement = _function(name, getattr(originals, name), current)
        patches.replace(_socket, name, replacement)
        if name in COPIED:
            patches.replace(module, name, replacement)


def _function(name: str, original: Any, current: Callable[[], Runtime | None]) -> Callable[..., Any]:
    def replacement(*args: Any, **kwargs: Any) -> Any:
        runtime = current()
        function = original if runtime is None else runtime.functions[name]
        try:
            return function(*args, **kwargs)
        finally:
            # The traceback of an exception would keep the arguments alive by this frame, as C's does not.
            del args, kwargs

    return _named(replacement, name, original)


def _method(name: str, original: Any, current: Callable[[], Runtime | None]) -> Callable[..., Any]:
    def replacement(self: _socket.socket, *args: Any, **kwargs: Any) -> Any:
        # Of any other family (AF_UNIX), it is the kernel's, and nothing is imported.
        runtime = current() if originals.is_inet(self) else None
        function = original if runtime is None else runtime.functions[name]
        return function(self, *args, **kwargs)

    return _named(replacement, name, original)


def _named(replacement: Callable[..., Any], name: str, original: Any) -> Callable[..., Any]:
    """``replacement``, with the name and the docstring of ``original``."""
    replacement.__name__ = replacement.__qualname__ = name
    replacement.__doc__ = original.__doc__
    return replacement
