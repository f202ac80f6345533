"""The socket that a program gets back when its tunnel failed: unconnected, so that it can try again."""

from __future__ import annotations

from pywrap.intercept import originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket


def unconnected(sock: _socket.socket) -> _socket.socket:
    """A new socket as the program made ``sock``.

    Without the address that it was bound to: the old socket still holds that, and a program that
    binds to a port of its own and tries again after a failure has not been met yet.
    """
    from pywrap.tunnel.dial import like

    return like(sock, originals.family_type_proto(sock)[0])
