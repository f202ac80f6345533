"""What a program does to a socket that is in the tables (``registry``): close(), dup(), a change of mode.

detach() needs nothing: the descriptor stays the same. All of these go straight on when the tables are empty.
"""

from __future__ import annotations

from pywrap.intercept import originals
from pywrap.intercept.loading import load
from pywrap.intercept.sockets import inode

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.registry import SocketRegistry

# Of this process; set by ``install``.
_registry: SocketRegistry


def install(patches: originals.Patches, module: Any, registry: SocketRegistry) -> None:
    global _registry
    _registry = registry
    registry.roots.append(module.socket)
    patches.replace(module.socket, "__init__", _making(registry, module.socket.__init__))
    patches.replace(module.socket, "_real_close", closing(registry, module.socket._real_close))
    patches.replace(module.socket, "setblocking", setblocking)
    patches.replace(module.socket, "settimeout", settimeout)
    patches.replace(module, "dup", dup)


def dup(fd: Any, /) -> int:
    """dup(integer) -> integer: duplicate a descriptor; a pending tunnel, or a flow, comes to both."""
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
    # A thread that then sleeps in recv() would sleep on the placeholder.
    pending = _registry.pending_of(originals.fileno(sock))
    if pending is not None:
        pending.wait(timeout)


def _making(registry: SocketRegistry, real_init: Callable[..., None]) -> Callable[..., None]:
    """``real_init``, the constructor of a socket, which gives datagram sockets their methods."""

    def __init__(
        self: _socket.socket, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        real_init(self, family, type, proto, fileno)
        if originals.is_datagram(self):
            datagram = load("pywrap.intercept.udp.methods")
            datagram.prepare(registry, self)
            if fileno is not None and registry.flows:
                datagram.join_known(registry, self)

    return __init__


def closing(registry: SocketRegistry, real_close: Callable[..., None]) -> Callable[..., None]:
    """``real_close``, a method that closes a socket, for one that may be in the tables."""

    def close(self: _socket.socket, *args: Any) -> None:
        if not registry.pending and not registry.listening:
            return real_close(self, *args)
        # Not between the check that a descriptor is still ours and the hand-over onto it. The
        # background thread sees the placeholder's other end hang up and gives up.
        with registry.lock:
            registry.closing(originals.fileno(self))
            return real_close(self, *args)

    return close
