"""What a program gets back when its tunnel failed: a socket that is not connected, to try again with."""

from __future__ import annotations

import _socket

from pywrap.tunnel.first_hop import clone_socket


def unconnected(sock: _socket.socket) -> _socket.socket:
    """A socket as the program made ``sock``, which it may close then; or ``sock`` itself, cut off.

    The latter where there is no descriptor left for another (EMFILE). Either way no byte of the program's
    gets into a handshake that is half done.
    """
    try:
        return clone_socket(sock, sock.family)
    except OSError:
        try:
            sock.shutdown(_socket.SHUT_RDWR)
        except OSError:
            # Not connected, so there is nothing to cut off.
            pass
        return sock
