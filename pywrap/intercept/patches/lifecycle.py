"""close(), dup(), the constructor and changes of mode, for sockets that are in the tables (``registry``).

detach() needs no patch: the descriptor stays the same. Each of these calls the original at once when the
tables are empty.
"""

from __future__ import annotations

import _socket

from pywrap.intercept import originals
from pywrap.intercept.loading import load
from pywrap.intercept.patching import Function, with_state
from pywrap.intercept.socket_inodes import inode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.registry import SocketRegistry

# The registry of this process; set by ``install``.
_registry: SocketRegistry


def install(patches: originals.Patches, module: Any, registry: SocketRegistry) -> None:
    """Replace these methods of the socket class in ``module``, and its ``dup``."""
    global _registry
    _registry = registry
    registry.roots.append(module.socket)
    for name, function in (("__init__", initialize), ("_real_close", close)):
        # The original differs from module to module: eventlet has a second ``socket``, and gevent's class has
        # methods of its own.
        real = getattr(module.socket, name)
        patches.replace(module.socket, name, with_state(function, real, _real=real))
    patches.replace(module.socket, "setblocking", setblocking)
    patches.replace(module.socket, "settimeout", settimeout)
    replacement = Function(dup, originals.dup, _socket)
    for owner in (_socket, module):
        patches.replace(owner, "dup", replacement)


def dup(fd: Any, /) -> int:
    """dup(integer) -> integer: duplicate a descriptor; a pending tunnel is handed over to both."""
    if not _registry.pending and not _registry.listening and not _registry.flows:
        return originals.dup(fd)
    with _registry.lock:
        new = originals.dup(fd)
        tracked = _registry.tracked(inode(new))
        if tracked is not None:
            tracked.fds.add(new)
        return new


def setblocking(self: _socket.socket, flag: bool, /) -> None:
    """setblocking(flag): as settimeout(None) or settimeout(0.0)."""
    if flag:
        _wait(self, None)
    originals.setblocking(self, flag)


def settimeout(self: _socket.socket, timeout: float | None, /) -> None:
    """settimeout(timeout): seconds, None to block, 0.0 never to."""
    if timeout is None or timeout:
        _wait(self, timeout)
    originals.settimeout(self, timeout)


def _wait(sock: _socket.socket, timeout: float | None) -> None:
    # Without this, a blocking recv() would wait on the placeholder for ever.
    pending = _registry.pending_of(originals.fileno(sock))
    if pending is not None:
        pending.wait(timeout)


def initialize(
    self: _socket.socket,
    family: int = -1,
    type: int = -1,
    proto: int = -1,
    fileno: int | None = None,
    *,
    _real: Callable[..., None],
) -> None:
    """The constructor of a socket, by ``_real``; gives datagram sockets their methods."""
    if fileno is not None and _registry.pending and isinstance(fileno, int):
        # A copy of a placeholder, made in a way that passes no patch (os.dup2, SCM_RIGHTS), becomes known.
        # The kernel would give its family as AF_UNIX.
        pending = _registry.pending_of(fileno)
        if pending is not None:
            known = originals.family_type_proto(pending.real)
            family, type, proto = (
                real if given == -1 else given
                for given, real in zip((family, type, proto), known, strict=True)
            )
    _real(self, family, type, proto, fileno)
    if originals.is_datagram(self):
        datagram = load("pywrap.intercept.udp.datagram_methods")
        datagram.prepare(_registry, self)
        if fileno is not None and _registry.flows:
            datagram.join_known(_registry, self)


def close(self: _socket.socket, *, _real: Callable[..., None]) -> None:
    """Close a socket by ``_real``, and tell its entry in the tables, if there is one."""
    if not _registry.pending and not _registry.listening:
        return _real(self)
    # Under the lock, so that it does not come between the check that a descriptor is still the program's
    # socket and the hand-over onto it. The background thread notices the hang-up of the placeholder, and
    # gives up.
    with _registry.lock:
        _registry.closing(originals.fileno(self))
        return _real(self)
