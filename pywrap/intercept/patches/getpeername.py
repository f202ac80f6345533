"""socket.getpeername() returns the destination, not the proxy; getsockname() works while a tunnel is pending.

ftplib's passive mode connects to ``getpeername()[0]``, which in the kernel is the proxy. Its active mode
announces ``getsockname()[0]`` of its connection to the server: with ``listen bind`` that is the address of
the last proxy, as it is for a socket that listens there and for the connections that it accepts.
"""

from __future__ import annotations

import _socket
import errno
import os

from pywrap.intercept import originals
from pywrap.intercept.patching import with_state
from pywrap.intercept.socket_inodes import inode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.registry import SocketRegistry

# The registry of this process; set by ``install``.
_registry: SocketRegistry


def install(patches: originals.Patches, module: Any, registry: SocketRegistry) -> None:
    """Replace getpeername(), getsockname() and repr() of the socket class in ``module``."""
    global _registry
    _registry = registry
    real_repr = module.socket.__repr__
    patches.replace(module.socket, "__repr__", with_state(represent, real_repr, _real=real_repr))
    patches.replace(module.socket, "getpeername", getpeername)
    patches.replace(module.socket, "getsockname", getsockname)


def getpeername(self: _socket.socket) -> Any:
    """getpeername() -> address info: the destination that was asked for."""
    fd = originals.fileno(self)
    if _registry.pending or _registry.listening:
        if _registry.pending_of(fd) is not None or _registry.listener_of(fd) is not None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
    # Called first, since it raises ENOTCONN for a connection that is gone.
    peer = originals.getpeername(self)
    if _registry.connecting and inode(fd) in _registry.connecting:
        # Another thread, or code that this signal handler has interrupted, is in connect(): the peer is a
        # proxy.
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
    return _registry.established.get(inode(fd), peer) if _registry.established else peer


def getsockname(self: _socket.socket) -> Any:
    """getsockname() -> address info: the kernel's, of the connection to the first proxy."""
    if _registry.listening:
        listener = _registry.listener_of(originals.fileno(self))
        if listener is not None:
            return listener.getsockname(originals.fileno(self))
    if _registry.names:
        name = _registry.name_of(originals.fileno(self))
        if name is not None:
            return name
    if _registry.pending:
        with _registry.lock:
            pending = _registry.pending_of(originals.fileno(self))
            if pending is not None:
                return pending.real.getsockname()
    family = originals.family_type_proto(self)[0]
    if _registry.established and family == _socket.AF_INET and _is_ipv6(self):
        return "0.0.0.0", _port(self)
    return originals.getsockname(self)


def _is_ipv6(sock: _socket.socket) -> bool:
    """Whether the file of an IPv4 socket is an IPv6 one, because its first proxy has an IPv6 address.

    C would give the kernel room for the 16 bytes of a sockaddr_in, and then read the 28 of a sockaddr_in6.
    """
    fd = originals.fileno(sock)
    if fd < 0 or inode(fd) not in _registry.established:
        return False
    return originals.getsockopt(sock, _socket.SOL_SOCKET, _socket.SO_DOMAIN) == _socket.AF_INET6


def _port(sock: _socket.socket) -> int:
    # Without SOCK_NONBLOCK, C would apply the program's setdefaulttimeout(), and change the mode of the file.
    kind = _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK
    underneath = originals.Socket(_socket.AF_INET6, kind, fileno=originals.fileno(sock))
    try:
        return int(underneath.getsockname()[1])
    finally:
        underneath.detach()


def represent(self: _socket.socket, *, _real: Callable[..., Any]) -> str:
    """repr(), by ``_real``, which calls getsockname() and getpeername()."""
    # The text, for example of a ResourceWarning, must not wait for a proxy to answer.
    listener = _registry.listener_of(originals.fileno(self))
    if listener is not None and listener.asking:
        return originals.Socket.__repr__(self)
    return str(_real(self))
