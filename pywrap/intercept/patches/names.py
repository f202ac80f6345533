"""socket.getpeername() tells the destination, not the proxy; getsockname() works while a tunnel is pending.

ftplib's passive mode connects to ``getpeername()[0]``: with the kernel's answer, to the proxy. Its active
mode announces ``getsockname()[0]`` of its connection to the server: with ``listen bind`` that is the address
of the last proxy, as it is for a socket that listens there and for what that accepts.
"""

from __future__ import annotations

import _socket
import errno
import os

from pywrap.intercept import originals
from pywrap.intercept.sockets import inode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pywrap.intercept.registry import SocketRegistry


def install(patches: originals.Patches, module: Any, registry: SocketRegistry) -> None:
    def getpeername(self: _socket.socket) -> Any:
        """getpeername() -> address info: the destination that was asked for."""
        fd = originals.fileno(self)
        if registry.pending_of(fd) is not None or registry.listener_of(fd) is not None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        # First, so that a connection which is gone is ENOTCONN.
        peer = originals.getpeername(self)
        return registry.established.get(inode(fd), peer) if registry.established else peer

    def getsockname(self: _socket.socket) -> Any:
        """getsockname() -> address info: the kernel's, of the connection to the first proxy."""
        if registry.listening:
            listener = registry.listener_of(originals.fileno(self))
            if listener is not None:
                return listener.getsockname(originals.fileno(self))
        if registry.names:
            name = registry.name_of(originals.fileno(self))
            if name is not None:
                return name
        if registry.pending:
            with registry.lock:
                pending = registry.pending_of(originals.fileno(self))
                if pending is not None:
                    return pending.real.getsockname()
        family = originals.family_type_proto(self)[0]
        if registry.established and family == _socket.AF_INET and _is_ipv6(self):
            return "0.0.0.0", _port(self)
        return originals.getsockname(self)

    # An IPv4 socket whose first proxy has an IPv6 address is an IPv6 one underneath. The C code gives the
    # kernel room for 16 bytes then, and reads 28.
    def _is_ipv6(sock: _socket.socket) -> bool:
        fd = originals.fileno(sock)
        if fd < 0 or inode(fd) not in registry.established:
            return False
        return originals.getsockopt(sock, _socket.SOL_SOCKET, _socket.SO_DOMAIN) == _socket.AF_INET6

    real_repr = module.socket.__repr__

    def __repr__(self: _socket.socket) -> str:
        # It asks for both names, for a log or a ResourceWarning: nothing to wait for a proxy for.
        listener = registry.listener_of(originals.fileno(self))
        if listener is not None and listener.asking:
            return originals.Socket.__repr__(self)
        return str(real_repr(self))

    patches.replace(module.socket, "__repr__", __repr__)
    patches.replace(module.socket, "getpeername", getpeername)
    patches.replace(module.socket, "getsockname", getsockname)


def _port(sock: _socket.socket) -> int:
    underneath = originals.Socket(_socket.AF_INET6, _socket.SOCK_STREAM, fileno=originals.fileno(sock))
    try:
        return int(underneath.getsockname()[1])
    finally:
        underneath.detach()
