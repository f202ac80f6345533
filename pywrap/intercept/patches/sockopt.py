"""socket.getsockopt() and setsockopt(): SO_ERROR has the errno of a tunnel.

While there is a placeholder, the other options are those of the socket that will take its place. Multicast
groups are not joined (``multicast``), and no packet takes another route (``source_routes``).
"""

from __future__ import annotations

import _socket
from _operator import index

from pywrap.intercept import originals
from pywrap.intercept.loading import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.registry import SocketRegistry
    from pywrap.intercept.runtime import Runtime


_IP_LEVELS = (_socket.IPPROTO_IP, _socket.IPPROTO_IPV6)
# Options of IPv4 or IPv6 that may join a group: only for these is the implementation imported.
_JOINS = frozenset({20, 27, 35, 37, 38, 39, 41, 42, 43, 44, 46, 48})

# Options of IPv4 or IPv6 that may set a source route: only for these ``source_routes`` is imported.
_ROUTES = frozenset({4, 6, 57})

# The registry of this process; set by ``install``.
_registry: SocketRegistry
_current: Callable[[], Runtime | None]


def install(
    patches: originals.Patches, module: Any, registry: SocketRegistry, current: Callable[[], Runtime | None]
) -> None:
    """Replace getsockopt() and setsockopt() of the socket class in ``module``."""
    global _registry, _current
    _registry, _current = registry, current
    patches.replace(module.socket, "getsockopt", getsockopt)
    patches.replace(module.socket, "setsockopt", setsockopt)


def getsockopt(self: _socket.socket, level: int, optname: int, *buflen: int) -> Any:
    """getsockopt(level, optname[, buflen]) -> int or bytes."""
    fd = originals.fileno(self)
    is_error = level == _socket.SOL_SOCKET and optname == _socket.SO_ERROR and fd >= 0 and not buflen
    if is_error and (error := _registry.error_of(fd)) is not None:
        # The kernel's SO_ERROR of the real socket is for the attempt that connects it.
        return error
    if _registry.listening:
        with _registry.lock:
            listener = _registry.listener_of(fd)
            if listener is not None:
                return listener.getsockopt(self, level, optname, *buflen)
    if _registry.pending and not is_error:
        with _registry.lock:
            pending = _registry.pending_of(fd)
            if pending is not None:
                return pending.real.getsockopt(level, optname, *buflen)
    return originals.getsockopt(self, level, optname, *buflen)


def setsockopt(self: _socket.socket, *args: Any) -> None:
    """setsockopt(level, optname, value[, optlen])."""
    if len(args) == 3 and _is_one(_JOINS, args[0], args[1]) and (runtime := _current()) is not None:
        load("pywrap.intercept.multicast").check(runtime, args)
    if len(args) == 3 and _is_one(_ROUTES, args[0], args[1]) and (runtime := _current()) is not None:
        load("pywrap.intercept.source_routes").check(runtime, args)
    if _registry.listening:
        with _registry.lock:
            listener = _registry.listener_of(originals.fileno(self))
            if listener is not None:
                return listener.setsockopt(self, *args)
    if _registry.pending:
        with _registry.lock:
            pending = _registry.pending_of(originals.fileno(self))
            if pending is not None:
                return pending.real.setsockopt(*args)
    return originals.setsockopt(self, *args)


def _is_one(options: frozenset[int], level: Any, option: Any) -> bool:
    """Whether ``option`` is in ``options``, and ``level`` is that of IPv4 or of IPv6."""
    try:
        return index(option) in options and index(level) in _IP_LEVELS
    except TypeError:
        # C raises the error.
        return False
