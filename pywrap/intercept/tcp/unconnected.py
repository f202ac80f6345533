"""The socket that a program gets back when its tunnel failed: it is not connected, and may try again."""

from __future__ import annotations

import _socket

from pywrap.intercept import originals
from pywrap.tunnel.first_hop import clone_socket, is_lost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T", bound=_socket.socket)


def unconnected(sock: T) -> T:
    """Return an unconnected socket with the options of ``sock``. The caller may then close ``sock``.

    Where no descriptor is left (EMFILE), the result is ``sock`` itself, shut down. In both cases the program
    cannot write into a handshake that is half done.
    """
    try:
        return clone_socket(sock, sock.family)
    except OSError:
        if not is_lost(sock):
            hang_up(sock)
        return sock


def hang_up(sock: _socket.socket) -> None:
    """Shut ``sock`` down, both ways."""
    try:
        originals.shutdown(sock, _socket.SHUT_RDWR)
    except OSError:
        # The socket is not connected, so there is nothing to shut down.
        pass
