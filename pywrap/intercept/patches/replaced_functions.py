"""Functions that decide about traffic, and import their implementation when they are called.

``connect connect_ex bind`` (``connecting``), ``listen`` (``listen``), ``sendto sendmsg`` (``sendto``),
and the functions that look names up (``getaddrinfo``). A function that the program has kept goes on working:
after ``uninstall``, it calls the interpreter's own.
"""

from __future__ import annotations

import _socket

from pywrap.intercept import originals
from pywrap.intercept.patching import Function, with_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.runtime import Runtime

METHODS = ("bind", "connect", "connect_ex", "listen", "sendmsg", "sendto")
# ``socket`` has copies of these, by ``from _socket import *``.
COPIED = ("gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo")


# Returns the runtime of this process; set by ``install``.
_current: Callable[[], Runtime | None]


def install(patches: originals.Patches, module: Any, current: Callable[[], Runtime | None]) -> None:
    """Replace these functions in ``module``, which is ``socket``. ``current()``: the runtime, or None."""
    global _current
    _current = current
    for name in METHODS:
        original = getattr(originals.Socket, name)
        method = with_state(call_method, original, _name=name, _original=original)
        # A method is pickled by its module and its qualified name.
        method.__module__ = module.socket.__module__
        patches.replace(module.socket, name, method)
    # ``socket.getaddrinfo`` is written in Python, and calls ``_socket.getaddrinfo``. Replacing the latter
    # also reaches modules that have imported the former before us.
    for name in ("getaddrinfo", *COPIED):
        original = getattr(originals, name)
        replacement = Function(with_state(call_function, original, _name=name), original, _socket)
        patches.replace(_socket, name, replacement)
        if name in COPIED:
            patches.replace(module, name, replacement)


def call_function(*args: Any, _name: str, **kwargs: Any) -> Any:
    """A function of ``socket``: the one in ``Runtime.functions`` with the name ``_name``."""
    runtime = _current()
    function = getattr(originals, _name) if runtime is None else runtime.functions[_name]
    try:
        return function(*args, **kwargs)
    finally:
        # The traceback of an exception would keep the arguments alive by this frame; C functions have none.
        del args, kwargs


def call_method(self: _socket.socket, *args: Any, _name: str, _original: Any, **kwargs: Any) -> Any:
    """A method of ``socket.socket``: the one in ``Runtime.functions`` with the name ``_name``."""
    # For any other family (AF_UNIX) the original method is called, and nothing is imported.
    runtime = _current() if originals.is_inet(self) else None
    function = _original if runtime is None else runtime.functions[_name]
    return function(self, *args, **kwargs)
