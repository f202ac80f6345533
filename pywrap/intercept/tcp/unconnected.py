"""What a program gets back when its tunnel failed: a socket that is not connected, to try again with."""

from __future__ import annotations

import _socket

from pywrap.tunnel.first_hop import clone_socket, is_lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T", bound=_socket.socket)


def unconnected(sock: T) -> T:
    """A socket as the program made ``sock``, which it may close then; or ``sock`` itself, cut off.

    The latter where there is no descriptor left for another (EMFILE). Either way no byte of the program's
    gets into a handshake that is half done.
    """
    try:
        return clone_socket(sock, sock.family)
    except OSError:
        if is_lost(sock):
            return sock
        try:
            sock.shutdown(_socket.SHUT_RDWR)
        except OSError:
            # Not connected, so there is nothing to cut off.
            pass
        return sock
