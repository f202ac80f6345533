"""What a program does to a socket that is in the tables (``tunnels``): close(), dup(), a change of mode.

detach() needs nothing: the descriptor stays the same. All of these go straight on when the tables are empty.
"""

from __future__ import annotations

from pywrap.intercept import originals
from pywrap.intercept.loading import load
from pywrap.intercept.tunnels import inode

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.tunnels import Tunnels


def install(patches: originals.Patches, module: Any, tunnels: Tunnels) -> None:
    def dup(fd: Any, /) -> int:
        """dup(integer) -> integer: duplicate a descriptor; a pending tunnel, or a flow, comes to both."""
        if not tunnels.pending and not tunnels.listening and not tunnels.flows:
            return originals.dup(fd)
        with tunnels.lock:
            new = originals.dup(fd)
            number = inode(new)
            if number in tunnels.pending:
                tunnels.pending[number].fds.add(new)
            elif number in tunnels.listening:
                tunnels.listening[number].fds.add(new)
            elif number in tunnels.flows:
                tunnels.flows[number].under.fds.add(new)
            return new

    made = module.socket.__init__
    tunnels.roots.append(module.socket)

    def __init__(
        self: _socket.socket, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        made(self, family, type, proto, fileno)
        if originals.is_datagram(self):
            datagram = load("pywrap.intercept.datagram")
            datagram.prepare(tunnels, self)
            if fileno is not None and tunnels.flows:
                datagram.join_known(tunnels, self)

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
        pending = tunnels.pending_of(originals.fileno(sock))
        if pending is not None:
            pending.wait(timeout)

    patches.replace(module.socket, "__init__", __init__)
    patches.replace(module.socket, "_real_close", closing(tunnels, module.socket._real_close))
    patches.replace(module.socket, "setblocking", setblocking)
    patches.replace(module.socket, "settimeout", settimeout)
    patches.replace(module, "dup", dup)


def closing(tunnels: Tunnels, real_close: Callable[..., None]) -> Callable[..., None]:
    """``real_close``, a method that closes a socket, for one that may be in the tables."""

    def close(self: _socket.socket, *args: Any) -> None:
        if not tunnels.pending and not tunnels.listening:
            return real_close(self, *args)
        # Not between the check that a descriptor is still ours and the hand-over onto it. The
        # background thread sees the placeholder's other end hang up and gives up.
        with tunnels.lock:
            tunnels.closing(originals.fileno(self))
            return real_close(self, *args)

    return close
