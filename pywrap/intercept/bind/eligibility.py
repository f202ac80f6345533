"""Which sockets listen at the proxy with ``--listen bind``, and which are this machine's alone."""

from __future__ import annotations

import _socket

from pywrap.intercept import originals
from pywrap.intercept.socket_inodes import inode
from pywrap.socks.wire import is_loopback
from pywrap.tunnel.routes import address_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.intercept.runtime import Runtime


def is_for_the_proxy(runtime: Runtime, sock: _socket.socket) -> bool:
    """Whether ``sock`` shall listen at the proxy: the system is to choose its port, and it is not local."""
    if not originals.is_tcp(sock):
        return False
    registry, fd = runtime.registry, originals.fileno(sock)
    if registry.listener_of(fd) is not None:
        return True
    number = inode(fd)
    if number in registry.established or registry.pending_of(fd) is not None:
        # The socket is connected: listen() of the kernel fails with the right errno.
        return False
    if originals.getsockopt(sock, _socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
        return False
    port = originals.getsockname(sock)[1]
    return not is_local(sock) and (port == 0 or number in registry.any_port)


def is_local(sock: _socket.socket) -> bool:
    """Whether only this machine can connect to ``sock``."""
    address = address_of(originals.getsockname(sock)[0]) or b""
    return is_loopback(address)
