"""socket.getpeername() tells the destination, not the proxy; getsockname() works while a tunnel is pending.

ftplib's passive mode connects to ``getpeername()[0]``: with the kernel's answer, to the proxy.
"""

from __future__ import annotations

import errno
import os
import socket

from pywrap.intercept import originals
from pywrap.intercept.tunnels import inode

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any

    from pywrap.intercept.tunnels import Tunnels


def install(patches: originals.Patches, tunnels: Tunnels) -> None:
    def getpeername(self: _socket.socket) -> Any:
        """getpeername() -> address info: the destination that was asked for."""
        fd = originals.fileno(self)
        if tunnels.pending_of(fd) is not None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        # First, so that a connection which is gone is ENOTCONN.
        peer = originals.getpeername(self)
        return tunnels.established.get(inode(fd), peer) if tunnels.established else peer

    def getsockname(self: _socket.socket) -> Any:
        """getsockname() -> address info: the kernel's, of the connection to the first proxy."""
        with tunnels.lock:
            pending = tunnels.pending_of(originals.fileno(self))
            if pending is not None:
                return pending.real.getsockname()
        return originals.getsockname(self)

    patches.replace(socket.socket, "getpeername", getpeername)
    patches.replace(socket.socket, "getsockname", getsockname)
